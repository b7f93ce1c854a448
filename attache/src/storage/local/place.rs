//! The folder: where everything in it is, how a file is made in it, and what its errors mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind};
use crate::private;

pub(super) use crate::storage::file::{blocking, read_error};

/// Where writes in progress lie, in the root, so that a rename never crosses a file system.
pub(super) const TEMP: &str = ".tmp";

/// Tells a folder that objects were stored in from the empty mount point of a disk that is missing: an empty folder, so that
/// whoever counts files counts objects.
pub(super) const MARKER: &str = ".attache";

/// Where facts lie.
pub(super) const FACTS: &str = ".facts";

/// The folders of [`ObjectKey`], in ascending order.
pub(super) const FOLDERS: [&str; 2] = ["attachment", "user"];

/// The root of a store.
#[derive(Clone, Debug)]
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    /// The file of a key. No part of a key is empty or begins with a dot, so this cannot leave the root.
    pub(super) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.0.join(key.as_str())
    }

    pub(super) fn facts_path(&self, key: &ObjectKey) -> PathBuf {
        self.0.join(FACTS).join(format!("{key}.json"))
    }

    /// Where files are written.
    pub(super) fn temp(&self) -> PathBuf {
        self.0.join(TEMP)
    }
}

/// Makes the folders of a store that are missing.
pub(super) fn make_folders(root: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        private::make_folder(&root.join(folder))?;
        private::make_folder(&root.join(FACTS).join(folder))?;
    }
    private::make_folder(&root.join(TEMP))
}

/// A new file for writing, locked against [`tidy`](super::tidy) of any process.
pub(super) fn locked_temp(folder: &Path, prefix: &str) -> io::Result<tempfile::NamedTempFile> {
    loop {
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        // For its owner, and for a web server in its group that delivers the files; the umask may take more away.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o640));
        let file = builder.tempfile_in(folder)?;
        // `tidy` may have seen the file before the lock; then it is gone, and the next one will do.
        if file.as_file().try_lock().is_ok() && file.path().exists() {
            private::give(file.as_file(), folder)?;
            return Ok(file);
        }
    }
}

/// Whether files may be made in `folder`, and there is room for one.
#[cfg(unix)]
pub(super) fn writable(folder: &Path) -> io::Result<()> {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?;
    let about = rustix::fs::statvfs(folder)?;
    // File systems that count no inodes tell of none at all.
    let inodes = about.f_files == 0 || about.f_favail > 0;
    match about.f_bavail > 0 && inodes {
        true => Ok(()),
        false => Err(io::ErrorKind::StorageFull.into()),
    }
}

#[cfg(not(unix))]
pub(super) fn writable(folder: &Path) -> io::Result<()> {
    locked_temp(folder, "probe-").map(|_| ())
}

/// Makes a rename or a removal in this folder survive a power failure.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the folders above a file, as the name that another program gave it may have; they are on disk when this returns.
pub(super) fn make_parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            make_parents(parent)?;
            private::make_folder(parent)?;
            sync_parent(parent)
        }
        _ => Ok(()),
    }
}

pub(super) fn write_error(error: io::Error, operation: &'static str) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::new(
            ErrorKind::StorageFull,
            "the disk of local storage is full; nothing was stored. Free space, or move storage.local.root",
        )
        .for_operator(),
        io::ErrorKind::PermissionDenied => Error::new(
            ErrorKind::Misconfigured,
            "cannot write to local storage; fix the permissions of storage.local.root",
        )
        .for_operator(),
        io::ErrorKind::ReadOnlyFilesystem => Error::new(
            ErrorKind::Misconfigured,
            "cannot write to local storage: its file system is mounted read-only",
        )
        .for_operator(),
        _ => Error::internal(format!("local storage: {operation} failed")),
    }
    .with_source(error)
}
