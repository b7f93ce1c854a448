//! How an object is opened: at once where the system knows it, and otherwise by a thread that may wait for the disk.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use super::place::{Place, blocking};
use super::sidecar::{info, read_sidecar};
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, Result};
use crate::storage::file::{ObjectFile, read_error};
use crate::storage::{Object, absent, resolve_range};

pub(super) async fn get(
    place: &Place,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Object> {
    let (path, facts_path) = (place.path(key), place.facts_path(key));
    let opened = blocking(move || Ok((open_object(&path)?, read_sidecar(&facts_path)))).await;
    let ((file, about), sidecar) = opened.map_err(|error| unopened(error, key, "get"))?;
    let file = ObjectFile::new(file, &about);
    let range = resolve_range(range, file.size())?;
    Ok(Object {
        info: info(key.clone(), file.size(), sidecar),
        range,
        body: file.bytes(range),
    })
}

pub(super) async fn open(place: &Place, key: &ObjectKey) -> Result<ObjectFile> {
    let path = place.path(key);
    let opened = match open_known(&path) {
        Some(opened) => opened,
        None => blocking(move || open_object(&path)).await,
    };
    let (file, about) = opened.map_err(|error| unopened(error, key, "open"))?;
    Ok(ObjectFile::new(file, &about))
}

fn unopened(error: io::Error, key: &ObjectKey, operation: &'static str) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => absent(key),
        _ => read_error(error).during(operation, key.as_str()),
    }
}

/// Opens an object for reading: a regular file. What is not one was not stored by us, and is not an object: a link is not followed,
/// and nobody waits for something to be written into a pipe.
pub(super) fn open_object(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    let file = match options.open(path) {
        // A link, by the flag above.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::ErrorKind::NotFound.into());
        }
        outcome => outcome?,
    };
    regular(file)
}

/// As [`open_object`], where the system has all that this takes in memory (`RESOLVE_CACHED`, openat2(2), Linux 5.12); it does not wait for a
/// disk. `None` if it would, cannot tell, or has something to say that the other tells better.
#[cfg(target_os = "linux")]
fn open_known(path: &Path) -> Option<io::Result<(File, Metadata)>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    Some(regular(File::from(file)))
}

#[cfg(not(target_os = "linux"))]
fn open_known(_: &Path) -> Option<io::Result<(File, Metadata)>> {
    None
}

fn regular(file: File) -> io::Result<(File, Metadata)> {
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, about)),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}
