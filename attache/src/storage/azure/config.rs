//! `[storage.azure]`, parsed: which account, which container, how to prove who we are.

use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use azure_core::http::Url;

use super::connection_string::ConnectionString;
use crate::config::value::{FilePath, Optional, SecretText, SomeText, Words};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::section;

section! {
    /// Where Azure Blob Storage is, and who we are there. Plain data; equal values need no new client.
    ///
    /// Files that the configuration names (secret, certificate, extra roots) are held as their content, too, so that a
    /// change of the content is a change of the configuration.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AzureConfig in "storage.azure" {
        /// The storage account.
        #[example = "\"acme\""]
        #[variables = ["AZURE_STORAGE_ACCOUNT_NAME"]]
        account: Option<String> = None => SomeText,
        /// The container in it. It must exist.
        #[example = "\"files\""]
        #[variables = ["AZURE_STORAGE_CONTAINER_NAME"]]
        container: Option<String> = None => SomeText,
        /// For Azurite, sovereign clouds and private endpoints; https://<account>.blob.core.windows.net without it.
        #[example = "\"https://acme.blob.core.windows.net\""]
        endpoint: Option<String> = None => SomeText,
        /// Host of signed URLs, if clients reach the account under another name.
        #[example = "\"https://files.example.org\""]
        public_endpoint: Option<String> = None => SomeText,
        /// "client_secret", "client_certificate", "managed_identity", "workload_identity", "azure_cli", "account_key",
        /// "connection_string", or "default": the first of them that is configured.
        credential: CredentialKind = CredentialKind::Default => CREDENTIALS,
        /// Also read from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.
        #[example = "\"00000000-0000-0000-0000-000000000000\""]
        #[variables = ["AZURE_TENANT_ID"]]
        tenant_id: Option<String> = None => SomeText,
        /// The application, or the user-assigned managed identity.
        #[example = "\"00000000-0000-0000-0000-000000000000\""]
        #[variables = ["AZURE_CLIENT_ID"]]
        client_id: Option<String> = None => SomeText,
        /// The application's secret.
        #[example = "\"better in a file or in the environment\""]
        #[variables = ["AZURE_CLIENT_SECRET"]]
        client_secret: Option<Secret> = None => Optional(SecretText),
        /// A file that holds the secret alone.
        #[example = "\"/run/secrets/attache-client-secret\""]
        client_secret_file: Option<PathBuf> = None => Optional(FilePath),
        /// A PEM file with the certificate and its RSA key.
        #[example = "\"/run/secrets/attache.pem\""]
        #[variables = ["AZURE_CLIENT_CERTIFICATE_PATH"]]
        client_certificate_file: Option<PathBuf> = None => Optional(FilePath),
        /// Workload identity; set by the platform as AZURE_FEDERATED_TOKEN_FILE. A path, because the platform replaces what is in
        /// it every hour.
        #[example = "\"/var/run/secrets/azure/tokens/azure-identity-token\""]
        #[variables = ["AZURE_FEDERATED_TOKEN_FILE"]]
        federated_token_file: Option<String> = None => SomeText,
        /// Entra ID of a sovereign cloud.
        #[example = "\"https://login.microsoftonline.com\""]
        #[variables = ["AZURE_AUTHORITY_HOST"]]
        authority_host: Option<String> = None => SomeText,
        /// For Azurite and old accounts; Entra ID is the better way.
        #[example = "\"base64\""]
        account_key: Option<Secret> = None => Optional(SecretText),
        /// The same, with everything in one text.
        #[example = "\"AccountName=acme;AccountKey=base64\""]
        #[variables = ["AZURE_STORAGE_CONNECTION_STRING"]]
        connection_string: Option<Secret> = None => Optional(SecretText),
        /// An extra root certificate (PEM).
        #[example = "\"/etc/ssl/private-ca.pem\""]
        ca_file: Option<PathBuf> = None => Optional(FilePath),
    }
    files {
        /// What `client_certificate_file` holds.
        client_certificate: Option<Secret> from client_certificate_file = Secret::new,
        /// What `ca_file` holds: PEM certificates that are trusted besides those of the system.
        ca_pem: Option<String> from ca_file = String::from,
    }
    values {
        client_secret from client_secret_file = secret_of,
    }
}

/// The setting for an extra root certificate.
pub(super) const CA_FILE: &str = "storage.azure.ca_file";

/// Which credential to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialKind {
    /// The first of the others that is configured.
    #[default]
    Default,
    /// Application and secret.
    ClientSecret,
    /// Application and certificate.
    ClientCertificate,
    /// The identity of the virtual machine or of the app service.
    ManagedIdentity,
    /// A federated token, as on Kubernetes.
    WorkloadIdentity,
    /// The account that is logged in with `az login`.
    AzureCli,
    /// A key of the account.
    AccountKey,
    /// A connection string of the account.
    ConnectionString,
}

const CREDENTIALS: Words<CredentialKind> = Words(&[
    ("default", CredentialKind::Default),
    ("client_secret", CredentialKind::ClientSecret),
    ("client_certificate", CredentialKind::ClientCertificate),
    ("managed_identity", CredentialKind::ManagedIdentity),
    ("workload_identity", CredentialKind::WorkloadIdentity),
    ("azure_cli", CredentialKind::AzureCli),
    ("account_key", CredentialKind::AccountKey),
    ("connection_string", CredentialKind::ConnectionString),
]);

impl CredentialKind {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        CREDENTIALS.of(self)
    }
}

/// A secret that stands alone in a file, with the end of its line.
fn secret_of(text: String) -> Secret {
    Secret::new(text.trim())
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The account, found and checked: what the client is built from.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) account: String,
    pub(super) container: String,
    /// Base of the blob service, with the account in its path where it is path-style; no slash at its end.
    pub(super) endpoint: Url,
    pub(super) public_endpoint: Url,
    pub(super) credential: CredentialKind,
    pub(super) account_key: Option<Secret>,
}

impl AzureConfig {
    /// Every fault of this section: the key, and what is wrong with it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        match self.target() {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        }
    }

    /// Which credential will be used.
    pub fn credential_in_use(&self) -> CredentialKind {
        match self.credential {
            CredentialKind::Default => {}
            chosen => return chosen,
        }
        if self.client_secret.is_some() {
            CredentialKind::ClientSecret
        } else if self.client_certificate.is_some() {
            CredentialKind::ClientCertificate
        } else if self.federated_token_file.is_some() {
            CredentialKind::WorkloadIdentity
        } else if self.account_key.is_some() {
            CredentialKind::AccountKey
        } else if self.connection_string.is_some() {
            CredentialKind::ConnectionString
        } else if std::env::var_os("IDENTITY_ENDPOINT").is_none() && az_is_installed() {
            CredentialKind::AzureCli
        } else {
            CredentialKind::ManagedIdentity
        }
    }

    /// Where blobs are stored: account, container and endpoint, whether a key of its own or the connection string says so.
    /// `None` if the section has faults.
    pub fn place(&self) -> Option<(String, String, String)> {
        let target = self.target().ok()?;
        Some((target.account, target.container, target.endpoint.into()))
    }

    pub(super) fn checked_target(&self) -> Result<Target> {
        self.target().map_err(|faults| {
            let text: Vec<String> = faults
                .into_iter()
                .map(|(key, what)| format!("storage.azure.{key} {what}"))
                .collect();
            Error::new(ErrorKind::Misconfigured, text.join("; "))
        })
    }

    fn target(&self) -> Result<Target, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let credential = self.credential_in_use();
        let string = match (&self.connection_string, credential) {
            (Some(string), CredentialKind::ConnectionString) => {
                ConnectionString::parse(string.expose()).unwrap_or_else(|what| {
                    faults.push(("connection_string", what));
                    ConnectionString::default()
                })
            }
            _ => ConnectionString::default(),
        };
        if let (Some(named), Some(held)) = (&self.account, &string.account)
            && named != held
        {
            faults.push((
                "account",
                format!("is \"{named}\", but the connection string is for \"{held}\""),
            ));
        }
        let account = self.account.clone().or(string.account);
        let endpoint_text = self.endpoint.clone().or(string.endpoint);
        let account_key = match credential {
            CredentialKind::ConnectionString => string.key.map(Secret::new),
            CredentialKind::AccountKey => self.account_key.clone(),
            _ => None,
        };
        let mut need = |key: &'static str, missing: bool| {
            if missing {
                faults.push((
                    key,
                    format!("is needed for the credential \"{credential}\""),
                ));
            }
        };
        match credential {
            CredentialKind::ClientSecret => {
                need("tenant_id", self.tenant_id.is_none());
                need("client_id", self.client_id.is_none());
                need("client_secret", self.client_secret.is_none());
            }
            CredentialKind::ClientCertificate => {
                need("tenant_id", self.tenant_id.is_none());
                need("client_id", self.client_id.is_none());
                need("client_certificate_file", self.client_certificate.is_none());
            }
            CredentialKind::WorkloadIdentity => {
                need("tenant_id", self.tenant_id.is_none());
                need("client_id", self.client_id.is_none());
                need("federated_token_file", self.federated_token_file.is_none());
            }
            CredentialKind::AccountKey => need("account_key", self.account_key.is_none()),
            CredentialKind::ConnectionString => {
                need("connection_string", self.connection_string.is_none());
            }
            _ => {}
        }
        if let Some(key) = &account_key
            && crate::base64::decode(key.expose()).is_none()
        {
            faults.push((
                "account_key",
                "is not base64; copy it whole from the portal or from `az storage account keys list`"
                    .to_owned(),
            ));
        }
        match &account {
            None => faults.push((
                "account",
                "is needed: the name of the storage account".to_owned(),
            )),
            Some(name) if !is_account(name) => faults.push((
                "account",
                format!("is \"{name}\", but an account name is 3 to 24 of a-z and 0-9"),
            )),
            Some(_) => {}
        }
        match &self.container {
            None => faults.push((
                "container",
                "is needed: the name of the container".to_owned(),
            )),
            Some(name) if name == "$root" => faults.push((
                "container",
                "is \"$root\", in which no name may hold a \"/\", and all of attache's do; make a container of another name"
                    .to_owned(),
            )),
            Some(name) if !is_container(name) => faults.push((
                "container",
                format!(
                    "is \"{name}\", but a container name is 3 to 63 of a-z, 0-9 and single hyphens"
                ),
            )),
            Some(_) => {}
        }
        let account = account.unwrap_or_default();
        let bearer = !matches!(
            credential,
            CredentialKind::AccountKey | CredentialKind::ConnectionString
        );
        let mut url = |key: &'static str, text: &str| {
            parse_endpoint(text, &account)
                .and_then(|url| {
                    if bearer && url.scheme() != "https" {
                        return Err(
                            "must be https: tokens are never sent over plain http".to_owned()
                        );
                    }
                    Ok(url)
                })
                .map_err(|what| faults.push((key, what)))
                .ok()
        };
        let default_endpoint = format!("https://{account}.blob.core.windows.net");
        let endpoint = url(
            "endpoint",
            endpoint_text.as_deref().unwrap_or(&default_endpoint),
        );
        let public_endpoint = match &self.public_endpoint {
            Some(text) => url("public_endpoint", text),
            None => endpoint.clone(),
        };
        if let Some(host) = &self.authority_host
            && Url::parse(host).map_or(true, |url| url.scheme() != "https")
        {
            faults.push((
                "authority_host",
                format!("is \"{host}\", but it must be an https URL"),
            ));
        }
        match (endpoint, public_endpoint, faults.is_empty()) {
            (Some(endpoint), Some(public_endpoint), true) => Ok(Target {
                account,
                container: self.container.clone().unwrap_or_default(),
                endpoint,
                public_endpoint,
                credential,
                account_key,
            }),
            _ => Err(faults),
        }
    }
}

/// Path style (`https://127.0.0.1:10000/account`) is what has a path, or an address or `localhost` for a host.
fn parse_endpoint(text: &str, account: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| {
        format!("is not a URL ({error}); give it as https://host or https://host/account")
    })?;
    let Some(host) = url.host_str().map(str::to_owned) else {
        return Err("has no host".to_owned());
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must be https, or http for an account key".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("must have no query: give the endpoint alone, not a SAS URL".to_owned());
    }
    let path = url.path().trim_matches('/').to_owned();
    let by_address =
        host == "localhost" || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    match path.as_str() {
        "" if by_address => url.set_path(account),
        "" => url.set_path(""),
        path if path == account => {
            let path = path.to_owned();
            url.set_path(&path);
        }
        other => {
            return Err(format!(
                "has the path \"/{other}\"; only the account's name may follow the host"
            ));
        }
    }
    Ok(url)
}

/// <https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-name>
fn is_account(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The container of an account's static web site, which anybody can read.
pub(super) const WEB: &str = "$web";

/// <https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata>
fn is_container(name: &str) -> bool {
    let plain = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    plain || name == WEB
}

/// Whether a container can have this name.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) if not.
pub(super) fn check_container(name: &str) -> Result<()> {
    match is_container(name) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "\"{name}\" cannot be a container of Azure: its name is 3 to 63 of a-z, 0-9 and single hyphens"
            ),
        )),
    }
}

/// Looked for once: the configuration is loaded every few seconds, to see whether it has changed.
fn az_is_installed() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join("az").is_file())
        })
    });
    *FOUND
}

#[cfg(test)]
mod tests;
