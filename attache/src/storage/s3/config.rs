//! `[storage.s3]`, parsed: which bucket, where, and how to prove who we are.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::dialect::Dialect;
use super::place::{Endpoint, Place, bucket_fault, misconfigured};
use super::signed_url::open_signed_url;
use crate::config::value::{FilePath, Optional, Plain, SecretText, SomeText, Words};
use crate::error::Result;
use crate::http::ClientConfig;
use crate::secret::{Secret, SignedUrl};
use crate::section;

section! {
    /// Where a bucket of S3, or of what is compatible with it, is, and who we are there. Plain data; equal values need no new client.
    ///
    /// Files that the configuration names (secret, extra roots) are held as their content, too, so that a change of the content is a
    /// change of the configuration.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct S3StoreConfig in "storage.s3" {
        /// The bucket. It must exist.
        #[example = "\"files\""]
        bucket: Option<String> = None => SomeText,
        /// The region of the bucket; "us-east-1" without it where an endpoint is set.
        #[example = "\"eu-central-1\""]
        #[variables = ["AWS_REGION", "AWS_DEFAULT_REGION"]]
        region: Option<String> = None => SomeText,
        /// For stores that are compatible with S3, and private endpoints; https://s3.<region>.amazonaws.com without it. Without TLS only
        /// on this machine.
        #[example = "\"https://s3.eu-central-1.amazonaws.com\""]
        #[variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]]
        endpoint: Option<String> = None => SomeText,
        /// Host of signed URLs, if clients reach the store under another name.
        #[example = "\"https://files.example.org\""]
        public_endpoint: Option<String> = None => SomeText,
        /// Whether URLs name the bucket in their path (https://host/bucket) and not in their host (https://bucket.host). Without it: where an
        /// endpoint is set, or the bucket has a "." in its name.
        #[example = "true"]
        path_style: Option<bool> = None => Optional(Plain("true or false")),
        /// "access_key", "web_identity", "container", "instance", or "default": the first of them that is configured. The address at which a
        /// machine in Amazon's cloud hears who it is, is asked for "instance" alone.
        credential: S3CredentialKind = S3CredentialKind::Default => CREDENTIALS,
        /// Also read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
        #[example = "\"AKIAIOSFODNN7EXAMPLE\""]
        #[variables = ["AWS_ACCESS_KEY_ID"]]
        access_key_id: Option<String> = None => SomeText,
        /// Its secret.
        #[example = "\"better in a file or in the environment\""]
        #[variables = ["AWS_SECRET_ACCESS_KEY"]]
        secret_access_key: Option<Secret> = None => Optional(SecretText),
        /// A file that holds the secret alone.
        #[example = "\"/run/secrets/attache-s3-secret\""]
        secret_access_key_file: Option<PathBuf> = None => Optional(FilePath),
        /// Beside an access key that is good for a while.
        #[example = "\"better in the environment\""]
        #[variables = ["AWS_SESSION_TOKEN"]]
        session_token: Option<Secret> = None => Optional(SecretText),
        /// Web identity: the role to assume.
        #[example = "\"arn:aws:iam::123456789012:role/attache\""]
        #[variables = ["AWS_ROLE_ARN"]]
        role_arn: Option<String> = None => SomeText,
        /// Web identity; set by the platform as AWS_WEB_IDENTITY_TOKEN_FILE. A path, because the platform replaces what is in it.
        #[example = "\"/var/run/secrets/eks.amazonaws.com/serviceaccount/token\""]
        #[variables = ["AWS_WEB_IDENTITY_TOKEN_FILE"]]
        web_identity_token_file: Option<String> = None => SomeText,
        /// Web identity: who exchanges the token; https://sts.<region>.amazonaws.com without it.
        #[example = "\"https://sts.eu-central-1.amazonaws.com\""]
        #[variables = ["AWS_ENDPOINT_URL_STS"]]
        sts_endpoint: Option<String> = None => SomeText,
        /// Container; set by the platform as AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.
        #[example = "\"http://169.254.170.23/v1/credentials\""]
        #[variables = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]]
        container_credentials_uri: Option<String> = None => SomeText,
        /// Container; set by the platform as AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE. A path, because the platform replaces what is in it.
        #[example = "\"/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token\""]
        #[variables = ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]]
        container_authorization_token_file: Option<String> = None => SomeText,
        /// Instance: where a machine hears who it is; http://169.254.169.254 without it.
        #[example = "\"http://169.254.169.254\""]
        #[variables = ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]]
        metadata_endpoint: Option<String> = None => SomeText,
        /// Whether the store honours If-None-Match, so that two uploads of one name cannot replace each other. Of a store that does not,
        /// attache looks whether the name is free before it writes, and whose the object is afterwards; `attache check` tells.
        conditional_writes: bool = true => Plain("true or false"),
        /// An extra root certificate (PEM).
        #[example = "\"/etc/ssl/private-ca.pem\""]
        ca_file: Option<PathBuf> = None => Optional(FilePath),
    }
    files {
        /// What `ca_file` holds: PEM certificates that are trusted besides those of the system.
        ca_pem: Option<String> from ca_file = String::from,
    }
    values {
        secret_access_key from secret_access_key_file = secret_of,
    }
}

/// A secret that stands alone in a file, with the end of its line.
fn secret_of(text: String) -> Secret {
    Secret::new(text.trim())
}

/// Which credential to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum S3CredentialKind {
    /// The first of the others that is configured; never that of the instance.
    #[default]
    Default,
    /// An access key.
    AccessKey,
    /// A role, assumed with the token of a platform.
    WebIdentity,
    /// What the platform gives a container.
    Container,
    /// The role of the machine.
    Instance,
}

const CREDENTIALS: Words<S3CredentialKind> = Words(&[
    ("default", S3CredentialKind::Default),
    ("access_key", S3CredentialKind::AccessKey),
    ("web_identity", S3CredentialKind::WebIdentity),
    ("container", S3CredentialKind::Container),
    ("instance", S3CredentialKind::Instance),
]);

impl S3CredentialKind {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        CREDENTIALS.of(self)
    }
}

impl fmt::Display for S3CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl S3StoreConfig {
    /// Every fault of this section: the key, and what is wrong with it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        match self.read_place() {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        }
    }

    /// Which credential will be used; `default` if none is configured.
    pub fn credential_in_use(&self) -> S3CredentialKind {
        match self.credential {
            S3CredentialKind::Default => {}
            chosen => return chosen,
        }
        if self.access_key_id.is_some() || self.secret_access_key.is_some() {
            S3CredentialKind::AccessKey
        } else if self.web_identity_token_file.is_some() {
            S3CredentialKind::WebIdentity
        } else if self.container_credentials_uri.is_some() {
            S3CredentialKind::Container
        } else {
            S3CredentialKind::Default
        }
    }

    /// Where objects are stored: endpoint and bucket. `None` if the section has faults.
    pub fn place(&self) -> Option<(String, String)> {
        let place = self.read_place().ok()?;
        Some((place.endpoint.host().to_owned(), place.bucket))
    }

    /// Opens a URL that this store signed as a browser would, without a credential, and reads `most` bytes at most.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(in crate::storage) async fn open_signed_url(
        &self,
        client: &ClientConfig,
        url: &SignedUrl,
        most: usize,
    ) -> Result<Bytes> {
        let place = self.checked_place()?;
        open_signed_url(&place, self.ca_pem.as_deref(), client, url, most).await
    }

    pub(super) fn checked_place(&self) -> Result<Place> {
        self.read_place()
            .map_err(|faults| misconfigured(Dialect::S3, faults))
    }

    fn read_place(&self) -> Result<Place, Vec<(&'static str, String)>> {
        let mut faults = self.credential_faults();
        match &self.bucket {
            None => faults.push(("bucket", "is needed: the name of the bucket".to_owned())),
            Some(name) => {
                faults.extend(bucket_fault(Dialect::S3, name).map(|what| ("bucket", what)))
            }
        }
        let region = match (&self.region, &self.endpoint) {
            (Some(region), _) if is_region(region) => region.clone(),
            (Some(region), _) => {
                let what = format!(
                    "is \"{region}\", which is not the name of a region, such as \"eu-central-1\""
                );
                faults.push(("region", what));
                String::new()
            }
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                faults.push(("region", "is needed: the region of the bucket".to_owned()));
                String::new()
            }
        };
        let usual = format!("https://s3.{region}.amazonaws.com");
        let mut read = |key: &'static str, text: &str| {
            Endpoint::read(text)
                .map_err(|what| faults.push((key, what)))
                .ok()
        };
        let endpoint = read("endpoint", self.endpoint.as_deref().unwrap_or(&usual));
        let public_endpoint = match &self.public_endpoint {
            Some(text) => read("public_endpoint", text),
            None => endpoint.clone(),
        };
        if let Some(text) = &self.sts_endpoint {
            read("sts_endpoint", text);
        }
        let bucket = self.bucket.clone().unwrap_or_default();
        match (endpoint, public_endpoint, faults.is_empty()) {
            (Some(endpoint), Some(public_endpoint), true) => Ok(Place {
                dialect: Dialect::S3,
                path_style: self
                    .path_style
                    .unwrap_or(self.endpoint.is_some() || bucket.contains('.')),
                bucket,
                region,
                endpoint,
                public_endpoint,
                credential: self.credential_in_use().as_str(),
                conditional_writes: self.conditional_writes,
                named_by: None,
            }),
            _ => Err(faults),
        }
    }

    fn credential_faults(&self) -> Vec<(&'static str, String)> {
        let credential = self.credential_in_use();
        let mut faults = Vec::new();
        let mut need = |key: &'static str, missing: bool| {
            if missing {
                let what = format!("is needed for the credential \"{credential}\"");
                faults.push((key, what));
            }
        };
        match credential {
            S3CredentialKind::AccessKey => {
                need("access_key_id", self.access_key_id.is_none());
                need("secret_access_key", self.secret_access_key.is_none());
            }
            S3CredentialKind::WebIdentity => {
                need("role_arn", self.role_arn.is_none());
                need("web_identity_token_file", self.web_identity_token_file.is_none());
            }
            S3CredentialKind::Container => {
                need("container_credentials_uri", self.container_credentials_uri.is_none());
            }
            S3CredentialKind::Instance => {}
            S3CredentialKind::Default => faults.push((
                "access_key_id",
                "is needed, with storage.s3.secret_access_key, as nothing else says who we are; or set storage.s3.credential = \"instance\" for \
                 the role of the machine"
                    .to_owned(),
            )),
        }
        faults
    }
}

fn is_region(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
