//! Uploads in parts: a folder each, and in it a file for each part, beside one that says what it is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::about::Summed;
use super::found::nanos;
use super::layout::Layout;
use super::write::etag;
use crate::error::{Error, Result};
use crate::private;
use crate::storage::bucket::{ChecksumPlan, Key, Part, PartOf, Properties, Upload, no_upload};
use crate::storage::local::place::{locked_temp, read_error, sync_folder, write_error};
use crate::storage::local::spool::Spooled;

/// `upload.json`
#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) key: Key,
    pub(super) properties: Properties,
    #[serde(with = "time::serde::rfc3339")]
    begun: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<ChecksumPlan>,
}

const UPLOAD: &str = "upload.json";

/// What is known of a part: a file of JSON, written when the bytes are on disk.
#[derive(Serialize, Deserialize)]
struct Noted {
    size: u64,
    etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc64: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<Summed>,
}

/// A part that was stored.
pub(super) struct Kept {
    pub(super) part: Part,
    pub(super) crc64: Option<u64>,
    pub(super) bytes: PathBuf,
}

/// One try at a part. The one that was begun last counts, whichever ends last.
pub(super) struct Try {
    number: u16,
    serial: u64,
}

impl Try {
    pub(super) fn begin(number: u16) -> Self {
        // Time comes first; two tries of one moment do not meet.
        let serial = u64::try_from(nanos(SystemTime::now())).unwrap_or_default();
        Self {
            number,
            serial: serial ^ (rand::random::<u64>() & 0xff),
        }
    }

    fn of(name: &str) -> Option<Self> {
        let (number, serial) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            serial: serial.parse().ok()?,
        })
    }

    fn name(&self, end: &str) -> String {
        format!("{:05}-{:020}.{end}", self.number, self.serial)
    }
}

/// The id of an upload, which is the name of its folder.
pub(super) fn id(upload: &PartOf<'_>) -> Result<String> {
    let id: uuid::Uuid = upload.upload.parse().map_err(|_| no_upload(upload.key))?;
    Ok(id.simple().to_string())
}

pub(super) fn begin(
    layout: &Layout,
    key: &Key,
    properties: Properties,
    checksum: Option<ChecksumPlan>,
) -> Result<String> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let folder = layout.uploads().join(&id);
    let begun = Begun {
        key: key.clone(),
        properties,
        begun: OffsetDateTime::now_utc(),
        checksum,
    };
    let made = || -> io::Result<()> {
        private::make_folder(&folder)?;
        write(&folder, UPLOAD, &serde_json::to_vec(&begun)?)?;
        sync_folder(&layout.uploads())
    };
    made().map_err(|error| write_error(error, "begin"))?;
    Ok(id)
}

/// What an upload will be.
pub(super) fn open(layout: &Layout, key: &Key, id: &str) -> Result<Begun> {
    let begun = read_begun(&layout.uploads().join(id)).map_err(read_error)?;
    begun
        .filter(|begun| begun.key == *key)
        .ok_or_else(|| no_upload(key))
}

fn read_begun(folder: &Path) -> io::Result<Option<Begun>> {
    match fs::read(folder.join(UPLOAD)) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a part whose bytes are on disk, unless one of its number that was begun later is there.
pub(super) fn keep(
    layout: &Layout,
    key: &Key,
    id: &str,
    this: &Try,
    spooled: Spooled,
) -> Result<Part> {
    let digests = spooled.digests;
    let noted = Noted {
        size: digests.size,
        etag: etag(&digests)?,
        crc64: digests.crc64,
        checksum: digests.checksum.map(|checksum| Summed::of(checksum, None)),
    };
    let folder = layout.uploads().join(id);
    let written = spooled.on_disk();
    let (file, path) = written.map_err(|error| write_error(error, "put_part"))?;
    let kept = || -> io::Result<()> {
        path.persist(folder.join(this.name("part")))
            .map_err(|error| error.error)?;
        write(&folder, &this.name("json"), &serde_json::to_vec(&noted)?)?;
        drop(file);
        for other in tries(&folder)? {
            if other.number == this.number && other.serial < this.serial {
                remove(&folder, &other)?;
            }
        }
        Ok(())
    };
    kept().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_upload(key),
        _ => write_error(error, "put_part"),
    })?;
    Ok(part(this, &noted, Some(OffsetDateTime::now_utc())))
}

/// The parts that count, in the order of their numbers.
pub(super) fn read(layout: &Layout, key: &Key, id: &str) -> Result<Vec<Kept>> {
    let folder = layout.uploads().join(id);
    let all = || -> io::Result<Vec<Kept>> {
        let mut tries = tries(&folder)?;
        // The last one of each number comes first.
        tries.sort_by_key(|this| (this.number, std::cmp::Reverse(this.serial)));
        tries.dedup_by_key(|this| this.number);
        let mut all = Vec::new();
        for this in tries {
            let path = folder.join(this.name("json"));
            let text = match fs::read(&path) {
                Ok(text) => text,
                // Replaced since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let noted: Noted = serde_json::from_slice(&text)?;
            let modified = path.metadata()?.modified()?;
            all.push(Kept {
                part: part(&this, &noted, Some(modified.into())),
                crc64: noted.crc64,
                bytes: folder.join(this.name("part")),
            });
        }
        Ok(all)
    };
    all().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_upload(key),
        _ => read_error(error),
    })
}

fn part(this: &Try, noted: &Noted, modified: Option<OffsetDateTime>) -> Part {
    Part {
        number: this.number,
        size: noted.size,
        etag: noted.etag.clone(),
        modified,
        checksum: noted
            .checksum
            .as_ref()
            .and_then(Summed::kept)
            .map(|kept| kept.checksum),
    }
}

fn tries(folder: &Path) -> io::Result<Vec<Try>> {
    let mut tries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        tries.extend(name.to_str().and_then(Try::of));
    }
    Ok(tries)
}

/// What is known of it first: bytes of which nothing is known are no part.
fn remove(folder: &Path, this: &Try) -> io::Result<()> {
    for end in ["json", "part"] {
        match fs::remove_file(folder.join(this.name(end))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes an upload: it is gone with its `upload.json`.
pub(super) fn give_up(layout: &Layout, id: &str) -> Result<()> {
    let folder = layout.uploads().join(id);
    let removed = || -> io::Result<()> {
        fs::remove_file(folder.join(UPLOAD))?;
        fs::remove_dir_all(&folder)?;
        sync_folder(&layout.uploads())
    };
    match removed() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(error, "abort")),
        _ => Ok(()),
    }
}

pub(super) fn uploads(
    layout: &Layout,
    prefix: &str,
    after: Option<&(String, String)>,
    limit: usize,
) -> io::Result<Vec<Upload>> {
    let folders = match fs::read_dir(layout.uploads()) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = std::collections::BTreeMap::new();
    for folder in folders {
        let folder = folder?;
        let Ok(id) = folder.file_name().into_string() else {
            continue;
        };
        let Some(begun) = read_begun(&folder.path())? else {
            continue;
        };
        let place = (begun.key.to_string(), id);
        if place.0.starts_with(prefix) && after.is_none_or(|after| place > *after) {
            all.insert(place, begun);
            if all.len() > limit {
                all.pop_last();
            }
        }
    }
    let upload = |((_, upload), begun): ((String, String), Begun)| Upload {
        key: begun.key,
        upload,
        begun: begun.begun,
        checksum: begun.checksum,
    };
    Ok(all.into_iter().map(upload).collect())
}

/// Writes a small file whole.
fn write(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let mut file = locked_temp(folder, ".new-")?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))
        .map_err(|error| error.error)?;
    sync_folder(folder)
}

/// The error for parts that are gone while they are read.
pub(super) fn gone(key: &Key, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => no_upload(key),
        _ => write_error(error, "complete"),
    }
}
