//! URLs that open one object, read-only, for a while, or create it, made without a network call.
//!
//! A URL is signed for the beginning of the step in which it is asked for, so everybody gets the same one within the step, from every
//! process that has the same key.

use std::time::Duration;

use time::OffsetDateTime;

use super::ask::path_of;
use super::authority::{ALGORITHM, AccessKey, Authority, scope};
use super::inner::Inner;
use super::signature::{Query, Scope, Signable, timestamp};
use super::signer::{AccountSigner, Made, SignedBy};
use crate::access::links::quantised_expiry;
use crate::error::Result;
use crate::secret::SignedUrl;
use crate::storage::Grant;

/// The longest life of a signed URL
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html#PresignedUrl-Expiration>).
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A URL never lives to the last moment of the credential that signs it.
const MARGIN: Duration = Duration::from_secs(5);

/// What a signature is about.
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    pub(super) key: &'a str,
    /// What the URL asks for besides.
    pub(super) query: Query,
    /// What a request by it must say, names in lower case and in their order.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) at: OffsetDateTime,
    pub(super) lifetime: Duration,
}

impl Inner {
    /// A URL for `grant`, and when it ends on the store's clock. `None` if nobody can sign one that lives as long: a token signs nothing, and
    /// a credential that ends sooner signs for no longer than it lives.
    pub(super) async fn sign_get(
        &self,
        key: &str,
        grant: &Grant,
    ) -> Result<Option<(SignedUrl, OffsetDateTime)>> {
        let lifetime = grant.lifetime.min(MAX_LIFETIME);
        let Some(by) = self.signs_for(lifetime).await? else {
            return Ok(None);
        };
        let now = OffsetDateTime::now_utc() + self.skew();
        let expiry = quantised_expiry(now, lifetime, grant.step);
        let at = expiry - lifetime;
        let place = format!("{}/{key}", self.place.bucket);
        if let Some(made) = self.signer.made().get(&place)
            && (made.at, &made.by) == (at, &by.name().to_owned())
            && made.grant == *grant
        {
            return Ok(Some((made.url.clone(), expiry)));
        }
        let mut query = Query::default()
            .with("response-content-disposition", &grant.disposition)
            .with("response-content-type", &grant.content_type);
        if let Some(cache_control) = &grant.cache_control {
            query = query.with("response-cache-control", cache_control);
        }
        let signing = Signing {
            method: "GET",
            key,
            query,
            headers: Vec::new(),
            at,
            lifetime,
        };
        let url = self.sign(&by, signing)?;
        let made = Made {
            grant: grant.clone(),
            at,
            by: by.name().to_owned(),
            url: url.clone(),
        };
        self.signer.made().insert(place, made);
        Ok(Some((url, expiry)))
    }

    /// A URL for one request that creates the object. Every one is another, so none is remembered.
    pub(super) async fn sign_put(
        &self,
        key: &str,
        headers: &[(&'static str, String)],
        lifetime: Duration,
    ) -> Result<Option<(SignedUrl, OffsetDateTime)>> {
        let lifetime = lifetime.min(MAX_LIFETIME);
        let Some(by) = self.signs_for(lifetime).await? else {
            return Ok(None);
        };
        let now = OffsetDateTime::now_utc() + self.skew();
        let at = now.replace_nanosecond(0).unwrap_or(now);
        let signing = Signing {
            method: "PUT",
            key,
            query: Query::default(),
            headers: headers.iter().map(|(n, v)| (*n, v.as_str())).collect(),
            at,
            lifetime,
        };
        Ok(Some((self.sign(&by, signing)?, at + lifetime)))
    }

    /// Who can sign a URL of this life, without asking anybody for more than the credential that is at hand.
    async fn signs_for(&self, lifetime: Duration) -> Result<Option<Signs<'_>>> {
        Ok(match (&self.signer.by, &self.authority) {
            (SignedBy::Account(account), _) => Some(Signs::Account(account.as_ref())),
            (SignedBy::Nobody, _) | (_, Authority::Token(_)) => None,
            (SignedBy::Requests, Authority::Key(key)) => Some(Signs::Key(key.clone().into())),
            (SignedBy::Requests, Authority::Keys(lease)) => {
                let held = lease.get(MARGIN).await?;
                let lives = held.remaining() > lifetime + MARGIN;
                lives.then_some(Signs::Key(KeyHeld::Leased(held)))
            }
        })
    }

    fn sign(&self, by: &Signs<'_>, signing: Signing<'_>) -> Result<SignedUrl> {
        let base = self.place.public_base();
        let path = path_of(&base.path, signing.key);
        let mut headers = signing.headers;
        headers.push(("host", &base.host));
        headers.sort_unstable();
        let (algorithm, prefix, scope) = match by {
            Signs::Key(_) => (ALGORITHM, "X-Amz", scope(&self.place, signing.at)),
            Signs::Account(_) => (GOOGLE, "X-Goog", google_scope(signing.at)),
        };
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let credential = format!("{}/{}", by.name(), scope.text());
        let mut query = signing
            .query
            .with(&format!("{prefix}-Algorithm"), algorithm)
            .with(&format!("{prefix}-Credential"), &credential)
            .with(&format!("{prefix}-Date"), &timestamp(signing.at))
            .with(
                &format!("{prefix}-Expires"),
                &signing.lifetime.as_secs().to_string(),
            )
            .with(&format!("{prefix}-SignedHeaders"), &names.join(";"));
        if let Signs::Key(key) = by
            && let Some(token) = &key.key().token
        {
            query = query.with("X-Amz-Security-Token", token.expose());
        }
        let text = query.text();
        let signable = Signable {
            method: signing.method,
            path: &path,
            query: &text,
            headers: &headers,
        };
        let to_sign = signable.text(algorithm, &scope);
        let signature = match by {
            Signs::Key(key) => key.key().sign(&to_sign, &scope),
            Signs::Account(account) => account.sign(&to_sign)?,
        };
        let (scheme, host) = (base.scheme, &base.host);
        Ok(SignedUrl::new(format!(
            "{scheme}://{host}{path}?{text}&{prefix}-Signature={signature}"
        )))
    }
}

const GOOGLE: &str = "GOOG4-RSA-SHA256";

fn google_scope(at: OffsetDateTime) -> Scope<'static> {
    Scope {
        at,
        region: "auto",
        service: "storage",
        end: "goog4_request",
    }
}

/// Who signs one URL.
enum Signs<'a> {
    Key(KeyHeld),
    Account(&'a dyn AccountSigner),
}

/// An access key, held for as long as it is needed.
enum KeyHeld {
    Fixed(std::sync::Arc<AccessKey>),
    Leased(std::sync::Arc<crate::lease::Held<AccessKey>>),
}

impl Signs<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Key(key) => &key.key().id,
            Self::Account(account) => account.email(),
        }
    }
}

impl KeyHeld {
    fn key(&self) -> &AccessKey {
        match self {
            Self::Fixed(key) => key,
            Self::Leased(held) => held.value(),
        }
    }
}

impl From<std::sync::Arc<AccessKey>> for KeyHeld {
    fn from(key: std::sync::Arc<AccessKey>) -> Self {
        Self::Fixed(key)
    }
}
