//! The facts of an object, in a file beside its bytes.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::place::{locked_temp, sync_parent};
use crate::attachment::{Hex, ObjectKey};
use crate::error::{Error, Result};
use crate::storage::{Facts, ObjectInfo, Stored};

/// The content of a `.facts` file.
#[derive(Serialize, Deserialize)]
pub(super) struct Sidecar {
    #[serde(flatten)]
    facts: Facts,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc64: Option<String>,
    /// Of which upload in parts it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<String>,
}

/// Atomic: there are the old facts, or the new ones.
pub(super) fn write_sidecar(temp: &Path, sidecar: &[u8], facts_path: &Path) -> io::Result<()> {
    let mut facts = locked_temp(temp, "facts-")?;
    io::Write::write_all(&mut facts, sidecar)?;
    facts.as_file().sync_all()?;
    facts.persist(facts_path).map_err(|error| error.error)?;
    sync_parent(facts_path)
}

pub(super) fn sidecar(facts: &Facts, stored: &Stored, upload: Option<&str>) -> Result<Vec<u8>> {
    serde_json::to_vec(&Sidecar {
        facts: facts.clone(),
        size: stored.size,
        sha256: stored.sha256.map(|hex| hex.to_string()),
        md5: stored.md5.map(|hex| hex.to_string()),
        crc64: stored.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string()),
        upload: upload.map(str::to_owned),
    })
    .map_err(|error| Error::internal("cannot write the metadata as JSON").with_source(error))
}

pub(super) fn read_sidecar(path: &Path) -> Option<Sidecar> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn info(key: ObjectKey, size: u64, sidecar: Option<Sidecar>) -> ObjectInfo {
    let mut info = ObjectInfo::of_size(key, size);
    if let Some(sidecar) = sidecar {
        info.sha256 = sidecar.sha256.and_then(|hex| hex.parse().ok());
        info.md5 = sidecar.md5.and_then(|hex| hex.parse().ok());
        info.crc64 = sidecar
            .crc64
            .and_then(|hex| hex.parse::<Hex<8>>().ok())
            .map(|hex| u64::from_be_bytes(hex.0));
        info.facts_size = Some(sidecar.size);
        info.facts = Some(sidecar.facts);
    }
    info
}
