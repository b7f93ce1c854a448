//! Files and folders that attache makes for itself: nobody else of the machine reads them, and they belong to whom their
//! folder belongs to.
//!
//! A command that root runs beside a server of another user must not leave files that the server cannot open. SQLite does the
//! same for its log (`robustFchown` in its `os_unix.c`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes a folder, and those above it that are missing. Members of the group may pass through: a web server in front that
/// delivers files of the local store is one.
///
/// # Errors
///
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_folder(parent)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    match builder.create(path) {
        Ok(()) => give(&File::open(path)?, parent),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading and writing, and makes it, for its owner's eyes only, if it does not exist.
///
/// # Errors
///
/// Those of the file system.
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    give(&file, path.parent().unwrap_or(Path::new("")))?;
    Ok(file)
}

/// Makes a file with these bytes, for its owner's eyes only, and its folder; whether it was not there yet. It is whole and on
/// disk when this returns, and of several processes that do this at once one makes it.
///
/// # Errors
///
/// Those of the file system.
pub fn make_file_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    use std::io::Write as _;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    make_folder(folder)?;
    // tempfile makes files that only their owner can read.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    give(file.as_file(), folder)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            // The name, too, is on disk before anybody counts on it.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Whether everybody on this machine can read a file that exists. One that its group can read may be meant so: orchestrators
/// mount secrets like that.
pub fn is_readable_by_all(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Takes a file out of the sight of everybody but its owner, if it exists: one that an earlier version made for all to read may
/// hold secrets by now.
///
/// # Errors
///
/// Those of the file system.
#[cfg(unix)]
pub fn close_to_others(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = match fs::metadata(path) {
        Ok(about) => about.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match mode & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)),
    }
}

/// Does nothing where files have no modes.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn close_to_others(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives what was just made to the owner of `folder`, in which it was made. Does something for root alone: nobody else may
/// give anything away, nor needs to.
///
/// # Errors
///
/// Those of the file system.
#[cfg(unix)]
pub fn give(made: &File, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let (owner, made_by) = (fs::metadata(folder)?, made.metadata()?);
    if owner.uid() == made_by.uid() {
        return Ok(());
    }
    fchown(made, Some(owner.uid()), Some(owner.gid()))
}

/// Does nothing where files have no owner of this kind.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn give(_made: &File, _folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn others_can_neither_enter_nor_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        make_folder(&deep).expect("made");
        make_folder(&deep).expect("is there");
        assert_eq!(mode(&deep) & 0o007, 0);
        assert_eq!(mode(&folder.path().join("a")) & 0o007, 0);
        let file = deep.join("c");
        open_file(&file).expect("made");
        assert_eq!(mode(&file), 0o600);
        open_file(&file).expect("is there");
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_folder_belongs_to() {
        if !rustix::process::geteuid().is_root() {
            // Only root can make the case.
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        chown(folder.path(), Some(65_534), Some(65_534)).expect("given away");
        let deep = folder.path().join("a/b");
        make_folder(&deep).expect("made");
        open_file(&deep.join("c")).expect("made");
        for path in ["a", "a/b", "a/b/c"] {
            let about = fs::metadata(folder.path().join(path)).expect("exists");
            assert_eq!((about.uid(), about.gid()), (65_534, 65_534), "{path}");
        }
    }
}
