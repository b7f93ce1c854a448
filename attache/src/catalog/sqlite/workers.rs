//! Which processes work on a catalog, told by locks on files: the system frees a lock when its process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::attachment::unique;
use crate::catalog::workers::{Replica, Workers};
use crate::private;

/// This process, as long as it lives: a file in a folder beside the catalog that it holds a lock on.
#[derive(Debug)]
pub(super) struct FileLocks {
    id: String,
    folder: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl FileLocks {
    pub(super) fn register(catalog: &Path) -> std::io::Result<Self> {
        let mut folder = catalog.as_os_str().to_owned();
        folder.push("-workers");
        let folder = PathBuf::from(folder);
        private::make_folder(&folder)?;
        let id = unique().simple().to_string();
        let path = folder.join(&id);
        // Locked under a name that names no process, then renamed: no moment in which it exists unlocked.
        let draft = folder.join(format!(".{id}"));
        let lock = loop {
            let lock = private::open_file(&draft)?;
            // Another process may take the draft for that of a dead one before it is locked; then once more.
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            match std::fs::rename(&draft, &path) {
                Ok(()) => break lock,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        let worker = Self {
            id,
            folder,
            path,
            _lock: lock,
        };
        worker.bury_the_dead()?;
        Ok(worker)
    }

    /// Removes the files of processes that were killed; most have left no row that would make anybody ask for them.
    fn bury_the_dead(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            // Drafts, too: that of a process that was killed while it registered names nobody.
            if let Some(name) = entry?.file_name().to_str() {
                self.is_alive(name);
            }
        }
        Ok(())
    }
}

impl Workers for FileLocks {
    fn me(&self) -> &str {
        &self.id
    }

    /// Whether no other process has the catalog open.
    fn is_alone(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return false;
        };
        !entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_none_or(|name| name != self.id && self.is_alive(name))
        })
    }

    fn alive(&self) -> std::io::Result<Vec<Replica>> {
        let mut alive = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().into_string();
            // Drafts begin with a dot.
            if let Ok(id) = name
                && !id.starts_with('.')
                && self.is_alive(&id)
            {
                let is_this = id == self.id;
                alive.push(Replica { id, is_this });
            }
        }
        Ok(alive)
    }

    /// Whether the process that `id` names is alive. Cleans up after a dead one.
    fn is_alive(&self, id: &str) -> bool {
        if id == self.id {
            return true;
        }
        let path = self.folder.join(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Anything else, such as too many open files, says nothing about that process.
            Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
        };
        // Shared: two that ask at the same time must not take each other for the process.
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
                false
            }
            // Held, or not to be told: leave its rows alone.
            Err(_) => true,
        }
    }
}

impl Drop for FileLocks {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
