//! Who we are to a store: every request is signed, or carries a token.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;

use super::ask::header;
use super::place::Place;
use super::signature::{Scope, Signable, UNSIGNED, day, day_key, hmac, timestamp};
use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::lease::{Held, Lease};
use crate::secret::Secret;

/// A credential must live this much longer, so that it does not die on its way.
const NEED: Duration = Duration::from_secs(10);

/// Who we are.
pub(crate) enum Authority {
    /// An access key that does not expire.
    Key(Arc<AccessKey>),
    /// Access keys that do.
    Keys(Lease<AccessKey>),
    /// Bearer tokens.
    Token(Lease<Secret>),
}

/// An access key and its secret. Does not print.
pub(crate) struct AccessKey {
    pub(super) id: String,
    secret: Secret,
    /// Of one that expires.
    pub(super) token: Option<Secret>,
    /// The day of the last signature, and its key: it takes four hashes to make.
    day: Mutex<Option<(String, [u8; 32])>>,
}

/// What a request was authorised by.
pub(super) enum Seen {
    Key,
    Keys(Arc<Held<AccessKey>>),
    Token(Arc<Held<Secret>>),
}

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

impl AccessKey {
    pub(crate) fn new(id: String, secret: Secret, token: Option<Secret>) -> Self {
        Self {
            id,
            secret,
            token,
            day: Mutex::new(None),
        }
    }

    /// The signature of `text`, in hexadecimal.
    pub(super) fn sign(&self, text: &str, scope: &Scope<'_>) -> String {
        Hex(hmac(&self.key_of(scope), text)).to_string()
    }

    /// An access key is used for one region and service.
    fn key_of(&self, scope: &Scope<'_>) -> [u8; 32] {
        let today = day(scope.at);
        let mut held = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((day, key)) if *day == today => *key,
            _ => {
                let key = day_key(self.secret.expose(), scope);
                *held = Some((today, key));
                key
            }
        }
    }
}

/// For which a request to `place` is signed.
pub(super) fn scope(place: &Place, at: OffsetDateTime) -> Scope<'_> {
    Scope {
        at,
        region: &place.region,
        service: "s3",
        end: "aws4_request",
    }
}

impl Authority {
    /// Adds to `headers` what proves who we are.
    ///
    /// # Errors
    ///
    /// Why there is no credential.
    pub(super) async fn authorise(
        &self,
        place: &Place,
        method: &Method,
        path: &str,
        query: &str,
        headers: &mut HeaderMap,
    ) -> Result<Seen> {
        let (key, seen) = match self {
            Self::Token(lease) => {
                let held = lease.get(NEED).await?;
                let bearer = format!("Bearer {}", held.value().expose());
                insert_secret(headers, AUTHORIZATION, &bearer)?;
                return Ok(Seen::Token(held));
            }
            Self::Key(key) => (key.as_ref(), Seen::Key),
            Self::Keys(lease) => {
                let held = lease.get(NEED).await?;
                let seen = Seen::Keys(held.clone());
                sign(held.value(), place, method, path, query, headers)?;
                return Ok(seen);
            }
        };
        sign(key, place, method, path, query, headers)?;
        Ok(seen)
    }

    /// Whether a credential that was refused makes way for another.
    pub(super) fn renew(&self, refused: &Seen) -> bool {
        match (self, refused) {
            (Self::Keys(lease), Seen::Keys(held)) => lease.reject(held),
            (Self::Token(lease), Seen::Token(held)) => lease.reject(held),
            _ => false,
        }
    }
}

fn sign(
    key: &AccessKey,
    place: &Place,
    method: &Method,
    path: &str,
    query: &str,
    headers: &mut HeaderMap,
) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let date = header(DATE, timestamp(now))?;
    headers.insert(date.0, date.1);
    headers.insert(CONTENT, HeaderValue::from_static(UNSIGNED));
    if let Some(token) = &key.token {
        insert_secret(headers, TOKEN, token.expose())?;
    }
    let authorisation = {
        let mut signed: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        signed.sort_unstable();
        let signable = Signable {
            method: method.as_str(),
            path,
            query,
            headers: &signed,
        };
        let scope = scope(place, now);
        let signature = key.sign(&signable.text(ALGORITHM, &scope), &scope);
        format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
            key.id,
            scope.text(),
            signable.names()
        )
    };
    insert_secret(headers, AUTHORIZATION, &authorisation)
}

fn insert_secret(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<()> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Error::internal("a credential cannot stand in a header"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey([redacted])")
    }
}
