//! Who we are at Amazon, where that is no access key of the configuration: what a platform says, kept by a [`Lease`] and fetched again
//! before it ends.

use std::time::Duration;

use http::{Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::authority::AccessKey;
use super::config::{S3CredentialKind, S3StoreConfig};
use super::signature::Query;
use super::xml::Element;
use crate::config::value::is_loopback_url;
use crate::error::{Error, ErrorKind, Result};
use crate::http::reach::hint;
use crate::http::{Client, ClientConfig, Trust};
use crate::lease::{Granted, Lease};
use crate::secret::Secret;

/// Most bytes of an answer with a credential: tokens of a kilobyte or two.
const LONGEST: usize = 64 * 1024;

/// How long a platform may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a container of ECS asks, with a path of its own
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>).
const CONTAINER: &str = "http://169.254.170.2";

/// Where a machine asks
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>).
const INSTANCE: &str = "http://169.254.169.254";

/// A lease of access keys of this configuration's identity.
///
/// # Errors
///
/// [`Misconfigured`](ErrorKind::Misconfigured) if the extra certificates cannot be read.
pub(super) fn lease(config: &S3StoreConfig, client: &ClientConfig) -> Result<Lease<AccessKey>> {
    let trust = match config.ca_pem.as_deref() {
        Some(pem) => Trust::roots_and(pem, "storage.s3.ca_file")?,
        None => Trust::roots()?,
    };
    let source = std::sync::Arc::new(Source {
        config: config.clone(),
        kind: config.credential_in_use(),
        client: Client::new(client, trust),
    });
    Ok(Lease::new("s3_credential", move || {
        let source = source.clone();
        async move { source.fetch().await }
    }))
}

/// Where a credential comes from.
struct Source {
    config: S3StoreConfig,
    kind: S3CredentialKind,
    client: Client,
}

impl Source {
    async fn fetch(&self) -> Result<Granted<AccessKey>> {
        // Once more where that may help; the lease tries again by itself.
        let fetched = async {
            match self.fetch_once().await {
                Err(error) if error.kind() == ErrorKind::UpstreamUnavailable => {
                    self.fetch_once().await
                }
                outcome => outcome,
            }
        };
        match tokio::time::timeout(TIMEOUT, fetched).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(self.unavailable(&format!("nobody responds within {} s", TIMEOUT.as_secs())))
            }
        }
    }

    async fn fetch_once(&self) -> Result<Granted<AccessKey>> {
        match self.kind {
            S3CredentialKind::WebIdentity => self.web_identity().await,
            S3CredentialKind::Container => self.container().await,
            _ => self.instance().await,
        }
    }

    /// AssumeRoleWithWebIdentity
    /// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>).
    async fn web_identity(&self) -> Result<Granted<AccessKey>> {
        let config = &self.config;
        let path = config
            .web_identity_token_file
            .as_deref()
            .unwrap_or_default();
        let token = self.read(path, "web_identity_token_file").await?;
        let region = config.region.as_deref().unwrap_or("us-east-1");
        let usual = format!("https://sts.{region}.amazonaws.com");
        let endpoint = config.sts_endpoint.as_deref().unwrap_or(&usual);
        let form = Query::default()
            .with("Action", "AssumeRoleWithWebIdentity")
            .with("Version", "2011-06-15")
            .with("DurationSeconds", "3600")
            .with("RoleArn", config.role_arn.as_deref().unwrap_or_default())
            .with("RoleSessionName", "attache")
            .with("WebIdentityToken", token.expose());
        let request = Request::post(endpoint)
            .header(
                http::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(Full::from(form.text()));
        let answer = self.ask(request, "storage.s3.sts_endpoint").await?;
        let root = Element::read(&answer);
        let credentials = root.as_ref().and_then(|root| {
            let result = root.all("AssumeRoleWithWebIdentityResult").next()?;
            result.all("Credentials").next()
        });
        let text = |name: &str| Some(credentials?.text_of(name)?.to_owned());
        self.granted(Given {
            access_key_id: text("AccessKeyId").unwrap_or_default(),
            secret_access_key: text("SecretAccessKey").unwrap_or_default(),
            token: text("SessionToken"),
            expiration: text("Expiration"),
        })
    }

    async fn container(&self) -> Result<Granted<AccessKey>> {
        let config = &self.config;
        let uri = config
            .container_credentials_uri
            .as_deref()
            .unwrap_or_default();
        let url = match uri.starts_with('/') {
            true => format!("{CONTAINER}{uri}"),
            false => uri.to_owned(),
        };
        if !may_hear_a_token(&url) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "storage.s3.container_credentials_uri must be https, or an address of this machine's own (loopback, 169.254.0.0/16)",
            ));
        }
        let mut request = Request::get(url);
        if let Some(path) = &config.container_authorization_token_file {
            let token = self
                .read(path, "container_authorization_token_file")
                .await?;
            request = request.header(http::header::AUTHORIZATION, token.expose());
        }
        let request = request.body(Full::default());
        let answer = self
            .ask(request, "storage.s3.container_credentials_uri")
            .await?;
        self.given(&answer)
    }

    /// The role of the machine, asked with a token of its service (version 2), which no request that was forged by way of us has.
    async fn instance(&self) -> Result<Granted<AccessKey>> {
        let base = self.config.metadata_endpoint.as_deref().unwrap_or(INSTANCE);
        let base = base.trim_end_matches('/');
        let key = "storage.s3.metadata_endpoint";
        let request = Request::put(format!("{base}/latest/api/token"))
            .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
            .body(Full::default());
        let token = self.text(&self.ask(request, key).await?)?;
        let get = |path: &str| {
            Request::get(format!(
                "{base}/latest/meta-data/iam/security-credentials/{path}"
            ))
            .header("x-aws-ec2-metadata-token", &token)
            .body(Full::default())
        };
        let role = self.text(&self.ask(get(""), key).await?)?;
        let Some(role) = role.lines().next().filter(|role| !role.is_empty()) else {
            return Err(self.unavailable("this machine has no role; give it an instance profile"));
        };
        let answer = self.ask(get(role), key).await?;
        self.given(&answer)
    }

    fn given(&self, answer: &[u8]) -> Result<Granted<AccessKey>> {
        match serde_json::from_slice(answer) {
            Ok(given) => self.granted(given),
            Err(_) => Err(self.unavailable("the response is no credential")),
        }
    }

    fn granted(&self, given: Given) -> Result<Granted<AccessKey>> {
        if given.access_key_id.is_empty() || given.secret_access_key.is_empty() {
            return Err(self.unavailable("the response has no access key"));
        }
        let expiration = given.expiration.as_deref();
        let expiration = expiration.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        // What counts is what was granted, on the clock of who grants it.
        let skew = self.client.counts().skew().unwrap_or_default();
        let now = OffsetDateTime::now_utc() + skew;
        let life = expiration.map_or(FOR_EVER, |at| {
            (at - now).try_into().unwrap_or(Duration::ZERO)
        });
        let secret = Secret::new(given.secret_access_key);
        Ok(Granted {
            value: AccessKey::new(given.access_key_id, secret, given.token.map(Secret::new)),
            life,
        })
    }

    /// The body of an answer of success.
    async fn ask(
        &self,
        request: http::Result<Request<Full<bytes::Bytes>>>,
        key: &str,
    ) -> Result<bytes::Bytes> {
        let request = request
            .map_err(|_| Error::new(ErrorKind::Misconfigured, format!("{key} is not a URL")))?;
        let is_posting = request.method() == Method::POST;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = self.client.send_untimed(request).await.map_err(|why| {
            let hint = hint(&why, "storage.s3.ca_file");
            self.unavailable(&format!("{host} cannot be reached; check {key}{hint}"))
                .with_source(why)
        })?;
        let (head, body) = answer.into_parts();
        let body = body.whole(LONGEST).await.unwrap_or_default();
        match head.status.as_u16() {
            200 => Ok(body),
            status @ (429 | 500..=599) => {
                Err(self.unavailable(&format!("{host} responded with {status}")))
            }
            status => {
                let code = match is_posting {
                    true => Element::read(&body).and_then(|root| {
                        let error = root.all("Error").next()?;
                        error.text_of("Code").map(str::to_owned)
                    }),
                    false => None,
                };
                Err(self.refused(status, &code.unwrap_or_default()))
            }
        }
    }

    async fn read(&self, path: &str, key: &str) -> Result<Secret> {
        let text = tokio::fs::read_to_string(path).await.map_err(|error| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("the file of storage.s3.{key} cannot be read"),
            )
            .for_operator()
            .with_source(error)
        })?;
        Ok(Secret::new(text.trim()))
    }

    fn text(&self, answer: &[u8]) -> Result<String> {
        let text = std::str::from_utf8(answer).map(|text| text.trim().to_owned());
        text.map_err(|_| self.unavailable("the response is no text"))
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::UpstreamUnavailable,
            format!("s3: no credential from \"{}\": {what}", self.kind),
        )
        .for_operator()
    }

    fn refused(&self, status: u16, code: &str) -> Error {
        let advice = match self.kind {
            S3CredentialKind::WebIdentity => {
                "check storage.s3.role_arn, the trust policy of the role, and storage.s3.web_identity_token_file"
            }
            S3CredentialKind::Container => {
                "check storage.s3.container_credentials_uri and storage.s3.container_authorization_token_file"
            }
            _ => "give this machine a role (an instance profile), or set storage.s3.access_key_id",
        };
        Error::new(
            ErrorKind::UpstreamRefused,
            format!(
                "s3: no credential from \"{}\": refused ({status} {code}); {advice}",
                self.kind
            ),
        )
        .for_operator()
    }
}

/// The life of what does not say when it ends.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whether a token may be sent to `url`.
fn may_hear_a_token(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let is_https = uri
        .as_ref()
        .is_some_and(|uri| uri.scheme_str() == Some("https"));
    let address = uri
        .as_ref()
        .and_then(|uri| uri.host()?.parse::<std::net::Ipv4Addr>().ok());
    is_https || is_loopback_url(url) || address.is_some_and(|address| address.is_link_local())
}

/// A credential as containers and machines are given it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}
