//! URLs that open one blob, read-only, for minutes, or create it, made without a network call.
//!
//! With Entra ID a *user delegation key* signs them: asked for 12 h, renewed ahead of time by a [`Lease`], so that
//! 20,000 URLs cost one key request. With an account key that key signs them itself.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_core::http::{RequestContent, Url};
use azure_storage_blob::BlobServiceClient;
use azure_storage_blob::models::KeyInfo;
use azure_storage_common::models::UserDelegationKey;
use azure_storage_sas::{SasBuilder, SasProtocol};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::path::path_of;
use super::shared_key::AccountKey;
use crate::access::links::quantised_expiry;
use crate::bounded::Bounded;
use crate::error::{Error, Result};
use crate::lease::{Granted, Lease};
use crate::secret::SignedUrl;
use crate::storage::Grant;

/// Asked-for life of a delegation key. Azure allows 7 days
/// (<https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>); a shorter key is worth less to a
/// thief, and 12 h still survive an outage of 3.6 h.
const KEY_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// A key starts in the past, for services whose clock is behind
/// (<https://learn.microsoft.com/azure/storage/common/storage-sas-overview#best-practices-when-using-sas>).
const BACKDATE: Duration = Duration::from_secs(15 * 60);

/// A URL never lives to the last moment of its key.
const KEY_MARGIN: Duration = Duration::from_secs(5);

/// Version of a SAS that an account key signs; its string-to-sign is written out below.
const SERVICE_SAS_VERSION: &str = "2021-12-02";

/// URLs that are remembered, of about a kilobyte each.
const REMEMBERED: usize = 2048;

/// Makes URLs, and gives out again what it made: expiries are quantised, so until the next step the same grant gives the
/// same URL, and one that many ask for is signed once.
pub(super) struct Signer {
    key: SigningKey,
    /// By container and name of the blob, the last of each.
    made: Mutex<Bounded<String, Made>>,
}

/// Who signs.
pub(super) enum SigningKey {
    Delegation(Lease<DelegationKey>),
    Account(AccountKey),
}

struct Made {
    grant: Grant,
    expiry: OffsetDateTime,
    url: SignedUrl,
}

/// A user delegation key that does not print.
pub(super) struct DelegationKey(UserDelegationKey);

impl fmt::Debug for DelegationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DelegationKey([redacted])")
    }
}

/// What a signature is about.
pub(super) struct Subject<'a> {
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) public_endpoint: &'a Url,
    /// Of the blob.
    pub(super) name: &'a str,
    /// The service's clock. Looked at when the key is at hand: the answer that brought the first key also tells how
    /// far off our clock is.
    pub(super) now: &'a (dyn Fn() -> OffsetDateTime + Sync),
}

/// Asks for a delegation key.
pub(super) async fn fetch_delegation_key(
    client: &BlobServiceClient,
    skew: impl Fn() -> time::Duration,
) -> azure_core::Result<Granted<DelegationKey>> {
    let now = whole_second(OffsetDateTime::now_utc() + skew());
    let wanted = KeyInfo {
        start: Some(now - BACKDATE),
        expiry: Some(now + KEY_LIFE),
        ..KeyInfo::default()
    };
    let key = client
        .get_user_delegation_key(RequestContent::try_from(wanted)?, None)
        .await?
        .into_model()?;
    // What counts is what was granted, on the clock of who grants it.
    let expiry = key.signed_expiry.unwrap_or(now);
    let life = expiry - (OffsetDateTime::now_utc() + skew());
    Ok(Granted {
        value: DelegationKey(key),
        life: life.try_into().unwrap_or(Duration::ZERO),
    })
}

impl Signer {
    pub(super) fn new(key: SigningKey) -> Self {
        Self {
            key,
            made: Mutex::new(Bounded::new(REMEMBERED)),
        }
    }

    /// The lease of the delegation key, where one signs.
    pub(super) fn lease(&self) -> Option<&Lease<DelegationKey>> {
        match &self.key {
            SigningKey::Delegation(lease) => Some(lease),
            SigningKey::Account(_) => None,
        }
    }

    /// A URL for `grant`. Waits only if there is no key that lives long enough.
    pub(super) async fn sign(
        &self,
        subject: &Subject<'_>,
        grant: &Grant,
    ) -> Result<(SignedUrl, OffsetDateTime)> {
        // Asked even if the URL is at hand: it renews itself when it is asked, and must be good when the next URL is made.
        let held = match &self.key {
            SigningKey::Delegation(lease) => Some(lease.get(grant.lifetime + KEY_MARGIN).await?),
            SigningKey::Account(_) => None,
        };
        let at = format!("{}/{}", subject.container, subject.name);
        let expiry = quantised_expiry((subject.now)(), grant.lifetime, grant.step);
        if let Some(made) = self.made().get(&at)
            && made.expiry == expiry
            && made.grant == *grant
        {
            return Ok((made.url.clone(), expiry));
        }
        let query = match (&self.key, &held) {
            (SigningKey::Account(key), _) => service_sas(key, subject, grant, expiry)?,
            (_, Some(held)) => user_delegation_sas(&held.value().0, subject, grant, expiry)?,
            (SigningKey::Delegation(_), None) => {
                return Err(Error::internal("azure: no key was asked for"));
            }
        };
        let url = url(subject, &query);
        let made = Made {
            grant: grant.clone(),
            expiry,
            url: url.clone(),
        };
        self.made().insert(at, made);
        Ok((url, expiry))
    }

    /// A URL that creates the blob, and replaces none, until about `lifetime` from now. Every one is another, so none is remembered.
    pub(super) async fn sign_put(
        &self,
        subject: &Subject<'_>,
        lifetime: Duration,
    ) -> Result<(SignedUrl, OffsetDateTime)> {
        let expiry = || whole_second((subject.now)() + lifetime);
        let (query, expiry) = match &self.key {
            SigningKey::Account(key) => {
                let expiry = expiry();
                (service_put_sas(key, subject, expiry)?, expiry)
            }
            SigningKey::Delegation(lease) => {
                let held = lease.get(lifetime + KEY_MARGIN).await?;
                let expiry = expiry();
                let query = SasBuilder::new(subject.account, &held.value().0, expiry)
                    .map(|builder| {
                        let builder = builder.protocol(SasProtocol::Https);
                        builder
                            .blob(subject.container, subject.name)
                            .create()
                            .build()
                    })
                    .map_err(|error| {
                        Error::internal("azure: a URL could not be signed").with_source(error)
                    })?;
                (query, expiry)
            }
        };
        Ok((url(subject, &query), expiry))
    }

    fn made(&self) -> MutexGuard<'_, Bounded<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn url(subject: &Subject<'_>, query: &str) -> SignedUrl {
    let base = subject.public_endpoint.as_str().trim_end_matches('/');
    let (container, path) = (subject.container, path_of(subject.name));
    SignedUrl::new(format!("{base}/{container}/{path}?{query}"))
}

fn user_delegation_sas(
    key: &UserDelegationKey,
    subject: &Subject<'_>,
    grant: &Grant,
    expiry: OffsetDateTime,
) -> Result<String> {
    SasBuilder::new(subject.account, key, expiry)
        .map(|builder| {
            let builder = builder
                .protocol(SasProtocol::Https)
                .blob(subject.container, subject.name)
                .read()
                .content_disposition(&grant.disposition)
                .content_type(&grant.content_type);
            match &grant.cache_control {
                Some(cache_control) => builder.cache_control(cache_control).build(),
                None => builder.build(),
            }
        })
        .map_err(|error| Error::internal("azure: a URL could not be signed").with_source(error))
}

/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas#version-2020-12-06-and-later>
fn service_sas(
    key: &AccountKey,
    subject: &Subject<'_>,
    grant: &Grant,
    expiry: OffsetDateTime,
) -> Result<String> {
    let answer = [
        grant.cache_control.as_deref().unwrap_or_default(),
        &grant.disposition,
        "",
        "",
        &grant.content_type,
    ];
    let common = service_fields(key, subject, "r", answer, expiry)?;
    let cache_control = match &grant.cache_control {
        Some(cache_control) => format!("&rscc={}", encode(cache_control)),
        None => String::new(),
    };
    Ok(format!(
        "{common}{cache_control}&rscd={}&rsct={}",
        encode(&grant.disposition),
        encode(&grant.content_type),
    ))
}

fn service_put_sas(
    key: &AccountKey,
    subject: &Subject<'_>,
    expiry: OffsetDateTime,
) -> Result<String> {
    service_fields(key, subject, "c", [""; 5], expiry)
}

/// Permission, protocol, expiry, and the signature over these and the headers of the answer.
fn service_fields(
    key: &AccountKey,
    subject: &Subject<'_>,
    permission: &str,
    answer: [&str; 5],
    expiry: OffsetDateTime,
) -> Result<String> {
    let expiry = expiry
        .format(&Rfc3339)
        .map_err(|error| Error::internal("a time cannot be written").with_source(error))?;
    // Plain http is only possible where the whole endpoint is plain http: an emulator.
    let protocol = if subject.public_endpoint.scheme() == "https" {
        "https"
    } else {
        "https,http"
    };
    let Subject {
        account,
        container,
        name,
        ..
    } = subject;
    let resource = format!("/blob/{account}/{container}/{name}");
    let mut lines = vec![permission, "", &expiry, &resource, "", "", protocol];
    lines.extend([SERVICE_SAS_VERSION, "b", "", ""]);
    lines.extend(answer);
    Ok(format!(
        "sv={SERVICE_SAS_VERSION}&sr=b&sp={permission}&spr={}&se={}&sig={}",
        encode(protocol),
        encode(&expiry),
        encode(&key.sign(&lines.join("\n"))),
    ))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, QUERY_VALUE).to_string()
}

/// RFC 3986 section 2.3: what needs no encoding.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn subject<'a>(endpoint: &'a Url, name: &'a str) -> Subject<'a> {
        Subject {
            account: "acme",
            container: "files",
            public_endpoint: endpoint,
            name,
            now: &|| datetime!(2026-11-23 20:00:00 UTC),
        }
    }

    const NAME: &str = "attachment/01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11.png";

    fn unusual_grant() -> Grant {
        Grant {
            lifetime: Duration::from_secs(120),
            step: Duration::from_secs(60),
            disposition: "inline; filename=\"__.png\"; filename*=UTF-8''%E5%86%99%E7%9C%9F.png"
                .to_owned(),
            content_type: "image/png".to_owned(),
            cache_control: None,
        }
    }

    fn sig(query: &str) -> String {
        let url = Url::parse(&format!("https://h/?{query}")).expect("a URL");
        let found = url.query_pairs().find(|(name, _)| name == "sig");
        found.expect("a signature").1.into_owned()
    }

    /// The bytes 0 to 31.
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    const EXPIRY: OffsetDateTime = datetime!(2026-11-23 20:02:00 UTC);

    /// The signatures were made once by Microsoft's `@azure/storage-blob` 12.32.0 for JavaScript
    /// (`generateBlobSASQueryParameters` with the same version, key, blob, expiry and response headers).
    #[test]
    fn an_independent_signer_gives_the_same_signatures() {
        let endpoint = Url::parse("https://acme.blob.core.windows.net").expect("a URL");
        let name = NAME;
        let subject = subject(&endpoint, name);
        #[expect(
            clippy::field_reassign_with_default,
            reason = "the type is not exhaustive"
        )]
        let key = {
            let mut key = UserDelegationKey::default();
            key.signed_oid = Some("11111111-2222-3333-4444-555555555555".to_owned());
            key.signed_tid = Some("66666666-7777-8888-9999-000000000000".to_owned());
            key.signed_start = Some(datetime!(2026-11-23 19:45:00 UTC));
            key.signed_expiry = Some(datetime!(2026-11-24 08:00:00 UTC));
            key.signed_service = Some("b".to_owned());
            key.signed_version = Some("2026-04-06".to_owned());
            key.value = crate::base64::decode(KEY);
            key
        };
        let query = user_delegation_sas(&key, &subject, &unusual_grant(), EXPIRY).expect("signed");
        assert_eq!(sig(&query), "usBOSpclI96bFuTP0Hsni2LhkQrZ2nfRL2axT8JDGAU=");
        let key = AccountKey::new("acme", KEY).expect("base64");
        let query = service_sas(&key, &subject, &unusual_grant(), EXPIRY).expect("signed");
        assert_eq!(sig(&query), "H1DHPKixNeSk+ayzZQ2B5wUc7T46MSoVwmdrgTijSMo=");
    }

    fn account_signer() -> Signer {
        let key = AccountKey::new("acme", "a2V5").expect("base64");
        Signer::new(SigningKey::Account(key))
    }

    #[tokio::test]
    async fn the_same_url_is_given_until_its_step_ends_and_to_the_same_grant_alone() {
        let endpoint = Url::parse("https://acme.blob.core.windows.net").expect("a URL");
        let key = NAME;
        let signer = account_signer();
        let sign = async |now: OffsetDateTime, grant: &Grant| {
            let subject = Subject {
                now: &|| now,
                ..subject(&endpoint, key)
            };
            let (url, expiry) = signer.sign(&subject, grant).await.expect("signed");
            // What is remembered is what would be made anew.
            let (fresh, _) = account_signer()
                .sign(&subject, grant)
                .await
                .expect("signed");
            assert_eq!(url.expose(), fresh.expose());
            (url, expiry)
        };
        let (begin, grant) = (datetime!(2026-11-23 20:00:00 UTC), unusual_grant());
        let first = sign(begin, &grant).await;
        assert_eq!(sign(begin + Duration::from_secs(59), &grant).await, first);
        let next = sign(begin + Duration::from_secs(60), &grant).await;
        assert_eq!(next.1, first.1 + Duration::from_secs(60));
        let saved = Grant {
            disposition: "attachment".to_owned(),
            ..unusual_grant()
        };
        assert!(
            sign(begin, &saved)
                .await
                .0
                .expose()
                .contains("rscd=attachment&")
        );
        assert_eq!(sign(begin, &grant).await, first);
    }

    #[tokio::test]
    async fn an_account_key_signs_one_blob_read_only_https() {
        let endpoint = Url::parse("https://acme.blob.core.windows.net").expect("a URL");
        let key = "attachment/a.png";
        let signer = account_signer();
        let grant = Grant {
            lifetime: Duration::from_secs(120),
            step: Duration::from_secs(60),
            disposition: "inline; filename=\"a.png\"".to_owned(),
            content_type: "image/png".to_owned(),
            cache_control: None,
        };
        let (url, _) = signer
            .sign(&subject(&endpoint, key), &grant)
            .await
            .expect("signed");
        let url = Url::parse(url.expose()).expect("a URL");
        assert_eq!(url.path(), "/files/attachment/a.png");
        let query: std::collections::HashMap<_, _> = url.query_pairs().collect();
        for (name, value) in [
            ("sr", "b"),
            ("sp", "r"),
            ("spr", "https"),
            ("rsct", "image/png"),
            ("rscd", "inline; filename=\"a.png\""),
            ("se", "2026-11-23T20:02:00Z"),
        ] {
            assert_eq!(query[name], value, "{name}");
        }
        assert!(!query.contains_key("st"));
    }
}
