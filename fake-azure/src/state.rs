//! What the account holds: containers, blobs, snapshots, staged blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use stand_in::content::{Content, Piece};
use time::OffsetDateTime;

/// What keeps a blob as it is, although the caller has the right to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Somebody holds an infinite lease: 412 `LeaseIdMissing` for changes and deletion.
    Leased,
    /// A time-based retention policy: 409 `BlobImmutableDueToPolicy` for changes and deletion. New blobs may be made.
    RetentionPolicy,
    /// A legal hold: 409 `BlobImmutableDueToLegalHold` for changes and deletion.
    LegalHold,
    /// It is encrypted with a key that callers must bring: 409 `BlobUsesCustomerSpecifiedEncryption` without it, and
    /// listings do not show its metadata.
    CustomerKey,
}

/// What a blob is made of, by how it may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobKind {
    /// Blocks, put together once.
    #[default]
    Block,
    /// Blocks that are added to its end.
    Append,
    /// Pages that are written in place: a disk.
    Page,
}

impl BlobKind {
    /// As headers and listings have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "BlockBlob",
            Self::Append => "AppendBlob",
            Self::Page => "PageBlob",
        }
    }
}

/// All containers of the account.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) containers: BTreeMap<String, Container>,
    /// The XML of Get Blob Service Properties, if it is not the default.
    pub(crate) service_properties: Option<String>,
    /// Answers about blobs name their version. Versions themselves are not kept.
    pub(crate) versioning: bool,
    etags: u64,
    last_snapshot: Option<OffsetDateTime>,
}

impl Store {
    /// A fresh entity tag, quoted as headers carry it.
    pub(crate) fn next_etag(&mut self) -> String {
        self.etags += 1;
        format!("\"0x8DE{:012X}\"", self.etags)
    }

    /// A time for a snapshot that no other snapshot has.
    pub(crate) fn next_snapshot_time(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        let tick = time::Duration::nanoseconds(100);
        let at = match self.last_snapshot {
            Some(last) if last + tick > now => last + tick,
            _ => now,
        };
        self.last_snapshot = Some(at);
        at
    }

    pub(crate) fn uncommitted_blocks(&self) -> u64 {
        let entries = self.containers.values().flat_map(|c| c.entries.values());
        entries.map(|e| e.staged.len() as u64).sum()
    }

    pub(crate) fn blobs(&self) -> u64 {
        let entries = self.containers.values().flat_map(|c| c.entries.values());
        entries.filter(|e| e.current.is_some()).count() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) etag: String,
    pub(crate) modified: OffsetDateTime,
    pub(crate) metadata: BTreeMap<String, String>,
    /// What guards every blob in it.
    pub(crate) guard: Option<Guard>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Everything under one blob name.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) current: Option<Arc<Blob>>,
    pub(crate) snapshots: BTreeMap<String, Arc<Blob>>,
    pub(crate) staged: BTreeMap<String, Piece>,
    /// What guards the blob.
    pub(crate) guard: Option<Guard>,
}

impl Entry {
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.snapshots.is_empty() && self.staged.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) content: Content,
    pub(crate) etag: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) modified: OffsetDateTime,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) properties: Properties,
    pub(crate) tier: Option<String>,
    pub(crate) kind: BlobKind,
    /// Whether it was made of a block list; its blocks then have names.
    pub(crate) of_blocks: bool,
}

/// The headers that are stored with a blob and served back with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_md5: Option<String>,
}
