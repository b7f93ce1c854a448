//! Tokens and keys, and the processes that share them: what their promises are written in.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::access::Scopes;
use crate::access::keys::KeyStore;
use crate::access::tokens::{StoredToken, Token, TokenStore};

/// Tokens and keys as one process has them.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its tokens.
    pub tokens: Arc<dyn TokenStore>,
    /// Its keys.
    pub keys: Arc<dyn KeyStore>,
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
