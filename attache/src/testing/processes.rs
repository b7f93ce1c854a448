//! Tokens and keys, and the processes that share them: what their promises are written in.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::access::access_keys::{AccessKey, AccessKeyId, AccessKeyStore, SealedAccessKey};
use crate::access::keys::KeyStore;
use crate::access::tokens::{StoredToken, Token, TokenStore};
use crate::access::{Scope, Scopes};

/// Tokens and keys as one process has them.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// Its keys.
    pub keys: Arc<dyn KeyStore>,
    /// Its access keys.
    pub access_keys: Arc<dyn AccessKeyStore>,
}

/// What the promises are asked of: two processes at least, on one database.
pub type Processes = Arc<[Process]>;

/// A new token for reading and writing, with two patterns of owners.
pub fn token(name: &str) -> StoredToken {
    let scopes: Scopes = ["read", "write"]
        .map(|scope| scope.parse().expect("a scope"))
        .into_iter()
        .collect();
    let owners = ["page:*", "user:7"].map(|owner| owner.parse().expect("a pattern"));
    let expires = OffsetDateTime::from_unix_timestamp(4_000_000_000).expect("a time");
    let made = Token::generate(name, scopes, owners.into_iter().collect(), Some(expires));
    made.expect("few owners").0
}

/// A new access key for reading and deleting in two buckets, with bytes in place of a sealed secret.
pub fn access_key(name: &str) -> SealedAccessKey {
    let whole = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
    let key = AccessKey {
        id: AccessKeyId::generate(),
        name: name.to_owned(),
        buckets: ["media", "a.b-c"].map(str::to_owned).to_vec(),
        prefix: "wiki/写真 \\'%_/".to_owned(),
        scopes: [Scope::Read, Scope::Delete].into_iter().collect(),
        created_at: whole(1_800_000_000),
        expires_at: Some(whole(4_000_000_000)),
    };
    let sealed = rand::random::<[u8; 69]>().to_vec();
    SealedAccessKey { key, sealed }
}
