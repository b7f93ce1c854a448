//! JSON Web Tokens that somebody else signs (RFC 7519), with the rules of RFC 8725: the algorithm is the key's, never
//! the token's word; issuer, audience and end are required.

use std::fmt;
use std::time::Duration;

use crate::config::auth::JwtConfig;
use attache::access::{OwnerPattern, Owners, Scope, Scopes};
use attache::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind as JwtErrorKind;
use serde::Deserialize;

use super::caller::{Caller, unknown};
use attache::access::tokens::MAX_OWNERS;

mod keys;
mod verify;

use keys::Keys;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Whose tokens are believed.
pub(super) struct Issuer {
    keys: Keys,
    issuer: String,
    audience: String,
    leeway: Duration,
}

/// What we read of a token. Everything else in it is not ours.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// One issuer, compared when the token was checked; a list that ours is in is not the same.
    #[serde(rename = "iss")]
    _issuer: String,
    /// Words with a space between (RFC 8693 section 4.2), or a list of them.
    #[serde(default)]
    scope: Words,
    /// The same by another name (Entra ID, Okta); a token may have both.
    #[serde(default)]
    scp: Words,
    /// Patterns of owners; none if it is missing.
    #[serde(default)]
    owner: Words,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    List(Vec<String>),
    #[default]
    None,
}

impl Words {
    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Text(text) => Box::new(text.split_whitespace()),
            Self::List(list) => Box::new(list.iter().map(String::as_str)),
            Self::None => Box::new(std::iter::empty()),
        }
    }
}

impl Issuer {
    /// `None` if no tokens are believed at all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the key set cannot be understood.
    pub(super) fn new(config: &JwtConfig) -> Result<Option<Self>> {
        let (Some(issuer), Some(audience)) = (&config.issuer, &config.audience) else {
            return Ok(None);
        };
        let Some(keys) = Keys::new(config)? else {
            return Ok(None);
        };
        verify::use_ring();
        Ok(Some(Self {
            keys,
            issuer: issuer.clone(),
            audience: audience.clone(),
            leeway: config.leeway,
        }))
    }

    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::UpstreamUnavailable`] if the keys cannot be fetched.
    pub(super) async fn check(&self, token: &str) -> Result<Caller> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| unknown())?;
        check_head(token, header.typ.as_deref())?;
        let id = header.kid.as_deref();
        let keys = self.keys.keys_for(id).await?;
        let key = keys
            .find(id)
            .ok_or_else(|| refused("its key is not among the issuer's"))?;
        // The key says which algorithm; a token that says another is not read.
        let mut rules = Validation::new(key.algorithm);
        rules.leeway = self.leeway.as_secs();
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.key, &rules);
        decoded.map_err(|error| unreadable(&error))?.claims.caller()
    }
}

impl Claims {
    /// Whom they describe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`].
    fn caller(self) -> Result<Caller> {
        // Words of other services are none of our business.
        let scopes: Scopes = self
            .scope
            .iter()
            .chain(self.scp.iter())
            .filter_map(|word| word.parse::<Scope>().ok())
            .collect();
        let owners: Result<Owners> = self.owner.iter().map(str::parse::<OwnerPattern>).collect();
        let owners = owners.map_err(|_| refused("its \"owner\" is not a pattern of owners"))?;
        if owners.patterns().len() > MAX_OWNERS {
            return Err(refused("it has too many patterns of owners"));
        }
        // Cut or cleaned, two subjects could become one, and share a rate and idempotency keys.
        let subject = self.sub;
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || subject.chars().any(char::is_control)
        {
            return Err(refused(
                "its subject is empty, too long, or holds control characters",
            ));
        }
        Ok(Caller {
            name: format!("jwt:{subject}").into(),
            scopes,
            owners,
        })
    }
}

/// Why a token is refused that was not decoded.
fn unreadable(error: &jsonwebtoken::errors::Error) -> Error {
    refused(match error.kind() {
        JwtErrorKind::ExpiredSignature => "it has expired",
        JwtErrorKind::ImmatureSignature => "it is not valid yet",
        JwtErrorKind::InvalidIssuer => "its issuer is not auth.jwt.issuer",
        JwtErrorKind::InvalidAudience => "its audience is not auth.jwt.audience",
        JwtErrorKind::InvalidAlgorithm => "its algorithm is not its key's",
        JwtErrorKind::MissingRequiredClaim(_) => "it needs exp, iss, aud and sub",
        JwtErrorKind::InvalidSignature => "its signature is wrong",
        _ => "it cannot be read",
    })
}

/// What the head of a token must not say.
///
/// # Errors
///
/// [`ErrorKind::Unauthorized`].
fn check_head(token: &str, kind: Option<&str>) -> Result<()> {
    // "application/" may be left out (RFC 7515 section 4.1.9); RFC 9068 section 2.1 has the second.
    let kind = kind.map(|kind| kind.trim_start_matches("application/").to_ascii_lowercase());
    if kind.is_some_and(|kind| kind != "jwt" && kind != "at+jwt") {
        return Err(refused("its \"typ\" is neither JWT nor at+jwt"));
    }
    // Extensions that must be understood, of which we understand none (RFC 7515 section 4.1.11).
    let head = token.split('.').next().unwrap_or_default();
    let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| unknown())?;
    let head: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&head).map_err(|_| unknown())?;
    match head.contains_key("crit") {
        true => Err(refused(
            "its \"crit\" names extensions that are not understood",
        )),
        false => Ok(()),
    }
}

/// Longest subject, in bytes; OpenID Connect Core section 2 allows 255 characters.
const MAX_SUBJECT: usize = 255;

fn refused(what: &str) -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        format!("this token is refused: {what}"),
    )
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
