//! Room for deletions on a full disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::private;

/// Some space on the catalog's disk that is given up when the disk is full, so that something can be deleted: a deletion
/// writes, too.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    there: AtomicBool,
}

/// A deletion changes some ten pages of 4 KiB, each written to the log: this is enough for 20 or so, after which the log is
/// shortened.
const RESERVE_BYTES: usize = 1024 * 1024;

impl Reserve {
    pub(super) fn beside(catalog: &Path) -> Self {
        let mut path = catalog.as_os_str().to_owned();
        path.push("-reserve");
        let reserve = Self {
            path: path.into(),
            there: AtomicBool::new(false),
        };
        reserve.make();
        reserve
    }

    /// Makes it unless it is there; without room, the next deletion tries again.
    pub(super) fn make(&self) {
        let made = || -> std::io::Result<()> {
            let mut file = private::open_file(&self.path)?;
            if file.metadata()?.len() < RESERVE_BYTES as u64 {
                // Written, and not a hole, which would hold nothing.
                std::io::Write::write_all(&mut file, &vec![0; RESERVE_BYTES])?;
                file.sync_all()?;
            }
            Ok(())
        };
        match made() {
            Ok(()) => self.there.store(true, Ordering::Relaxed),
            Err(_) => {
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// Whether there is something to give up.
    pub(super) fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    /// Gives it up; whether there was anything.
    pub(super) fn give_up(&self) -> bool {
        self.there.store(false, Ordering::Relaxed);
        std::fs::remove_file(&self.path).is_ok()
    }
}
