//! What the account holds: buckets, objects with their versions, uploads in parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use stand_in::content::{Content, Piece};
use time::OffsetDateTime;

use crate::digest::{Algorithm, Digests};

/// All buckets of the account.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) buckets: BTreeMap<String, Bucket>,
    serial: u64,
}

impl Store {
    /// A number that nothing else in the account has; Google's generations are such numbers.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        GENERATIONS_FROM + self.serial
    }

    pub(crate) fn objects(&self) -> u64 {
        let entries = self
            .buckets
            .values()
            .flat_map(|bucket| bucket.entries.values());
        entries.filter(|entry| entry.current().is_some()).count() as u64
    }

    pub(crate) fn uploads(&self) -> u64 {
        self.buckets
            .values()
            .map(|bucket| bucket.uploads.len() as u64)
            .sum()
    }
}

/// Whether a bucket keeps what is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    #[default]
    Off,
    /// It does.
    Enabled,
    /// It did, and keeps those versions.
    Suspended,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) region: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) versioning: Versioning,
    /// Origins whose pages may read and write.
    pub(crate) cors_origins: Vec<String>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// What became of uploads that were completed, if that is remembered.
    pub(crate) completed: BTreeMap<String, (Vec<(u32, String)>, String)>,
    /// Conditional writes under way: their keys, and whether somebody deleted the key meanwhile.
    pub(crate) watched: BTreeMap<u64, (String, bool)>,
}

impl Bucket {
    pub(crate) fn new(region: &str, created: OffsetDateTime) -> Self {
        Self {
            region: region.to_owned(),
            created,
            versioning: Versioning::Off,
            cors_origins: Vec::new(),
            entries: BTreeMap::new(),
            uploads: BTreeMap::new(),
            completed: BTreeMap::new(),
            watched: BTreeMap::new(),
        }
    }

    /// What a read of this key finds.
    pub(crate) fn current(&self, key: &str) -> Option<&Arc<Object>> {
        self.entries.get(key)?.current()
    }

    /// Makes this what a read of the key finds, and returns the name of its version if versions have names.
    pub(crate) fn insert(
        &mut self,
        key: &str,
        object: Arc<Object>,
        version: u64,
    ) -> Option<String> {
        let entry = self.entries.entry(key.to_owned()).or_default();
        let id = match self.versioning {
            Versioning::Enabled => version_id(version),
            Versioning::Off | Versioning::Suspended => {
                entry.versions.retain(|version| version.id != NULL);
                NULL.to_owned()
            }
        };
        entry.versions.push(Version {
            id: id.clone(),
            modified: object.modified,
            object: Some(object),
            locked: false,
        });
        (self.versioning != Versioning::Off).then_some(id)
    }

    /// Notes for the conditional writes under way that this key was deleted.
    pub(crate) fn disturb(&mut self, key: &str) {
        for (watched, disturbed) in self.watched.values_mut() {
            *disturbed |= watched == key;
        }
    }
}

/// Everything under one key.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The newest is the last.
    pub(crate) versions: Vec<Version>,
}

impl Entry {
    pub(crate) fn current(&self) -> Option<&Arc<Object>> {
        self.versions.last()?.object.as_ref()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) modified: OffsetDateTime,
    /// Nothing for a delete marker.
    pub(crate) object: Option<Arc<Object>>,
    /// A legal hold, or a retention that is not over.
    pub(crate) locked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) content: Content,
    /// Quoted, as headers carry it.
    pub(crate) etag: String,
    pub(crate) modified: OffsetDateTime,
    pub(crate) generation: u64,
    /// Metadata, names in lower case.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The headers that are stored with an object and served back with it.
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) storage_class: String,
    /// Of the whole; `None` if it was put together from parts.
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) crc32c: u32,
    /// The checksum that the client chose, base64, and whether it is of the whole.
    pub(crate) checksum: Option<(Algorithm, String, bool)>,
}

/// An upload in parts.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) begun: OffsetDateTime,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) storage_class: String,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) full_object: bool,
    pub(crate) parts: BTreeMap<u32, Part>,
}

#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) piece: Piece,
    pub(crate) etag: String,
    pub(crate) modified: OffsetDateTime,
    pub(crate) digests: Digests,
}

/// The name of a version.
pub(crate) fn version_id(serial: u64) -> String {
    format!("v{serial:031x}")
}

/// The version of what was put while the bucket kept none.
pub(crate) const NULL: &str = "null";

/// Generations are large numbers at Google, too: who keeps them in 32 bits or a float is found out.
const GENERATIONS_FROM: u64 = 1_700_000_000_000_000;
