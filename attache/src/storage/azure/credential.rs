//! Who we are at Azure: one token for all requests, renewed ahead of time.
//!
//! Microsoft's credential objects fetch tokens; the [`Lease`] keeps them. Their own cache does not: 200 callers of a
//! token in its last five minutes make 16 to 139 token requests, and after a 401 the same token is returned for ever.
//! A credential object is therefore built anew for every fetch; nothing else forgets its cached token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{Secret as AzureSecret, TokenCredential};
use azure_core::http::headers::AUTHORIZATION;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    ClientMethodOptions, ClientOptions, Context, ExponentialRetryOptions, Request, RetryOptions,
    StatusCode, Transport as AzureTransport,
};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertion, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use time::OffsetDateTime;

use super::attempt::Impatience;
use super::config::{AzureConfig, CredentialKind};
use super::token_error::credential_error;
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::lease::{Granted, Held, Lease};
use crate::secret::Secret;

/// <https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory>
pub(super) const STORAGE: Purpose = Purpose {
    lease: "entra_token",
    scope: "https://storage.azure.com/.default",
};

/// <https://learn.microsoft.com/azure/postgresql/flexible-server/how-to-configure-sign-in-azure-ad-authentication>
pub(super) const DATABASE: Purpose = Purpose {
    lease: "database_token",
    scope: "https://ossrdbms-aad.database.windows.net/.default",
};

/// What a token is for.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    lease: &'static str,
    scope: &'static str,
}

/// A token must live this much longer, so that it does not die on its way.
const TOKEN_NEED: Duration = Duration::from_secs(10);

/// A lease of Entra tokens of this configuration's identity.
pub(super) fn token_lease(
    config: &AzureConfig,
    kind: CredentialKind,
    purpose: Purpose,
    transport: &Arc<Transport>,
) -> Lease<Secret> {
    let config = config.clone();
    let transport = transport.clone();
    Lease::new(purpose.lease, move || {
        let credential = credential(&config, kind, &transport);
        async move {
            let token = async { credential?.get_token(&[purpose.scope], None).await }
                .await
                .map_err(|error| credential_error(&error, kind))?;
            let life = token.expires_on - OffsetDateTime::now_utc();
            Ok(Granted {
                value: Secret::new(token.token.secret()),
                life: life.try_into().unwrap_or(Duration::ZERO),
            })
        }
    })
}

fn credential(
    config: &AzureConfig,
    kind: CredentialKind,
    transport: &Arc<Transport>,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_options = ClientOptions {
        transport: Some(AzureTransport::new(transport.clone())),
        per_try_policies: vec![Arc::new(Impatience)],
        // The lease tries again; a fetch that takes long only makes callers wait.
        retry: RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: 1,
            max_total_elapsed: azure_core::time::Duration::seconds(10),
            ..ExponentialRetryOptions::default()
        }),
        cloud: config.authority_host.as_ref().map(|host| {
            let mut custom = CustomConfiguration::default();
            custom.authority_host = host.clone();
            Arc::new(custom.into())
        }),
        ..ClientOptions::default()
    };
    let tenant = config.tenant_id.clone().unwrap_or_default();
    let client = config.client_id.clone().unwrap_or_default();
    Ok(match kind {
        CredentialKind::ClientSecret => {
            let secret = config
                .client_secret
                .as_ref()
                .map_or("", |secret| secret.expose());
            ClientSecretCredential::new(
                &tenant,
                client,
                AzureSecret::new(secret.to_owned()),
                Some(ClientSecretCredentialOptions { client_options }),
            )?
        }
        CredentialKind::ClientCertificate => {
            let authority = config
                .authority_host
                .as_deref()
                .unwrap_or("https://login.microsoftonline.com");
            let assertion = CertificateAssertion {
                pem: config.client_certificate.clone().unwrap_or(Secret::new("")),
                audience: format!(
                    "{}/{tenant}/oauth2/v2.0/token",
                    authority.trim_end_matches('/')
                ),
                client_id: client.clone(),
            };
            ClientAssertionCredential::new(
                tenant,
                client,
                assertion,
                Some(ClientAssertionCredentialOptions { client_options }),
            )?
        }
        CredentialKind::WorkloadIdentity => {
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: config.client_id.clone(),
                tenant_id: config.tenant_id.clone(),
                token_file_path: config.federated_token_file.clone().map(PathBuf::from),
            }))?
        }
        CredentialKind::AzureCli => AzureCliCredential::new(Some(AzureCliCredentialOptions {
            tenant_id: config.tenant_id.clone(),
            ..AzureCliCredentialOptions::default()
        }))?,
        _ => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
            user_assigned_id: config.client_id.clone().map(UserAssignedId::ClientId),
            client_options,
        }))?,
    })
}

/// Authorises every attempt of every request with the leased token.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    token: Lease<Secret>,
}

impl Bearer {
    pub(super) fn new(token: Lease<Secret>) -> Self {
        Self { token }
    }

    /// The lease of the token.
    pub(super) fn token(&self) -> &Lease<Secret> {
        &self.token
    }

    /// The value of `Authorization` for a request by `scheme`, and the token in it.
    pub(super) async fn authorise(
        &self,
        scheme: &str,
    ) -> azure_core::Result<(Arc<Held<Secret>>, String)> {
        // Checked with the configuration too; here it holds whatever URL comes.
        if scheme != "https" {
            return Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Credential,
                "tokens are never sent over plain http",
            ));
        }
        let held = self.token.get(TOKEN_NEED).await.map_err(|error| {
            azure_core::Error::new(azure_core::error::ErrorKind::Credential, error)
        })?;
        let authorisation = format!("Bearer {}", held.value().expose());
        Ok((held, authorisation))
    }

    async fn apply(&self, request: &mut Request) -> azure_core::Result<Arc<Held<Secret>>> {
        let (held, authorisation) = self.authorise(request.url().scheme()).await?;
        request.insert_header(AUTHORIZATION, authorisation);
        Ok(held)
    }
}

#[async_trait]
impl Policy for Bearer {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let seen = self.apply(request).await?;
        let answer = next[0].send(ctx, request, &next[1..]).await?;
        // 401 is the token, 403 never is: a role or a firewall does not change with a new token.
        if answer.status() != StatusCode::Unauthorized || !self.token.reject(&seen) {
            return Ok(answer);
        }
        drop(answer);
        request.body_mut().reset().await?;
        self.apply(request).await?;
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// A JWT signed with the application's certificate
/// (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
#[derive(Debug)]
struct CertificateAssertion {
    pem: Secret,
    audience: String,
    client_id: String,
}

#[async_trait]
impl ClientAssertion for CertificateAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.sign(OffsetDateTime::now_utc()).map_err(|error| {
            azure_core::Error::new(azure_core::error::ErrorKind::Credential, error)
        })
    }
}

impl CertificateAssertion {
    fn sign(&self, now: OffsetDateTime) -> Result<String> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        use sha2::{Digest, Sha256};

        let unreadable = |what: &str| {
            Error::new(
                crate::ErrorKind::Misconfigured,
                format!(
                    "storage.azure.client_certificate_file {what}; it must hold a certificate and its RSA key, as PEM"
                ),
            )
        };
        let pem = self.pem.expose().as_bytes();
        let certificate =
            CertificateDer::from_pem_slice(pem).map_err(|_| unreadable("holds no certificate"))?;
        let key =
            PrivateKeyDer::from_pem_slice(pem).map_err(|_| unreadable("holds no private key"))?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)
            .ok()
            .and_then(|key| key.choose_scheme(&[rustls::SignatureScheme::RSA_PSS_SHA256]))
            .ok_or_else(|| unreadable("holds a key that is not RSA"))?;
        let header = serde_json::json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": crate::base64::encode_url(Sha256::digest(&certificate)),
        });
        let claims = serde_json::json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": uuid::Uuid::now_v7().to_string(),
            "nbf": now.unix_timestamp() - 60,
            "iat": now.unix_timestamp(),
            "exp": now.unix_timestamp() + 600,
        });
        let body = format!(
            "{}.{}",
            crate::base64::encode_url(header.to_string()),
            crate::base64::encode_url(claims.to_string())
        );
        let signature = signer
            .sign(body.as_bytes())
            .map_err(|_| unreadable("holds a key that cannot sign"))?;
        Ok(format!("{body}.{}", crate::base64::encode_url(signature)))
    }
}
