//! `[storage]` and the list of backends: a new one is a line in each of the three places here, and a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::azure::{AzureConfig, AzureStorage, open_signed_url};
use super::gcs::{self, GcsConfig};
use super::local::{LocalConfig, LocalStorage};
use super::memory::MemoryStorage;
use super::s3::{S3Storage, S3StoreConfig};
use super::{Moving, Storage};
use crate::config::key::Section as _;
use crate::config::load::{Faults, read_text};
use crate::config::value::{Format, Raw, Time, Words};
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
        /// The store whose bytes `attache move` brings here: a section of the same form, such as [storage.moving_from] with backend = "local"
        /// and [storage.moving_from.local]. What has not been moved is read from it, and nothing is written into it.
        #[table = true] #[example = "{ backend = \"local\", local = { root = \"attache-data/objects\" } }"]
        moving_from: Option<Box<StorageSections>> = None => MovingFrom,
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
    /// The first, into which the second one is emptied.
    Moving(Box<(StorageConfig, StorageConfig)>),
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
            Self::Moving(both) => {
                let from = both.1.open().map_err(|error| error.about(MOVING_FROM))?;
                Arc::new(Moving::new(both.0.open()?, from))
            }
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
            // What was stored just now is in the new one.
            Self::Moving(both) => Box::pin(both.0.open_signed_url(url, most)).await,
        }
    }

    /// Where its bytes are, in words that no other place has. A folder is named from the root, wherever a process runs.
    pub fn place(&self) -> String {
        let name = |backend: Backend, place: Option<String>| match place {
            Some(place) => format!("{backend} {place}"),
            None => backend.to_string(),
        };
        let bucket = |(host, bucket): (String, String)| format!("bucket \"{bucket}\" at {host}");
        match self {
            Self::Local(local) => {
                let root = std::path::absolute(&local.root);
                let root = root.unwrap_or_else(|_| local.root.clone());
                name(Backend::Local, Some(root.display().to_string()))
            }
            Self::Azure(azure) => {
                let place = azure.0.place().map(|(account, container, endpoint)| {
                    format!("container \"{container}\" of \"{account}\" at {endpoint}")
                });
                name(Backend::Azure, place)
            }
            Self::S3(s3) => name(Backend::S3, s3.0.place().map(bucket)),
            Self::Gcs(gcs) => name(Backend::Gcs, gcs.0.place().map(bucket)),
            Self::Memory => name(Backend::Memory, None),
            Self::Moving(both) => both.0.place(),
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
            // Where bytes are now, they are looked for then.
            (Self::Moving(old), Self::Moving(new)) => {
                let stays = |old: &Self| old.moved(&new.0).is_none() || old.moved(&new.1).is_none();
                (!stays(&old.0) || !stays(&old.1)).then_some(MOVING_FROM)
            }
            (old, Self::Moving(new)) => old.moved(&new.0).and(old.moved(&new.1)),
            (Self::Moving(_), _) => Some(MOVING_FROM),
            _ => Some("storage.backend"),
        }
    }
}

impl StorageSections {
    /// What the chosen backend is built from. `client`: how connections to a store behave, whichever it is.
    pub fn chosen(&self, client: ClientConfig) -> StorageConfig {
        let to = self.one(client.clone());
        match &self.moving_from {
            Some(from) => StorageConfig::Moving(Box::new((to, from.one(client)))),
            None => to,
        }
    }

    fn one(&self, client: ClientConfig) -> StorageConfig {
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
        self.check_one("storage", faults);
        let Some(from) = &self.moving_from else {
            return;
        };
        from.check_one(MOVING_FROM, faults);
        if self.backend == Backend::Memory || from.backend == Backend::Memory {
            faults.add(format!(
                "{MOVING_FROM}: what is in the memory of a process cannot be moved"
            ));
        }
        let one = |sections: &Self| {
            let mut sections = sections.clone();
            // However it is written.
            if let Ok(root) = sections.local.root.canonicalize() {
                sections.local.root = root;
            }
            sections.one(ClientConfig::default())
        };
        if one(self).moved(&one(from)).is_none() {
            faults.add(format!(
                "{MOVING_FROM} is the same place as storage; name the one where the bytes have been until now"
            ));
        }
    }

    /// Whether the store that is moved from is reached over a network.
    pub(crate) fn moves_from_afar(&self) -> bool {
        let from = self.moving_from.as_ref();
        from.is_some_and(|from| from.backend.is_remote())
    }

    fn check_one(&self, section: &str, faults: &mut Faults) {
        let (name, found) = match self.backend {
            Backend::Azure => ("azure", self.azure.faults()),
            Backend::S3 => ("s3", self.s3.faults()),
            Backend::Gcs => ("gcs", self.gcs.faults()),
            Backend::Local | Backend::Memory => return,
        };
        for (key, what) in found {
            faults.add(format!("{section}.{name}.{key} {what}"));
        }
    }
}

const MOVING_FROM: &str = "storage.moving_from";

/// `storage.moving_from`: the keys of `[storage]` once more. The files that it names are read when it is.
struct MovingFrom;

impl Format<Option<Box<StorageSections>>> for MovingFrom {
    fn read(&self, raw: &Raw) -> Result<Option<Box<StorageSections>>, String> {
        let Raw::Table(table) = raw else {
            return Err(format!("must be a table: [{MOVING_FROM}]"));
        };
        if !table.contains_key("backend") {
            return Err("has no backend; say which store it is".to_owned());
        }
        let mut given: BTreeMap<String, Raw> = BTreeMap::new();
        for (name, value) in table {
            match Raw::of(value) {
                Raw::Table(keys) => given.extend(
                    keys.iter()
                        .map(|(key, value)| (format!("storage.{name}.{key}"), Raw::of(value))),
                ),
                raw => {
                    given.insert(format!("storage.{name}"), raw);
                }
            }
        }
        let (mut sections, mut faults) = (StorageSections::default(), Vec::new());
        sections.each_mut(&mut |section| {
            for (index, key) in section.keys().iter().enumerate() {
                // One store at a time is emptied.
                if key.path != MOVING_FROM
                    && let Some(raw) = given.remove(key.path)
                    && let Err(what) = section.read(index, &raw)
                {
                    faults.push(format!("{} {what}", inside(key.path)));
                }
            }
            section.read_files(&mut |path, key| match read_text(path) {
                Ok(text) => Some(text),
                Err(error) => {
                    faults.push(format!(
                        "{} names a file that cannot be read: {error}",
                        inside(key)
                    ));
                    None
                }
            });
        });
        faults.extend(
            given
                .keys()
                .map(|path| format!("{}: unknown key", inside(path))),
        );
        match faults.is_empty() {
            true => Ok(Some(Box::new(sections))),
            false => Err(format!("has faults: {}", faults.join("; "))),
        }
    }

    fn show(&self, sections: &Option<Box<StorageSections>>) -> Option<String> {
        let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let sections = sections.as_deref()?;
        let usual = StorageSections::default();
        let mut all = Vec::new();
        usual.each(&mut |section| all.push(section));
        let mut all = all.into_iter();
        sections.each(&mut |section| {
            let usual = all.next();
            for (index, key) in section.keys().iter().enumerate() {
                let path = inside(key.path);
                let (value, default) = (
                    section.show(index),
                    usual.and_then(|usual| usual.show(index)),
                );
                if let Some(value) =
                    value.filter(|value| path == "backend" || Some(value) != default.as_ref())
                {
                    let (folder, name) = path.rsplit_once('.').unwrap_or(("", path));
                    shown
                        .entry(folder)
                        .or_default()
                        .push(format!("{name} = {value}"));
                }
            }
        });
        let tables = shown.into_iter().map(|(folder, keys)| match folder {
            "" => keys.join(", "),
            folder => format!("{folder} = {{ {} }}", keys.join(", ")),
        });
        Some(format!("{{ {} }}", tables.collect::<Vec<_>>().join(", ")))
    }
}

/// The path of a key within its section of `[storage]`.
fn inside(path: &str) -> &str {
    path.strip_prefix("storage.").unwrap_or(path)
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
