//! What is known of an object, in a file apart from its bytes.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::attachment::Hex;
use crate::private;
use crate::storage::bucket::{KeptChecksum, Key, Properties};
use crate::storage::local::sidecar::write_sidecar;
use crate::transfer::checksum::{Checksum, ChecksumKind};

/// The content of a file in `.attache/about`. It has what is known of the version that is there, and of the one that takes its place: which
/// of them it is, the file itself tells.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    pub(super) key: Key,
    pub(super) versions: Vec<Known>,
}

/// What is known of one version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(flatten)]
    pub(super) stamp: Stamp,
    pub(super) etag: String,
    #[serde(default)]
    pub(super) properties: Properties,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<Summed>,
}

/// By what a version of a file is known again: its time of change, and its length. A copy of the folder that keeps times keeps them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) size: u64,
}

/// A checksum in base64, with its word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Summed {
    kind: String,
    value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<u16>,
}

impl Known {
    pub(super) fn new(
        stamp: Stamp,
        etag: String,
        properties: Properties,
        crc64: Option<u64>,
        checksum: Option<KeptChecksum>,
    ) -> Self {
        Self {
            stamp,
            etag,
            properties,
            crc64: crc64.map(|crc| Hex(crc.to_be_bytes()).to_string()),
            checksum: checksum.map(|kept| Summed::of(kept.checksum, kept.parts)),
        }
    }

    pub(super) fn crc64(&self) -> Option<u64> {
        let hex: Hex<8> = self.crc64.as_deref()?.parse().ok()?;
        Some(u64::from_be_bytes(hex.0))
    }

    pub(super) fn checksum(&self) -> Option<KeptChecksum> {
        self.checksum.as_ref()?.kept()
    }
}

impl Summed {
    pub(super) fn of(checksum: Checksum, parts: Option<u16>) -> Self {
        Self {
            kind: checksum.kind().as_str().to_owned(),
            value: checksum.to_base64(),
            parts,
        }
    }

    pub(super) fn kept(&self) -> Option<KeptChecksum> {
        let kind = ChecksumKind::of(&self.kind)?;
        Some(KeptChecksum {
            checksum: Checksum::from_base64(kind, &self.value)?,
            parts: self.parts,
        })
    }
}

/// What is known of the version of this stamp.
pub(super) fn known(layout: &Layout, key: &Key, stamp: Stamp) -> Option<Known> {
    let about = read(&layout.about(key))?;
    let mut versions = about.versions.into_iter();
    versions.find(|known| known.stamp == stamp && about.key == *key)
}

pub(super) fn read(path: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Notes what is known of a version before it is there, beside the one that is.
pub(super) fn note(layout: &Layout, key: &Key, new: Known, there: Option<Known>) -> io::Result<()> {
    let path = layout.about(key);
    if let Some(folder) = path.parent() {
        private::make_folder(folder)?;
    }
    let about = About {
        key: key.clone(),
        versions: std::iter::once(new).chain(there).collect(),
    };
    write_sidecar(&layout.temp(), &serde_json::to_vec(&about)?, &path)
}
