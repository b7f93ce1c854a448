//! What the account holds, as assertions look at it.

use std::collections::BTreeMap;

use serde::Serialize;
use stand_in::wire::hex;

use crate::core::Core;
use crate::state::{Object, Version};

/// One version of an object, for assertions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its bucket.
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// Its version: `null` in a bucket that keeps none.
    pub version_id: String,
    /// Whether it is what a read of the key finds.
    pub is_latest: bool,
    /// Whether it says that there is nothing; the fields of an object are empty then.
    pub is_delete_marker: bool,
    /// Length in bytes.
    pub len: u64,
    /// Entity tag, quoted.
    pub etag: String,
    /// Google's number of it.
    pub generation: u64,
    /// Stored metadata; names in lower case, as the headers bring them.
    pub metadata: BTreeMap<String, String>,
    /// Stored `Content-Type`.
    pub content_type: Option<String>,
    /// Stored `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Stored `Cache-Control`.
    pub cache_control: Option<String>,
    /// Its storage class.
    pub storage_class: String,
    /// Name of the checksum that the client chose.
    pub checksum_algorithm: Option<String>,
    /// CRC-64/NVME of what was uploaded.
    pub crc64: u64,
    /// SHA-256 in lower-case hexadecimal, if the bytes were kept.
    pub sha256: Option<String>,
    /// Parts that it is made of.
    pub parts: usize,
}

/// An upload in parts that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UploadInfo {
    /// Its bucket.
    pub bucket: String,
    /// Its key, decoded.
    pub key: String,
    /// Its id.
    pub id: String,
    /// Numbers of its parts.
    pub parts: Vec<u32>,
    /// Bytes of its parts.
    pub len: u64,
}

fn info(bucket: &str, key: &str, held: &Version, is_latest: bool) -> ObjectInfo {
    let object = held.object.as_deref();
    let header = |name: &str| object.and_then(|object| object.headers.get(name).cloned());
    let of = |field: fn(&Object) -> u64| object.map_or(0, field);
    ObjectInfo {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id: held.id.clone(),
        is_latest,
        is_delete_marker: object.is_none(),
        len: of(|object| object.content.len),
        etag: object.map(|object| object.etag.clone()).unwrap_or_default(),
        generation: of(|object| object.generation),
        metadata: object
            .map(|object| object.metadata.clone())
            .unwrap_or_default(),
        content_type: header("content-type"),
        content_disposition: header("content-disposition"),
        cache_control: header("cache-control"),
        storage_class: object
            .map(|object| object.storage_class.clone())
            .unwrap_or_default(),
        checksum_algorithm: object
            .and_then(|object| Some(object.checksum.as_ref()?.0.name().to_owned())),
        crc64: of(|object| object.content.crc64()),
        sha256: object.and_then(|object| object.content.sha256()).map(hex),
        parts: object.map_or(0, |object| object.content.pieces.len()),
    }
}

/// Everything in the account, in the order of buckets and keys, the newest version first.
pub(crate) fn versions_of(core: &Core) -> Vec<ObjectInfo> {
    core.store(|store| {
        let mut found = Vec::new();
        for (name, bucket) in &store.buckets {
            for (key, entry) in &bucket.entries {
                for (index, held) in entry.versions.iter().rev().enumerate() {
                    found.push(info(name, key, held, index == 0));
                }
            }
        }
        found
    })
}

/// Every upload that is under way.
pub(crate) fn uploads_of(core: &Core) -> Vec<UploadInfo> {
    core.store(|store| {
        let uploads = store.buckets.iter().flat_map(|(name, bucket)| {
            bucket.uploads.iter().map(|(id, upload)| UploadInfo {
                bucket: name.clone(),
                key: upload.key.clone(),
                id: id.clone(),
                parts: upload.parts.keys().copied().collect(),
                len: upload.parts.values().map(|part| part.piece.len).sum(),
            })
        });
        uploads.collect()
    })
}
