//! API tokens: shown once, kept as a hash. `att_`, an id, `_`, a secret.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::access::{Owners, Scopes};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// Begins every token, so that it is recognised where it should not be: in a log, in a repository.
pub const PREFIX: &str = "att_";

/// Most tokens there may be; a server holds all of them in memory.
pub const MAX_TOKENS: usize = 10_000;

/// Most patterns of owners of one token.
pub const MAX_OWNERS: usize = 256;

/// The secret part: 256 bits, which nobody guesses, so that a plain hash keeps it (no salt, no slow function: those are
/// for what people choose, OWASP ASVS 2.9).
const SECRET_BYTES: usize = 32;

/// Keeps tokens, as hashes, and the sessions that were ended before their time.
///
/// Every method is one transaction and may be repeated. What one process writes, all others on the same database see with their
/// next call.
#[async_trait]
pub trait TokenStore: fmt::Debug + Send + Sync + 'static {
    /// A number that changes whenever a token or an access key is made or revoked or a session is ended, by whichever process. Costs little: a
    /// server asks every second.
    async fn version(&self) -> Result<i64>;

    /// All tokens, also those that have expired. One that cannot be understood is left out, and opens nothing.
    async fn tokens(&self) -> Result<Vec<StoredToken>>;

    /// Keeps a new token.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if there are [`MAX_TOKENS`] already.
    async fn insert(&self, token: &StoredToken) -> Result<()>;

    /// Ends a token. `false` if there is none.
    async fn revoke(&self, id: &TokenId) -> Result<bool>;

    /// Notes when tokens were last used, in seconds since 1970.
    async fn note_used(&self, used: Vec<(TokenId, i64)>) -> Result<()>;

    /// Hashes of the sessions that were ended and would not have ended by themselves yet.
    async fn ended_sessions(&self) -> Result<Vec<[u8; 32]>>;

    /// Ends sessions: the hash of each, and when it would have ended by itself, in seconds since 1970.
    async fn end_sessions(&self, ended: Vec<([u8; 32], i64)>) -> Result<()>;
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredToken {
    /// What is known of it.
    pub token: Token,
    /// [`hash`] of its whole text.
    pub hash: [u8; 32],
}

/// The columns that a database keeps of a token.
pub(crate) struct TokenRow {
    pub(crate) id: String,
    pub(crate) hash: Vec<u8>,
    pub(crate) name: String,
    /// Words with spaces between.
    pub(crate) scopes: String,
    /// As well: owners hold no space.
    pub(crate) owners: String,
    /// Times are in seconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used: Option<i64>,
}

impl TokenRow {
    /// What is to be kept.
    pub(crate) fn of(stored: &StoredToken) -> Self {
        let token = &stored.token;
        let owners = token.owners.patterns().iter().map(ToString::to_string);
        Self {
            id: token.id.to_string(),
            hash: stored.hash.to_vec(),
            name: token.name.clone(),
            scopes: token.scopes.to_string(),
            owners: owners.collect::<Vec<_>>().join(" "),
            created_at: token.created_at.unix_timestamp(),
            expires_at: token.expires_at.map(OffsetDateTime::unix_timestamp),
            last_used: token.last_used.map(OffsetDateTime::unix_timestamp),
        }
    }

    /// The token; `None` if it cannot be understood, and so opens nothing.
    pub(crate) fn understood(self) -> Option<StoredToken> {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        let scopes: Result<Scopes> = self.scopes.split_whitespace().map(str::parse).collect();
        let owners: Result<Owners> = self.owners.split_whitespace().map(str::parse).collect();
        Some(StoredToken {
            hash: self.hash.try_into().ok()?,
            token: Token {
                id: self.id.parse().ok()?,
                name: self.name,
                scopes: scopes.ok()?,
                owners: owners.ok()?,
                created_at: at(self.created_at)?,
                // An end that cannot be read is not "never".
                expires_at: match self.expires_at {
                    Some(end) => Some(at(end)?),
                    None => None,
                },
                last_used: self.last_used.and_then(at),
            },
        })
    }
}

/// There are [`MAX_TOKENS`] already.
pub(crate) fn too_many() -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("there are {MAX_TOKENS} tokens already; revoke those that nobody uses"),
    )
}

/// What is known of a token. Its secret is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The part of it that is not secret.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// With whose attachments.
    pub owners: Owners,
    /// When it was made, to the second.
    pub created_at: OffsetDateTime,
    /// When it ends.
    pub expires_at: Option<OffsetDateTime>,
    /// To the minute.
    pub last_used: Option<OffsetDateTime>,
}

impl Token {
    /// A new token and its text, which is nowhere else.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest) for more than [`MAX_OWNERS`] patterns.
    pub fn generate(
        name: &str,
        scopes: Scopes,
        owners: Owners,
        expires_at: Option<OffsetDateTime>,
    ) -> Result<(StoredToken, Secret)> {
        if owners.patterns().len() > MAX_OWNERS {
            return Err(Error::bad_request(format!(
                "a token has at most {MAX_OWNERS} patterns of owners; a pattern such as \"page:*\" stands for many"
            )));
        }
        let id = TokenId::generate();
        let secret = crate::base64::encode_url(rand::random::<[u8; SECRET_BYTES]>());
        let text = Secret::new(format!("{PREFIX}{id}_{secret}"));
        let token = Self {
            id,
            name: name.to_owned(),
            scopes,
            owners,
            created_at: OffsetDateTime::now_utc()
                .replace_nanosecond(0)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            expires_at,
            last_used: None,
        };
        let hash = hash(text.expose());
        Ok((StoredToken { token, hash }, text))
    }
}

/// The part of a token that is not secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TokenId(String);

impl TokenId {
    /// A new one.
    pub fn generate() -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(16);
        for byte in rand::random::<[u8; 8]>() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// That of a whole token.
    pub fn of(token: &str) -> Option<Self> {
        let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
        id.parse().ok()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let well_formed = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match well_formed {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::bad_request(
                "the id of a token is 16 hexadecimal digits; `attache token list` shows them",
            )),
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a bearer token is one of ours, and no one else's.
pub fn looks_like_one(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// What is kept of the text of a token.
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
