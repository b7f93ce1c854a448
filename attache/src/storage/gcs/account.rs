//! What a credential file of Google holds: the key of a service account, or the login of a user
//! (<https://cloud.google.com/docs/authentication/application-default-credentials>).

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::storage::s3::signer::AccountSigner;

/// Who a file says that we are.
#[derive(Clone)]
pub(super) enum Account {
    /// A service account.
    Service(ServiceAccount),
    /// A person who has logged in.
    User(User),
}

/// A service account and its key. Does not print.
#[derive(Clone)]
pub(super) struct ServiceAccount {
    email: String,
    pub(super) token_uri: String,
    pub(super) key_id: String,
    key: Arc<dyn SigningKey>,
}

/// A login that tokens are made of.
#[derive(Clone)]
pub(super) struct User {
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) refresh_token: Secret,
}

/// Where tokens are, where a file does not say it.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written {
    ServiceAccount {
        client_email: String,
        private_key: String,
        #[serde(default)]
        private_key_id: String,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
    },
}

impl Account {
    /// Reads the file. What is wrong is said without what is in it.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let written = serde_json::from_str(json).map_err(|_| {
            "must hold the key of a service account, or the login of a user, as JSON: make one with `gcloud iam service-accounts keys create`"
                .to_owned()
        })?;
        Ok(match written {
            Written::ServiceAccount {
                client_email,
                private_key,
                private_key_id,
                token_uri,
            } => {
                let unreadable = || "holds a private key that is not RSA, as PEM".to_owned();
                let private = Secret::new(private_key);
                let der = PrivateKeyDer::from_pem_slice(private.expose().as_bytes())
                    .map_err(|_| unreadable())?;
                let key = rustls::crypto::ring::sign::any_supported_type(&der)
                    .map_err(|_| unreadable())?;
                key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
                    .ok_or_else(unreadable)?;
                Self::Service(ServiceAccount {
                    email: client_email,
                    token_uri: token_uri.unwrap_or_else(|| TOKEN_URI.to_owned()),
                    key_id: private_key_id,
                    key,
                })
            }
            Written::AuthorizedUser {
                client_id,
                client_secret,
                refresh_token,
            } => Self::User(User {
                client_id,
                client_secret: Secret::new(client_secret),
                refresh_token: Secret::new(refresh_token),
            }),
        })
    }

    /// Who can sign URLs in its name.
    pub(super) fn signer(&self) -> Option<ServiceAccount> {
        match self {
            Self::Service(account) => Some(account.clone()),
            Self::User(_) => None,
        }
    }
}

impl ServiceAccount {
    /// RSA with SHA-256 (PKCS #1).
    pub(super) fn rsa(&self, text: &[u8]) -> Result<Vec<u8>> {
        let cannot = || Error::internal("gcs: the key of the service account cannot sign");
        let signer = self
            .key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(cannot)?;
        signer
            .sign(text)
            .map_err(|error| cannot().with_source(error))
    }
}

impl AccountSigner for ServiceAccount {
    fn email(&self) -> &str {
        &self.email
    }

    fn sign(&self, text: &str) -> Result<String> {
        use fmt::Write as _;
        let mut hex = String::new();
        for byte in self.rsa(text.as_bytes())? {
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(hex)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account([redacted])")
    }
}
