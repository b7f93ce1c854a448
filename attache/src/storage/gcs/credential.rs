//! Tokens of Google, kept by a [`Lease`] and fetched again before they end: for a service account by a JWT that its key signs
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>), for a user by a login, for a machine from an
//! address of its own (<https://cloud.google.com/compute/docs/access/authenticate-workloads>).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use time::OffsetDateTime;

use super::account::{Account, ServiceAccount, TOKEN_URI};
use super::config::GcsConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::http::reach::hint;
use crate::http::{Client, ClientConfig, Trust};
use crate::lease::{Granted, Lease};
use crate::secret::Secret;
use crate::storage::s3::signer::AccountSigner as _;

/// What a token is for
/// (<https://cloud.google.com/storage/docs/oauth-scopes>).
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// How long an assertion is good for; Google takes an hour at most.
const ASSERTED: i64 = 600;

/// Most bytes of an answer with a token.
const LONGEST: usize = 64 * 1024;

/// How long Google may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a machine asks.
const INSTANCE: &str = "http://metadata.google.internal";

/// A lease of tokens of this configuration's identity: of `account`, or of the machine.
///
/// # Errors
///
/// [`Misconfigured`](ErrorKind::Misconfigured) if the extra certificates cannot be read.
pub(super) fn lease(
    config: &GcsConfig,
    account: Option<&Account>,
    client: &ClientConfig,
) -> Result<Lease<Secret>> {
    let trust = match config.ca_pem.as_deref() {
        Some(pem) => Trust::roots_and(pem, "storage.gcs.ca_file")?,
        None => Trust::roots()?,
    };
    let source = Arc::new(Source {
        account: account.cloned(),
        metadata: config.metadata_endpoint.clone(),
        client: Client::new(client, trust),
    });
    Ok(Lease::new("gcs_token", move || {
        let source = source.clone();
        async move { source.fetch().await }
    }))
}

/// Where tokens come from.
struct Source {
    account: Option<Account>,
    metadata: Option<String>,
    client: Client,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    expires_in: u64,
}

impl Source {
    async fn fetch(&self) -> Result<Granted<Secret>> {
        // Once more where that may help; the lease tries again by itself.
        let asked = async {
            match self.ask(self.request()?).await {
                Err(error) if error.kind() == ErrorKind::UpstreamUnavailable => {
                    self.ask(self.request()?).await
                }
                outcome => outcome,
            }
        };
        let answer = match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                return Err(unavailable(&format!("nobody responds within {seconds} s")));
            }
        };
        let issued: Issued = serde_json::from_slice(&answer)
            .map_err(|_| unavailable("the response has no access token"))?;
        Ok(Granted {
            value: Secret::new(issued.access_token),
            life: Duration::from_secs(issued.expires_in),
        })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let (uri, form) = match &self.account {
            Some(Account::Service(account)) => {
                let assertion = self.assertion(account)?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let form = form(&[("grant_type", grant), ("assertion", &assertion)]);
                (account.token_uri.as_str(), form)
            }
            Some(Account::User(user)) => {
                let form = form(&[
                    ("grant_type", "refresh_token"),
                    ("client_id", &user.client_id),
                    ("client_secret", user.client_secret.expose()),
                    ("refresh_token", user.refresh_token.expose()),
                ]);
                (TOKEN_URI, form)
            }
            None => return self.of_the_machine(),
        };
        let uri: Uri = uri
            .parse()
            .map_err(|_| misconfigured("has a token_uri that is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(misconfigured("has a token_uri without https"));
        }
        Request::post(uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .map_err(|error| Error::internal("a request for a token").with_source(error))
    }

    fn of_the_machine(&self) -> Result<Request<Full<Bytes>>> {
        let base = self.metadata.as_deref().unwrap_or(INSTANCE);
        let base = base.trim_end_matches('/');
        Request::get(format!(
            "{base}/computeMetadata/v1/instance/service-accounts/default/token"
        ))
        .header("metadata-flavor", "Google")
        .body(Full::default())
        .map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                "storage.gcs.metadata_endpoint is not a URL",
            )
        })
    }

    /// A JWT that says who we are, on Google's clock.
    fn assertion(&self, account: &ServiceAccount) -> Result<String> {
        let skew = self.client.counts().skew().unwrap_or_default();
        let now = (OffsetDateTime::now_utc() + skew).unix_timestamp();
        let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": account.key_id});
        let claims = serde_json::json!({
            "iss": account.email(),
            "scope": SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + ASSERTED,
        });
        let encode = |part: serde_json::Value| crate::base64::encode_url(part.to_string());
        let body = format!("{}.{}", encode(header), encode(claims));
        let signature = account.rsa(body.as_bytes())?;
        Ok(format!("{body}.{}", crate::base64::encode_url(signature)))
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Bytes> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = self.client.send_untimed(request).await.map_err(|why| {
            let hint = hint(&why, "storage.gcs.ca_file");
            let key = match &self.account {
                Some(_) => "the network",
                None => "storage.gcs.metadata_endpoint, and whether this is a machine of Google's",
            };
            unavailable(&format!("{host} cannot be reached; check {key}{hint}")).with_source(why)
        })?;
        let (head, body) = answer.into_parts();
        let body = body.whole(LONGEST).await.unwrap_or_default();
        match head.status.as_u16() {
            200 => Ok(body),
            status @ (429 | 500..=599) => {
                Err(unavailable(&format!("{host} responded with {status}")))
            }
            status => Err(self.refused(status, &body)),
        }
    }

    fn refused(&self, status: u16, body: &[u8]) -> Error {
        #[derive(Deserialize)]
        struct Refused {
            error: String,
        }
        let code = serde_json::from_slice::<Refused>(body)
            .map_or_else(|_| String::new(), |refused| refused.error);
        let code: String = code
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .take(64)
            .collect();
        let advice = match &self.account {
            Some(Account::Service(_)) => {
                "check storage.gcs.service_account_file (its key may be deleted, or its account disabled), and the clock"
            }
            Some(Account::User(_)) => {
                "run `gcloud auth application-default login` again, or set storage.gcs.service_account_file to the key of a service account"
            }
            None => "give this machine a service account, or set storage.gcs.service_account_file",
        };
        Error::new(
            ErrorKind::UpstreamRefused,
            format!("gcs: no token: refused ({status} {code}); {advice}"),
        )
        .for_operator()
    }
}

fn unavailable(what: &str) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!("gcs: no token: {what}"),
    )
    .for_operator()
}

fn misconfigured(what: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("storage.gcs.service_account_file {what}"),
    )
}

fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    fields.join("&")
}
