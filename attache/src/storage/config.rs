//! `[storage]` and the list of backends: a new one is a line in each of the three places here, and a folder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Storage;
use super::azure::{AzureConfig, AzureStorage, open_signed_url};
use super::gcs::{self, GcsConfig};
use super::local::{LocalConfig, LocalStorage};
use super::memory::MemoryStorage;
use super::s3::{S3Storage, S3StoreConfig};
use crate::config::load::Faults;
use crate::config::value::{Time, Words};
use crate::error::Result;
use crate::http::ClientConfig;
use crate::secret::SignedUrl;
use crate::section;

section! {
    /// `[storage]`: which backend, and the sections of all of them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StorageSections in "storage" {
        /// "local", "azure", "s3", "gcs" or "memory".
        backend: Backend = Backend::Local => Backend::WORDS,
    }
    sections {
        /// `[storage.local]`
        local: LocalConfig,
        /// `[storage.azure]`
        azure: AzureConfig,
        /// `[storage.s3]`
        s3: S3StoreConfig,
        /// `[storage.gcs]`
        gcs: GcsConfig,
    }
}

section! {
    /// `[clients]`: connections to stores.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ClientsConfig in "clients" {
        /// Idle connections to the store are closed after this time.
        idle_after: Duration = Duration::from_secs(10 * 60) => Time,
    }
}

/// `storage.backend`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Files in a folder.
    Local,
    /// Azure Blob Storage.
    Azure,
    /// Amazon S3, and what is compatible with it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// The memory of the process.
    Memory,
}

/// Everything that one storage is built from, and nothing else: equal values, same storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageConfig {
    /// Files in a folder.
    Local(LocalConfig),
    /// Azure Blob Storage, and how its connections behave.
    Azure(Box<(AzureConfig, ClientConfig)>),
    /// Amazon S3, and how its connections behave.
    S3(Box<(S3StoreConfig, ClientConfig)>),
    /// Google Cloud Storage, and how its connections behave.
    Gcs(Box<(GcsConfig, ClientConfig)>),
    /// The memory of the process.
    Memory,
}

impl StorageConfig {
    /// Opens it. Connects to nothing yet; local folders are made.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming what to change.
    pub fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(match self {
            Self::Local(local) => Arc::new(LocalStorage::open(local)?),
            Self::Azure(azure) => Arc::new(AzureStorage::new(&azure.0, &azure.1)?),
            Self::S3(s3) => Arc::new(S3Storage::new(&s3.0, &s3.1)?),
            Self::Gcs(gcs) => Arc::new(gcs::open(&gcs.0, &gcs.1)?),
            Self::Memory => Arc::new(MemoryStorage::new()),
        })
    }

    /// Opens a URL that this store signed as a browser would, without a credential, and reads `most` bytes at most; `None` if it
    /// signs none.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn open_signed_url(&self, url: &SignedUrl, most: usize) -> Result<Option<Bytes>> {
        match self {
            Self::Azure(azure) => open_signed_url(&azure.0, &azure.1, url, most)
                .await
                .map(Some),
            Self::S3(s3) => s3.0.open_signed_url(&s3.1, url, most).await.map(Some),
            Self::Gcs(gcs) => gcs.0.open_signed_url(&gcs.1, url, most).await.map(Some),
            Self::Local(_) | Self::Memory => Ok(None),
        }
    }

    /// The key by whose change `new` keeps its bytes elsewhere than this one.
    pub fn moved(&self, new: &Self) -> Option<&'static str> {
        match (self, new) {
            (Self::Local(old), Self::Local(new)) => {
                (old.root != new.root).then_some("storage.local.root")
            }
            (Self::Azure(old), Self::Azure(new)) => (old.0.place() != new.0.place())
                .then_some("the account, container or endpoint of storage.azure"),
            (Self::S3(old), Self::S3(new)) => {
                (old.0.place() != new.0.place()).then_some("the bucket or endpoint of storage.s3")
            }
            (Self::Gcs(old), Self::Gcs(new)) => {
                (old.0.place() != new.0.place()).then_some("the bucket or endpoint of storage.gcs")
            }
            (Self::Memory, Self::Memory) => None,
            _ => Some("storage.backend"),
        }
    }
}

impl StorageSections {
    /// What the chosen backend is built from. `client`: how connections to a store behave, whichever it is.
    pub fn chosen(&self, client: ClientConfig) -> StorageConfig {
        match self.backend {
            Backend::Local => StorageConfig::Local(self.local.clone()),
            Backend::Azure => {
                // What files hold counts, and not where they are.
                let azure = AzureConfig {
                    client_secret_file: None,
                    client_certificate_file: None,
                    ca_file: None,
                    ..self.azure.clone()
                };
                StorageConfig::Azure(Box::new((azure, client)))
            }
            Backend::S3 => {
                let s3 = S3StoreConfig {
                    secret_access_key_file: None,
                    ca_file: None,
                    ..self.s3.clone()
                };
                StorageConfig::S3(Box::new((s3, client)))
            }
            Backend::Gcs => {
                let gcs = GcsConfig {
                    service_account_file: None,
                    ca_file: None,
                    ..self.gcs.clone()
                };
                StorageConfig::Gcs(Box::new((gcs, client)))
            }
            Backend::Memory => StorageConfig::Memory,
        }
    }

    pub(crate) fn check(&self, faults: &mut Faults) {
        let (section, found) = match self.backend {
            Backend::Azure => ("azure", self.azure.faults()),
            Backend::S3 => ("s3", self.s3.faults()),
            Backend::Gcs => ("gcs", self.gcs.faults()),
            Backend::Local | Backend::Memory => return,
        };
        for (key, what) in found {
            faults.add(format!("storage.{section}.{key} {what}"));
        }
    }
}

/// A quarter of seven eighths of it ([`largest_block`](crate::transfer::budget::Budget::largest_block)) must hold two of the smallest parts
/// that S3 takes, of 5 MiB each.
const LEAST_S3_MEMORY: u64 = 48 * 1024 * 1024;

impl Backend {
    /// The backends by their words in the configuration.
    pub const WORDS: Words<Self> = Words(&[
        ("local", Self::Local),
        ("azure", Self::Azure),
        ("s3", Self::S3),
        ("gcs", Self::Gcs),
        ("memory", Self::Memory),
    ]);

    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.of(self)
    }

    /// Whether it makes URLs that work without us, so that `redirect` is the default.
    pub fn signs_urls(self) -> bool {
        self.is_remote()
    }

    /// Whether a web server in front can get at its bytes, for `delegate`.
    pub fn is_shared(self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// Whether it is reached over a network, and so through a proxy that other programs go by.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::Azure | Self::S3 | Self::Gcs)
    }

    /// The least memory for transfers with which it can take uploads; 0 where any will do.
    pub(crate) fn least_memory(self) -> u64 {
        match self {
            Self::S3 | Self::Gcs => LEAST_S3_MEMORY,
            Self::Local | Self::Azure | Self::Memory => 0,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
