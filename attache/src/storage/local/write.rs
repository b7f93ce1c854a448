//! How an object is written, and deleted: its bytes appear by one rename, after they and the facts are on disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::place::{MARKER, Place, blocking, make_folders, make_parents, sync_parent, write_error};
use super::sidecar::{sidecar, write_sidecar};
use super::spool::{Spooled, spool_into, temp_in};
use crate::attachment::ObjectKey;
use crate::error::Result;
use crate::storage::{Content, Stored, absent, conflict};
use crate::transfer::body::Body;
use crate::transfer::budget::Budget;

pub(super) async fn put(
    place: &Place,
    claims: &Claims,
    key: &ObjectKey,
    content: &Content,
    mut body: Body,
) -> Result<Stored> {
    let claim = claims.claim(key).ok_or_else(|| conflict(key))?;
    let (path, facts_path) = (place.path(key), place.facts_path(key));
    if tokio::fs::try_exists(&path).await.unwrap_or(false) {
        return Err(conflict(key));
    }
    let spooled = write_temp(place, &content.blocks.budget, &mut body)
        .await
        .map_err(|error| error.during("put", key.as_str()))?;
    let digests = spooled.digests;
    let sidecar = sidecar(&content.settled(digests.utf8).facts, &digests.into(), None)?;
    let temp = place.temp();
    // From here on it runs to its end, even if the caller leaves: the claim goes with it.
    blocking(move || {
        let (file, bytes) = spooled.on_disk()?;
        // The file stays open, and so locked, until it has its place.
        let _held = (claim, file);
        publish(&temp, bytes, &sidecar, &path, &facts_path)
    })
    .await
    .map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => conflict(key),
        _ => write_error(error, "put").during("put", key.as_str()),
    })?;
    Ok(digests.into())
}

pub(super) async fn write_facts(
    place: &Place,
    claims: &Claims,
    key: &ObjectKey,
    content: &Content,
    stored: &Stored,
) -> Result<Option<String>> {
    let claim = claims.claim(key).ok_or_else(|| conflict(key))?;
    let (path, facts_path) = (place.path(key), place.facts_path(key));
    let sidecar = sidecar(&content.facts, stored, None)?;
    let temp = place.temp();
    blocking(move || {
        let _held = claim;
        // Facts without bytes are litter.
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        write_sidecar(&temp, &sidecar, &facts_path)
    })
    .await
    .map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => absent(key),
        _ => write_error(error, "facts").during("facts", key.as_str()),
    })?;
    Ok(None)
}

pub(super) async fn delete(place: &Place, key: &ObjectKey) -> Result<()> {
    let (path, facts_path) = (place.path(key), place.facts_path(key));
    blocking(move || {
        // Bytes first: facts without bytes are litter, bytes without facts would be an object.
        for path in [&path, &facts_path] {
            match fs::remove_file(path) {
                Ok(()) => sync_parent(path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
    .await
    .map_err(|error| write_error(error, "delete").during("delete", key.as_str()))
}

/// Reads a body to its end, into a file in the folder for writes in progress.
pub(super) async fn write_temp(place: &Place, budget: &Budget, body: &mut Body) -> Result<Spooled> {
    let root = place.0.clone();
    let make = move || make_missing(&root);
    spool_into(place.temp(), make, budget, body).await
}

/// A new file for writing, in a store whose folders may be missing.
pub(super) fn temp_of(place: &Place) -> io::Result<tempfile::NamedTempFile> {
    temp_in(&place.temp(), || make_missing(&place.0))
}

/// Makes folders again that somebody removed; not in a place that is not the store.
fn make_missing(root: &Path) -> io::Result<()> {
    match root.join(MARKER).exists() {
        // A copy without hidden files, or a folder that was cleaned too well.
        true => make_folders(root),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

pub(super) fn publish(
    temp: &Path,
    bytes: tempfile::TempPath,
    sidecar: &[u8],
    path: &Path,
    facts_path: &Path,
) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // A disk that went away has not even that, and gets no folders.
    if temp.is_dir() {
        make_parents(path)?;
        make_parents(facts_path)?;
    }
    write_sidecar(temp, sidecar, facts_path)?;
    if let Err(error) = bytes.persist_noclobber(path) {
        // Another process that moves was first: the facts are those of its bytes, too.
        if error.error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(facts_path);
        }
        return Err(error.error);
    }
    if let Err(error) = sync_parent(path) {
        // Not known to be on disk is not stored.
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(facts_path);
        return Err(error);
    }
    Ok(())
}

/// Keys that are being written by this process, so that two writers cannot mix bytes and facts. Ids are unique in the
/// catalog, so other processes never write the same key, unless several move, which write the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<ObjectKey>>>);

impl Claims {
    /// `None` while somebody else writes it.
    pub(super) fn claim(&self, key: &ObjectKey) -> Option<Claim> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writing.insert(key.clone()).then(|| Claim {
            writing: self.0.clone(),
            key: key.clone(),
        })
    }
}

/// A key that is being written; free again when dropped.
pub(super) struct Claim {
    writing: Arc<Mutex<HashSet<ObjectKey>>>,
    key: ObjectKey,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}
