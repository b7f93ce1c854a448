//! What the account holds, as assertions look at it.

use std::collections::BTreeMap;

use serde::Serialize;
use stand_in::wire;

use crate::core::Core;
use crate::state::Blob;

/// One blob, snapshot, or name with staged blocks, for assertions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlobInfo {
    /// Its container.
    pub container: String,
    /// Its name, decoded.
    pub name: String,
    /// The name of the snapshot, for one.
    pub snapshot: Option<String>,
    /// Whether there is a committed blob; if not, the fields of one are empty.
    pub committed: bool,
    /// Length in bytes.
    pub len: u64,
    /// Entity tag, quoted.
    pub etag: String,
    /// Stored metadata; names in lower case, as the headers bring them.
    pub metadata: BTreeMap<String, String>,
    /// Stored `Content-Type`.
    pub content_type: Option<String>,
    /// Stored `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Stored `Cache-Control`.
    pub cache_control: Option<String>,
    /// Stored `Content-MD5`, base64.
    pub content_md5: Option<String>,
    /// CRC-64/NVME of what was uploaded.
    pub crc64: u64,
    /// SHA-256 in lower-case hexadecimal, if the bytes were kept.
    pub sha256: Option<String>,
    /// Blocks that it is made of.
    pub blocks: usize,
    /// Blocks staged under its name and not committed.
    pub uncommitted_blocks: usize,
}

impl BlobInfo {
    fn new(container: &str, name: &str, snapshot: Option<&str>, blob: Option<&Blob>) -> Self {
        let properties = blob.map(|b| b.properties.clone()).unwrap_or_default();
        Self {
            container: container.to_owned(),
            name: name.to_owned(),
            snapshot: snapshot.map(str::to_owned),
            committed: blob.is_some(),
            len: blob.map_or(0, |b| b.content.len),
            etag: blob.map(|b| b.etag.clone()).unwrap_or_default(),
            metadata: blob.map(|b| b.metadata.clone()).unwrap_or_default(),
            content_type: properties.content_type,
            content_disposition: properties.content_disposition,
            cache_control: properties.cache_control,
            content_md5: properties.content_md5,
            crc64: blob.map_or(0, |b| b.content.crc64()),
            sha256: blob.and_then(|b| b.content.sha256()).map(wire::hex),
            blocks: blob.map_or(0, |b| b.content.pieces.len()),
            uncommitted_blocks: 0,
        }
    }
}

/// Everything in the account, in the order of containers and names.
pub(crate) fn blobs_of(core: &Core) -> Vec<BlobInfo> {
    core.store(|store| {
        let mut found = Vec::new();
        for (container, held) in &store.containers {
            for (name, entry) in &held.entries {
                for (snapshot, blob) in &entry.snapshots {
                    found.push(BlobInfo::new(container, name, Some(snapshot), Some(blob)));
                }
                if entry.current.is_some() || !entry.staged.is_empty() {
                    let mut info = BlobInfo::new(container, name, None, entry.current.as_deref());
                    info.uncommitted_blocks = entry.staged.len();
                    found.push(info);
                }
            }
        }
        found
    })
}
