//! A token as it is named and shown: `att_`, its id, `_`, its secret.

use std::fmt;
use std::str::FromStr;

use attache::access::{Owners, Scopes};
use attache::secret::Secret;
use attache::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// Begins every token, so that it is recognised where it should not be: in a log, in a repository.
pub(super) const PREFIX: &str = "att_";

/// The secret part: 256 bits, which nobody guesses, so that a plain hash keeps it (no salt, no slow function: those are
/// for what people choose, OWASP ASVS 2.9).
const SECRET_BYTES: usize = 32;

/// Most patterns of owners of one token.
pub(super) const MAX_OWNERS: usize = 256;

/// The part of a token that is not secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct TokenId(pub(super) String);

impl TokenId {
    pub(crate) fn generate() -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(16);
        for byte in rand::random::<[u8; 8]>() {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// That of a whole token.
    pub(super) fn of(token: &str) -> Option<Self> {
        let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
        id.parse().ok()
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

/// What is known of a token. Its secret is not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) id: TokenId,
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    pub(crate) owners: Owners,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) expires_at: Option<OffsetDateTime>,
    /// To the minute.
    pub(crate) last_used: Option<OffsetDateTime>,
}

/// Whether a bearer token is one of ours, and no one else's.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The whole text of a new token.
pub(super) fn text(id: &TokenId) -> Secret {
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
    Secret::new(format!("{PREFIX}{id}_{secret}"))
}

/// Owners as they are stored: they hold no space, so a space keeps them apart.
pub(super) fn owner_words(owners: &Owners) -> String {
    let words: Vec<String> = owners.patterns().iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// What is kept of the text of a token.
pub(super) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
