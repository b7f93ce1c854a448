//! How an object is written, changed and deleted: what is known of it is on disk first, then its bytes take their place by one rename.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::about::{self, Known, Stamp};
use super::found::{self, Found, find, is_elsewhere, stamp};
use super::layout::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::Blocks;
use crate::storage::bucket::{
    Condition, Entry, KeptChecksum, Key, Properties, Version, absent, unfulfilled,
};
use crate::storage::local::place::{sync_folder, sync_parent, write_error};
use crate::storage::local::spool::{Spooled, spool_into};
use crate::transfer::body::{Body, Digests};

/// Reads a body to its end, into a file that nobody sees.
pub(super) async fn spool(layout: &Layout, blocks: &Blocks, body: &mut Body) -> Result<Spooled> {
    let folder = layout.temp();
    let make = {
        let folder = folder.clone();
        move || private::make_folder(&folder)
    };
    spool_into(folder, make, &blocks.budget, body).await
}

/// Bytes that are written and have no place yet. Whoever gives them one syncs them: most of them are on disk by then, so that this takes
/// no time while it has the turn of the key.
pub(super) struct Fresh {
    pub(super) file: File,
    pub(super) path: tempfile::TempPath,
    pub(super) etag: String,
    pub(super) properties: Properties,
    pub(super) crc64: Option<u64>,
    pub(super) checksum: Option<KeptChecksum>,
}

impl Fresh {
    pub(super) fn of(spooled: Spooled, properties: Properties) -> Result<Self> {
        let digests = spooled.digests;
        let written = spooled.written();
        let (file, path) = written.map_err(|error| write_error(error, "put"))?;
        Ok(Self {
            file,
            path,
            etag: etag(&digests)?,
            properties,
            crc64: digests.crc64,
            checksum: digests.checksum.map(|checksum| KeptChecksum {
                checksum,
                parts: None,
            }),
        })
    }
}

/// The entity tag of bytes that passed.
pub(super) fn etag(digests: &Digests) -> Result<String> {
    let md5 = digests.md5.map(|md5| md5.to_string());
    md5.ok_or_else(|| Error::internal("the body of an object in a bucket was not hashed"))
}

/// Gives bytes their place under `key`, if `condition` holds.
pub(super) fn publish(
    layout: &Layout,
    key: &Key,
    fresh: Fresh,
    condition: &Condition,
) -> Result<Entry> {
    let turn = layout.turn(key).map_err(turn_error)?;
    let there = find(layout, key)?;
    check(key, there.as_ref(), condition)?;
    let outcome = place(layout, key, fresh, there);
    drop(turn);
    outcome.map_err(|error| write_error(error, "put"))
}

fn turn_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::new(
            ErrorKind::Busy,
            "another program holds the turn of this key for too long; try again",
        )
        .retry_after(Duration::from_secs(2)),
        _ => write_error(error, "put"),
    }
}

fn check(key: &Key, there: Option<&Found>, condition: &Condition) -> Result<()> {
    match (condition, there) {
        (Condition::None, _) | (Condition::Absent, None) => Ok(()),
        (Condition::Matches(_), None) => Err(absent(key)),
        (Condition::Matches(etag), Some(there)) if there.entry(key).etag == *etag => Ok(()),
        _ => Err(unfulfilled(key)),
    }
}

fn place(layout: &Layout, key: &Key, fresh: Fresh, there: Option<Found>) -> io::Result<Entry> {
    let old = there.as_ref().map(|there| there.stamp);
    let stamp = set_time(&fresh.file, old)?;
    let known = Known::new(
        stamp,
        fresh.etag,
        fresh.properties,
        fresh.crc64,
        fresh.checksum,
    );
    let entry = found::entry(key, stamp, Some(&known));
    let there_known = there.as_ref().and_then(|there| there.known.clone());
    about::note(layout, key, known, there_known)?;
    // Where it is, if it is anywhere: there is one object of a key.
    let plain = match &there {
        Some(there) => Some(there.path.clone()),
        None => layout.plain(key),
    };
    let mut path = fresh.path;
    if let Some(plain) = plain {
        match rename(layout.root(), path, &plain) {
            Ok(()) => return Ok(entry),
            // An object `a` is in the way of `a/b`, or the other way round.
            Err((error, back)) if is_in_the_way(&error) => path = back,
            Err((error, _)) => return Err(error),
        }
    }
    rename(layout.root(), path, &layout.odd(key)).map_err(|(error, _)| error)?;
    Ok(entry)
}

fn is_in_the_way(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    is_elsewhere(error) && error.kind() != Kind::NotFound
        || matches!(error.kind(), Kind::AlreadyExists | Kind::DirectoryNotEmpty)
}

/// Gives a file its place; what was there is gone with it.
fn rename(
    root: &Path,
    mut from: tempfile::TempPath,
    to: &Path,
) -> Result<(), (io::Error, tempfile::TempPath)> {
    // Whoever deletes the last object of a folder removes the folder.
    for last in [false, false, false, false, false, false, false, true] {
        let folder = to.parent().unwrap_or(root);
        match private::make_folder(folder) {
            Ok(()) => {}
            // Removed on the way.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !last => continue,
            Err(error) => return Err((error, from)),
        }
        // A folder of this name that has nothing in it is no object, and nobody's.
        if to.is_dir() {
            let _ = fs::remove_dir(to);
        }
        match from.persist(to) {
            Ok(()) => break,
            Err(error) if error.error.kind() == io::ErrorKind::NotFound && !last => {
                from = error.path
            }
            Err(error) => return Err((error.error, error.path)),
        }
    }
    // New folders on the way must survive, too; which ones are new nobody knows any more.
    let mut folder = to.parent();
    while let Some(at) = folder.filter(|at| at.starts_with(root)) {
        if let Err(error) = sync_folder(at) {
            tracing::warn!(%error, "cannot flush a folder of a bucket to disk");
        }
        folder = at.parent();
    }
    Ok(())
}

/// Sets the time of a file to now, and to another one than that of the version that it replaces; what the file system made of it. File and
/// time are on disk then.
fn set_time(file: &File, old: Option<Stamp>) -> io::Result<Stamp> {
    let mut at = SystemTime::now();
    // Where times are of whole or even seconds, the next one differs.
    for step in [1_000, 1_000_000, 1_000_000_000, 2_000_000_000] {
        file.set_times(FileTimes::new().set_modified(at))?;
        let stamp = stamp(&file.metadata()?);
        if old != Some(stamp) {
            file.sync_all()?;
            return Ok(stamp);
        }
        at += Duration::from_nanos(step);
    }
    Err(io::Error::other("the file system keeps no times"))
}

pub(super) fn set_properties(
    layout: &Layout,
    key: &Key,
    version: &Version,
    properties: Properties,
) -> Result<Entry> {
    let turn = layout.turn(key).map_err(turn_error)?;
    let there = find(layout, key)?.ok_or_else(|| absent(key))?;
    let entry = there.entry(key);
    if entry.version != *version {
        return Err(unfulfilled(key));
    }
    let changed = || -> io::Result<Entry> {
        // Time decides which of both is believed, so it is known before it is set.
        let at =
            SystemTime::now().max(there.file.metadata()?.modified()? + Duration::from_millis(1));
        let at = whole_micros(at);
        let stamp = Stamp {
            modified: found::nanos(at),
            ..there.stamp
        };
        let known = Known::new(
            stamp,
            entry.etag.clone(),
            properties,
            entry.crc64,
            entry.checksum,
        );
        about::note(layout, key, known.clone(), there.known.clone())?;
        there.file.set_times(FileTimes::new().set_modified(at))?;
        let kept = found::stamp(&there.file.metadata()?);
        let mut known = known;
        if kept != stamp {
            // A file system with coarser times.
            known.stamp = kept;
            about::note(layout, key, known.clone(), None)?;
        }
        sync_parent(&there.path)?;
        Ok(found::entry(key, kept, Some(&known)))
    };
    let outcome = changed();
    drop(turn);
    outcome.map_err(|error| write_error(error, "set_properties"))
}

fn whole_micros(at: SystemTime) -> SystemTime {
    let nanos = u64::try_from(found::nanos(at)).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(nanos / 1000)
}

pub(super) fn delete(layout: &Layout, key: &Key) -> Result<()> {
    let turn = layout.turn(key).map_err(turn_error)?;
    let removed = || -> Result<()> {
        let Some(there) = find(layout, key)? else {
            return Ok(());
        };
        remove(layout, key, &there.path).map_err(|error| write_error(error, "delete"))
    };
    let outcome = removed();
    drop(turn);
    outcome
}

/// Bytes first: what is known without bytes is litter.
fn remove(layout: &Layout, key: &Key, path: &Path) -> io::Result<()> {
    for path in [path, layout.about(key).as_path()] {
        match fs::remove_file(path) {
            Ok(()) => sync_removal(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Folders that only this object needed.
    let mut folder = path.parent();
    while let Some(at) = folder.filter(|at| *at != layout.root() && at.starts_with(layout.root())) {
        if fs::remove_dir(at).is_err() {
            break;
        }
        folder = at.parent();
    }
    Ok(())
}

/// Makes a removal survive a power failure. Whoever deletes another object of the folder at the same time may remove the folder, whose own
/// removal is what must survive then.
fn sync_removal(path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        match sync_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => return outcome,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last of them removes the folder between the removal of a file and its sync, which no test can time.
    #[test]
    fn objects_of_a_folder_can_be_deleted_at_once() {
        let root = tempfile::tempdir().expect("a folder");
        sync_removal(&root.path().join("folder/below/key")).expect("what is above is synced");
        let file = root.path().join("file");
        std::fs::write(&file, "").expect("written");
        // Any other failure still is one.
        sync_removal(&file.join("folder/key")).expect_err("no folder");
    }
}
