//! `[storage.gcs]`, parsed: which bucket, where, and how to prove who we are.

use std::fmt;
use std::path::PathBuf;

use super::account::Account;
use crate::config::value::{FilePath, Optional, SomeText, Words};
use crate::error::Result;
use crate::secret::Secret;
use crate::section;
use crate::storage::s3::dialect::Dialect;
use crate::storage::s3::place::{Endpoint, Place, bucket_fault, misconfigured};

section! {
    /// Where a bucket of Google Cloud Storage is, and who we are there. Plain data; equal values need no new client.
    ///
    /// Files that the configuration names are held as their content, too, so that a change of the content is a change of the configuration.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GcsConfig in "storage.gcs" {
        /// The bucket. It must exist.
        #[example = "\"files\""]
        bucket: Option<String> = None => SomeText,
        /// "file": what service_account_file holds; "instance": the service account of the machine, asked for at an address of its own; or
        /// "default": the file, if there is one.
        credential: GcsCredentialKind = GcsCredentialKind::Default => CREDENTIALS,
        /// The key of a service account (JSON), or what `gcloud auth application-default login` has written; also read from
        /// GOOGLE_APPLICATION_CREDENTIALS. A service account alone can sign URLs, so that others relay everything.
        #[example = "\"/run/secrets/attache-gcs.json\""]
        #[variables = ["GOOGLE_APPLICATION_CREDENTIALS"]]
        service_account_file: Option<PathBuf> = None => Optional(FilePath),
        /// For private endpoints; https://storage.googleapis.com without it. Tokens are never sent over plain http.
        #[example = "\"https://storage.googleapis.com\""]
        endpoint: Option<String> = None => SomeText,
        /// Host of signed URLs, if clients reach the store under another name.
        #[example = "\"https://files.example.org\""]
        public_endpoint: Option<String> = None => SomeText,
        /// Instance: where a machine hears who it is; http://metadata.google.internal without it.
        #[example = "\"http://metadata.google.internal\""]
        metadata_endpoint: Option<String> = None => SomeText,
        /// An extra root certificate (PEM).
        #[example = "\"/etc/ssl/private-ca.pem\""]
        ca_file: Option<PathBuf> = None => Optional(FilePath),
    }
    files {
        /// What `service_account_file` holds.
        service_account: Option<Secret> from service_account_file = Secret::new,
        /// What `ca_file` holds: PEM certificates that are trusted besides those of the system.
        ca_pem: Option<String> from ca_file = String::from,
    }
}

/// Which credential to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GcsCredentialKind {
    /// The file, if there is one; never that of the instance.
    #[default]
    Default,
    /// What `service_account_file` holds.
    File,
    /// The service account of the machine.
    Instance,
}

const CREDENTIALS: Words<GcsCredentialKind> = Words(&[
    ("default", GcsCredentialKind::Default),
    ("file", GcsCredentialKind::File),
    ("instance", GcsCredentialKind::Instance),
]);

impl GcsCredentialKind {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        CREDENTIALS.of(self)
    }
}

impl fmt::Display for GcsCredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bucket, and who its credential file says that we are; nobody, where the machine says it.
type Known = (Place, Option<Account>);

const GOOGLE: &str = "https://storage.googleapis.com";

impl GcsConfig {
    /// Every fault of this section: the key, and what is wrong with it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        match self.read() {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        }
    }

    /// Which credential will be used.
    pub fn credential_in_use(&self) -> GcsCredentialKind {
        match self.credential {
            GcsCredentialKind::Default => GcsCredentialKind::File,
            chosen => chosen,
        }
    }

    /// Where objects are stored: endpoint and bucket. `None` if the section has faults.
    pub fn place(&self) -> Option<(String, String)> {
        let (place, _) = self.read().ok()?;
        Some((place.endpoint.host().to_owned(), place.bucket))
    }

    pub(super) fn checked(&self) -> Result<Known> {
        self.read()
            .map_err(|faults| misconfigured(Dialect::Gcs, faults))
    }

    fn read(&self) -> Result<Known, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        match &self.bucket {
            None => faults.push(("bucket", "is needed: the name of the bucket".to_owned())),
            Some(name) => {
                faults.extend(bucket_fault(Dialect::Gcs, name).map(|what| ("bucket", what)));
            }
        }
        let account = match (self.credential_in_use(), &self.service_account) {
            (GcsCredentialKind::Instance, _) => None,
            (_, Some(json)) => Account::read(json.expose())
                .map_err(|what| faults.push(("service_account_file", what)))
                .ok(),
            (_, None) => {
                let what = "is needed, as nothing else says who we are; or set storage.gcs.credential = \"instance\" for the service account of \
                            the machine";
                faults.push(("service_account_file", what.to_owned()));
                None
            }
        };
        let mut endpoint = |key: &'static str, text: &str| {
            let read = Endpoint::read(text).and_then(|endpoint| match endpoint.scheme() {
                "https" => Ok(endpoint),
                _ => Err("must be https: tokens are never sent over plain http".to_owned()),
            });
            read.map_err(|what| faults.push((key, what))).ok()
        };
        let usual = endpoint("endpoint", self.endpoint.as_deref().unwrap_or(GOOGLE));
        let public = match &self.public_endpoint {
            Some(text) => endpoint("public_endpoint", text),
            None => usual.clone(),
        };
        match (usual, public, faults.is_empty()) {
            (Some(endpoint), Some(public_endpoint), true) => {
                let place = Place {
                    dialect: Dialect::Gcs,
                    bucket: self.bucket.clone().unwrap_or_default(),
                    region: String::new(),
                    endpoint,
                    public_endpoint,
                    path_style: true,
                    credential: self.credential_in_use().as_str(),
                    conditional_writes: true,
                    named_by: None,
                };
                Ok((place, account))
            }
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once_and_the_machine_is_asked_only_when_told_to() {
        let wrong = GcsConfig {
            bucket: Some("Files".to_owned()),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..GcsConfig::default()
        };
        let error = wrong.checked().expect_err("faults");
        for part in [
            "storage.gcs.bucket ",
            "storage.gcs.endpoint must be https",
            "storage.gcs.service_account_file is needed",
            "storage.gcs.credential = \"instance\"",
        ] {
            assert!(error.detail().contains(part), "{part}: {error}");
        }
        let machine = GcsConfig {
            bucket: Some("files_1".to_owned()),
            credential: GcsCredentialKind::Instance,
            ..GcsConfig::default()
        };
        assert_eq!(machine.faults(), []);
    }

    #[test]
    fn a_file_that_is_no_credential_is_named_and_not_shown() {
        for text in [
            "",
            "hunter2",
            "{\"type\":\"external_account\",\"a\":\"hunter2\"}",
            "{\"type\":\"service_account\",\"private_key\":\"hunter2\"}",
        ] {
            let config = GcsConfig {
                bucket: Some("files".to_owned()),
                service_account: Some(Secret::new(text)),
                ..GcsConfig::default()
            };
            let error = config.checked().expect_err("no credential").to_string();
            assert!(
                error.contains("storage.gcs.service_account_file "),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
