//! What crashes and clients that gave up leave.

use std::fs;
use std::io;
use std::time::Duration;

use super::layout::Layout;

/// How long an upload in parts may lie untouched: as long as Azure keeps blocks that nobody commits
/// (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>).
const UPLOAD_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn sweep(layout: &Layout) -> io::Result<u64> {
    let mut removed = 0;
    for entry in entries(&layout.temp())? {
        let path = entry.path();
        // Whoever writes a file holds its lock, which the system frees when that process ends.
        let Ok(file) = fs::File::open(&path) else {
            continue;
        };
        if file.try_lock_shared().is_ok() && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    for entry in entries(&layout.uploads())? {
        let Ok(about) = entry.metadata() else {
            continue;
        };
        // The time of a folder changes with each part.
        let age = about.modified()?.elapsed().unwrap_or_default();
        if age >= UPLOAD_LIFE && fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

fn entries(folder: &std::path::Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
