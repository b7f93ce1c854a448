//! Access keys: an id and a secret for programs that speak S3. Shown once, kept sealed.
//!
//! Signature version 4 is an HMAC, so whoever checks it needs the secret itself and not its hash
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::access_key::{self, SECRET_LENGTH};
use super::seal::Sealer;
use super::tokens::TokenStore;
use crate::access::Scopes;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

pub use super::access_key::{AccessKey, AccessKeyId, NewAccessKey};

/// Most access keys there may be; a server holds all of them in memory.
pub const MAX_ACCESS_KEYS: usize = 10_000;

/// Most access keys of one name, those that have ended included: the one in use, and the next one while it is handed out.
pub const MAX_OF_A_NAME: usize = 2;

/// Keeps access keys, whose secrets it cannot read. Whoever implements this gets [`AccessKeys`] over it.
///
/// Every method is atomic and may be repeated. What one process writes, all others on the same database see with their
/// next call, and [`version`](TokenStore::version) changes whenever an access key is made or revoked.
#[async_trait]
pub trait AccessKeyStore: TokenStore {
    /// All access keys, also those that have ended. One that cannot be understood is left out.
    async fn access_keys(&self) -> Result<Vec<SealedAccessKey>>;

    /// Keeps a new access key. One that is there already (of this id) stays as it is.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if there are [`MAX_ACCESS_KEYS`] already, or [`MAX_OF_A_NAME`] of this name, however many
    /// processes make one at the same time.
    async fn insert_access_key(&self, key: &SealedAccessKey) -> Result<()>;

    /// Ends an access key. `false` if there is none.
    async fn revoke_access_key(&self, id: &AccessKeyId) -> Result<bool>;
}

/// The access keys of a database, with their secrets. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    store: Arc<dyn AccessKeyStore>,
    sealer: Arc<Sealer>,
}

impl AccessKeys {
    /// Those of `store`, whose secrets `sealer` seals.
    pub fn new(store: Arc<dyn AccessKeyStore>, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer }
    }

    /// Where they are kept, as sealed as they are.
    pub fn store(&self) -> &Arc<dyn AccessKeyStore> {
        &self.store
    }

    /// All access keys with their secrets, also those that have ended; in no order. One that cannot be opened or understood is left
    /// out, so that it opens nothing, and logged.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn list(&self) -> Result<Vec<(AccessKey, Secret)>> {
        let kept = self.store.access_keys().await?;
        let opened = kept.into_iter().filter_map(|SealedAccessKey { key, sealed }| {
            match self.open(&key.id, &sealed) {
                Ok(secret) => Some((key, secret)),
                Err(error) => {
                    tracing::warn!(
                        access_key_id = key.id.as_str(),
                        error = error.report(),
                        "an access key in the catalog cannot be opened and is ignored; remove it, and create another one"
                    );
                    None
                }
            }
        });
        Ok(opened.collect())
    }

    /// Makes an access key. Its secret is nowhere else in clear. If the future is dropped, one may have been made that nobody knows
    /// the secret of; it is listed.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](ErrorKind::BadRequest) if `new` is not as its fields say; [`Conflict`](ErrorKind::Conflict) if there are
    /// [`MAX_ACCESS_KEYS`] already, or [`MAX_OF_A_NAME`] of its name; those of the store.
    pub async fn create(&self, new: NewAccessKey) -> Result<(AccessKey, Secret)> {
        let key = new.checked()?;
        let secret = access_key::generate_secret();
        let sealed = self
            .sealer
            .seal(&sealed_name(&key.id), secret.expose().as_bytes());
        let kept = SealedAccessKey { key, sealed };
        self.store.insert_access_key(&kept).await?;
        Ok((kept.key, secret))
    }

    /// Ends an access key, for every process that lists them after this. `false` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn revoke(&self, id: &AccessKeyId) -> Result<bool> {
        self.store.revoke_access_key(id).await
    }

    /// A number that changes whenever an access key is made or revoked, by whichever process, and with tokens and sessions, too.
    /// Costs little: a server asks every second.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn version(&self) -> Result<i64> {
        self.store.version().await
    }

    fn open(&self, id: &AccessKeyId, sealed: &[u8]) -> Result<Secret> {
        let name = sealed_name(id);
        let opened = self.sealer.open(&name, sealed)?;
        let is_secret = |text: &&str| {
            text.len() == SECRET_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let text = std::str::from_utf8(&opened).ok().filter(is_secret);
        text.map(Secret::new).ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "{name} in the catalog is not a secret of {SECRET_LENGTH} letters and digits"
                ),
            )
        })
    }
}

/// An access key as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedAccessKey {
    /// What is known of it.
    pub key: AccessKey,
    /// Its secret, sealed under a name with its id in it: put into another's row, it opens nothing.
    pub sealed: Vec<u8>,
}

/// The columns that a database keeps of an access key.
pub(crate) struct AccessKeyRow {
    pub(crate) id: String,
    pub(crate) name: String,
    /// With spaces between: no bucket has one in its name.
    pub(crate) buckets: String,
    pub(crate) prefix: String,
    /// Words with spaces between.
    pub(crate) scopes: String,
    /// Times are in seconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) sealed: Vec<u8>,
}

impl AccessKeyRow {
    /// What is to be kept.
    pub(crate) fn of(SealedAccessKey { key, sealed }: &SealedAccessKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            buckets: key.buckets.join(" "),
            prefix: key.prefix.clone(),
            scopes: key.scopes.to_string(),
            created_at: key.created_at.unix_timestamp(),
            expires_at: key.expires_at.map(OffsetDateTime::unix_timestamp),
            sealed: sealed.clone(),
        }
    }

    /// The access key; `None`, and a line in the log, if it cannot be understood, and so opens nothing.
    pub(crate) fn understood(self) -> Option<SealedAccessKey> {
        let id = self.id.clone();
        let understood = self.parsed();
        if understood.is_none() {
            tracing::warn!(
                access_key_id = id,
                "an access key in the catalog cannot be read and is ignored"
            );
        }
        understood
    }

    fn parsed(self) -> Option<SealedAccessKey> {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        let scopes: Result<Scopes> = self.scopes.split_whitespace().map(str::parse).collect();
        let key = AccessKey {
            id: self.id.parse().ok()?,
            name: self.name,
            buckets: self.buckets.split(' ').map(str::to_owned).collect(),
            prefix: self.prefix,
            scopes: scopes.ok()?,
            created_at: at(self.created_at)?,
            // An end that cannot be read is not "never".
            expires_at: match self.expires_at {
                Some(end) => Some(at(end)?),
                None => None,
            },
        };
        key.check().ok()?;
        let sealed = self.sealed;
        Some(SealedAccessKey { key, sealed })
    }
}

/// Why an access key that is not there yet is refused: `kept` are all, `of_its_name` those of its name. `None`: there is room.
pub(crate) fn refusal(name: &str, kept: i64, of_its_name: i64) -> Option<Error> {
    let reached = |count: i64, limit: usize| usize::try_from(count).is_ok_and(|n| n >= limit);
    let what = if reached(of_its_name, MAX_OF_A_NAME) {
        format!(
            "there are {MAX_OF_A_NAME} access keys named {name:?} already, the most at a time; remove the one that nobody uses any more \
             (`attache key ls`, `attache key rm ID`), or choose another name"
        )
    } else if reached(kept, MAX_ACCESS_KEYS) {
        format!(
            "there are {MAX_ACCESS_KEYS} access keys already; remove those that nobody uses (`attache key rm ID`)"
        )
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::Conflict, what))
}

/// What a secret is sealed as.
fn sealed_name(id: &AccessKeyId) -> String {
    format!("access_key:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;

    fn row() -> AccessKeyRow {
        let new = NewAccessKey {
            name: "wiki".to_owned(),
            buckets: vec!["media".to_owned(), "a.b-c".to_owned()],
            prefix: "wiki/写真/".to_owned(),
            scopes: [Scope::Read, Scope::Delete].into_iter().collect(),
            expires_at: OffsetDateTime::from_unix_timestamp(4_000_000_000).ok(),
        };
        let key = new.checked().expect("well-formed");
        let sealed = vec![1, 2, 3];
        AccessKeyRow::of(&SealedAccessKey { key, sealed })
    }

    #[test]
    fn a_row_says_what_was_kept_and_one_that_cannot_be_understood_opens_nothing() {
        let kept = row().understood().expect("its own");
        assert_eq!(AccessKeyRow::of(&kept).understood().as_ref(), Some(&kept));
        let spoilt: [fn(&mut AccessKeyRow); 7] = [
            |row| row.id = "x".to_owned(),
            |row| row.buckets = String::new(),
            |row| row.buckets = "media *".to_owned(),
            |row| row.scopes = "read everything".to_owned(),
            |row| row.scopes = "read admin".to_owned(),
            |row| row.scopes = String::new(),
            |row| row.expires_at = Some(i64::MAX),
        ];
        for (number, spoil) in spoilt.into_iter().enumerate() {
            let mut row = row();
            spoil(&mut row);
            assert!(row.understood().is_none(), "{number}");
        }
    }

    #[test]
    fn a_third_of_a_name_is_refused_with_what_to_do() {
        assert!(refusal("wiki", 9_999, 1).is_none());
        let error = refusal("wiki", 2, 2).expect("refused").to_string();
        assert!(error.contains("\"wiki\"") && error.contains("attache key rm"));
        let error = refusal("wiki", 10_000, 0).expect("refused").to_string();
        assert!(error.contains("10000"), "{error}");
    }
}
