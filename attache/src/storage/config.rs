//! `[storage]` and the list of backends: a new one is a line in each of the three places here, and a folder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Storage;
use super::azure::{AzureConfig, AzureStorage, open_signed_url};
use super::local::{LocalConfig, LocalStorage};
use super::memory::MemoryStorage;
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
        /// "local", "azure" or "memory".
        backend: Backend = Backend::Local => Backend::WORDS,
    }
    sections {
        /// `[storage.local]`
        local: LocalConfig,
        /// `[storage.azure]`
        azure: AzureConfig,
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
            Backend::Memory => StorageConfig::Memory,
        }
    }

    pub(crate) fn check(&self, faults: &mut Faults) {
        if self.backend == Backend::Azure {
            for (key, what) in self.azure.faults() {
                faults.add(format!("storage.azure.{key} {what}"));
            }
        }
    }
}

impl Backend {
    /// The backends by their words in the configuration.
    pub const WORDS: Words<Self> = Words(&[
        ("local", Self::Local),
        ("azure", Self::Azure),
        ("memory", Self::Memory),
    ]);

    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.of(self)
    }

    /// Whether it makes URLs that work without us, so that `redirect` is the default.
    pub fn signs_urls(self) -> bool {
        matches!(self, Self::Azure)
    }

    /// Whether a web server in front can get at its bytes, for `delegate`.
    pub fn is_shared(self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// Whether it is reached over a network, and so through a proxy that other programs go by.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::Azure)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
