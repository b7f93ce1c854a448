//! Where an object is, and what is known of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use super::about::{Known, Stamp, known};
use super::layout::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::{Entry, Key, Properties, Version};
use crate::storage::local::place::read_error;
use crate::storage::local::read::open_object;

/// An object that is there.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    pub(super) known: Option<Known>,
}

impl Found {
    pub(super) fn entry(&self, key: &Key) -> Entry {
        entry(key, self.stamp, self.known.as_ref())
    }
}

/// What is known of a version; of a file that another program put there, little.
pub(super) fn entry(key: &Key, stamp: Stamp, known: Option<&Known>) -> Entry {
    let own = format!("{:x}-{:x}", stamp.modified, stamp.size);
    Entry {
        key: key.clone(),
        size: stamp.size,
        // With two hyphens nobody takes it for an MD5, nor for that of an upload in parts.
        etag: known.map_or_else(|| format!("file-{own}"), |known| known.etag.clone()),
        modified: OffsetDateTime::from_unix_timestamp_nanos(stamp.modified.into())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        properties: known.map_or_else(Properties::default, |known| known.properties.clone()),
        checksum: known.and_then(Known::checksum),
        crc64: known.and_then(Known::crc64),
        version: Version(own),
        archived: false,
    }
}

/// The object of a key.
pub(super) fn find(layout: &Layout, key: &Key) -> Result<Option<Found>> {
    // A version may be replaced between opening it and reading what is known of it, but hardly so often.
    for last in [false, false, false, true] {
        let opened = open(layout, key).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::new(
                ErrorKind::Misconfigured,
                "cannot read the file of this object; fix its permissions",
            )
            .for_operator()
            .with_source(error),
            _ => read_error(error),
        })?;
        let Some((file, path, stamp)) = opened else {
            return Ok(None);
        };
        let known = known(layout, key, stamp);
        if known.is_some() || last || is_still(&path, stamp) {
            return Ok(Some(Found {
                file,
                path,
                stamp,
                known,
            }));
        }
    }
    Ok(None)
}

fn open(layout: &Layout, key: &Key) -> io::Result<Option<(File, PathBuf, Stamp)>> {
    for path in layout.plain(key).into_iter().chain([layout.odd(key)]) {
        match open_object(&path) {
            Ok((file, about)) => {
                let stamp = stamp(&about);
                return Ok(Some((file, path, stamp)));
            }
            Err(error) if is_elsewhere(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether there is no file of this name, or none can be.
pub(super) fn is_elsewhere(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidFilename
    )
}

fn is_still(path: &Path, as_it_was: Stamp) -> bool {
    path.metadata()
        .is_ok_and(|about| stamp(&about) == as_it_was)
}

pub(super) fn stamp(about: &std::fs::Metadata) -> Stamp {
    let modified = about.modified().unwrap_or(UNIX_EPOCH);
    Stamp {
        modified: nanos(modified),
        size: about.len(),
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}
