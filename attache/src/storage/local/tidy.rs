//! What crashes leave, and whether this is the folder in which objects were stored.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::place::{FACTS, FOLDERS, MARKER, Place, TEMP, blocking, sync_folder, write_error};
use crate::error::Result;
use crate::private;

pub(super) async fn is_in_place(place: &Place, begin: bool) -> Result<bool> {
    let root = place.0.clone();
    blocking(move || {
        let marker = root.join(MARKER);
        if marker.exists() {
            return Ok(true);
        }
        // One of an earlier version, or a copy without hidden files.
        let mut used = begin;
        for folder in FOLDERS {
            used = used
                || fs::read_dir(root.join(folder)).is_ok_and(|mut found| found.next().is_some());
        }
        if used {
            private::make_folder(&marker)?;
            sync_folder(&root)?;
        }
        Ok(used)
    })
    .await
    .map_err(|error| write_error(error, "look").during("look", "local storage"))
}

pub(super) async fn tidy(place: &Place) -> Result<u64> {
    let root = place.0.clone();
    blocking(move || {
        let mut removed = 0;
        for entry in fs::read_dir(root.join(TEMP))? {
            let path = entry?.path();
            // Whoever writes a file holds its lock; the system frees the lock when that process ends. Ours is held
            // until the file is gone: a writer that has just made it must not lock it in between.
            let Ok(file) = fs::File::open(&path) else {
                continue;
            };
            if file.try_lock_shared().is_ok() {
                removed += remove_litter(&path)?;
            }
        }
        // Facts whose bytes never came, or went first. A put that runs writes facts just before bytes.
        for folder in FOLDERS {
            for entry in fs::read_dir(root.join(FACTS).join(folder))? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                    continue;
                };
                let Ok(about) = entry.metadata() else {
                    continue;
                };
                let age = about.modified()?.elapsed().unwrap_or_default();
                if age >= FACTS_GRACE && !root.join(folder).join(name).exists() {
                    removed += remove_litter(&entry.path())?;
                }
            }
        }
        Ok(removed)
    })
    .await
    .map_err(|error: io::Error| write_error(error, "tidy").during("tidy", "local storage"))
}

/// Removes a file that another process may be tidying away, too; returns how many it removed.
fn remove_litter(path: &Path) -> io::Result<u64> {
    match fs::remove_file(path) {
        Ok(()) => Ok(1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Facts without bytes are left alone this long, far longer than the moment between writing the two.
const FACTS_GRACE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::super::{LocalConfig, LocalStorage};
    use super::*;
    use crate::storage::Storage as _;
    use crate::storage::local::place::locked_temp;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn tidy_takes_no_file_from_a_writer_that_has_just_locked_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        let temp = storage.place.temp();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let tidy = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime = runtime.expect("a runtime");
                while !done.load(Ordering::Relaxed) {
                    runtime
                        .block_on(storage.remove_temporary_files())
                        .expect("tidied");
                }
            };
            scope.spawn(tidy);
            scope.spawn(tidy);
            let mut taken = 0;
            for _ in 0..20_000 {
                let file = locked_temp(&temp, "put-").expect("a file");
                std::thread::park_timeout(Duration::from_micros(20));
                taken += u32::from(!file.path().exists());
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(taken, 0);
        });
    }
}
