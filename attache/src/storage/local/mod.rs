//! Objects as files in a folder.
//!
//! An object is two files: its bytes under its key, where a web server can serve them, and its facts in
//! `.facts/` beside them. An object *exists* when its bytes do; they appear by a rename after they and the
//! facts were flushed to disk, so a crash leaves either the whole object or litter that [`Storage::tidy`] removes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::{
    Content, Facts, Grant, Object, ObjectInfo, Offer, Probe, Storage, Stored, absent, conflict,
    resolve_range,
};
use crate::attachment::{ByteRange, Hex, ObjectKey};
use crate::config::value::FilePath;
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::section;
use crate::transfer::body::{Body, Digests};

mod list;
mod reading;

section! {
    /// `[storage.local]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LocalConfig in "storage.local" {
        /// The folder that holds the files.
        root: PathBuf = PathBuf::from("attache-data/objects") => FilePath,
    }
}

/// How much is written to a file at once. 256 KiB amortises the hop to the thread that writes; measured, larger
/// pieces gain nothing.
const WRITE_BYTES: usize = 256 * 1024;

/// Where writes in progress lie, in the root, so that a rename never crosses a file system.
const TEMP: &str = ".tmp";

/// Tells a folder that objects were stored in from the empty mount point of a disk that is missing: an empty folder, so that
/// whoever counts files counts objects.
const MARKER: &str = ".attache";

/// Where facts lie.
const FACTS: &str = ".facts";

/// The folders of [`ObjectKey`], in ascending order.
const FOLDERS: [&str; 2] = ["attachment", "user"];

/// Keeps objects as files in a folder.
#[derive(Debug)]
pub struct LocalStorage {
    root: PathBuf,
    /// Keys that are being written by this process, so that two writers cannot mix bytes and facts. Ids are unique in
    /// the catalog, so other processes never write the same key.
    writing: Arc<Mutex<HashSet<ObjectKey>>>,
}

/// The content of a `.facts` file.
#[derive(Serialize, Deserialize)]
struct Sidecar {
    #[serde(flatten)]
    facts: Facts,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc64: Option<String>,
}

impl LocalStorage {
    /// Opens the folder, and makes it if it does not exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the folder can be neither made nor written.
    pub fn open(config: &LocalConfig) -> Result<Self> {
        let wrong = |error: io::Error| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "cannot use the folder {}: {error}; fix its permissions or set storage.local.root",
                    config.root.display()
                ),
            )
            .during("open", "local storage")
        };
        make_folders(&config.root).map_err(wrong)?;
        let root = config.root.canonicalize().map_err(wrong)?;
        for made in [root.join(FACTS), root.clone()] {
            sync_folder(&made).map_err(wrong)?;
        }
        Ok(Self {
            root,
            writing: Arc::default(),
        })
    }

    /// The file of a key. A key has one of two folders and one plain name, so this cannot leave the root.
    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn facts_path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(FACTS).join(format!("{key}.json"))
    }

    fn claim(&self, key: &ObjectKey) -> Option<Claim> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.insert(key.clone()).then(|| Claim {
            writing: self.writing.clone(),
            key: key.clone(),
        })
    }

    /// The file stays open, and so locked, until it has its place.
    async fn write_temp(
        &self,
        body: &mut Body,
    ) -> Result<(tokio::fs::File, tempfile::TempPath, Digests)> {
        let (root, temp) = (self.root.clone(), self.root.join(TEMP));
        let (file, path) = blocking(move || {
            let file = match locked_temp(&temp, "put-") {
                // A copy without hidden files, or a folder that was cleaned too well.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !root.join(MARKER).exists() {
                        return Err(error);
                    }
                    make_folders(&root)?;
                    locked_temp(&temp, "put-")?
                }
                outcome => outcome?,
            };
            Ok(file.into_parts())
        })
        .await
        .map_err(|error| write_error(error, "put"))?;
        // Dropping the file and the path at any await removes the file.
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(WRITE_BYTES);
        while let Some(chunk) = body.next().await {
            file.write_all(&chunk?)
                .await
                .map_err(|error| write_error(error, "put"))?;
        }
        let digests = body
            .digests()
            .ok_or_else(|| Error::internal("the body ended without digests"))?;
        file.flush()
            .await
            .map_err(|error| write_error(error, "put"))?;
        file.sync_all()
            .await
            .map_err(|error| write_error(error, "put"))?;
        Ok((file, path, digests))
    }
}

/// Makes the folders of a store that are missing.
fn make_folders(root: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        private::make_folder(&root.join(folder))?;
        private::make_folder(&root.join(FACTS).join(folder))?;
    }
    private::make_folder(&root.join(TEMP))
}

/// A key that is being written; free again when dropped.
struct Claim {
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

#[async_trait]
impl Storage for LocalStorage {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, mut body: Body) -> Result<Stored> {
        let claim = self.claim(key).ok_or_else(|| conflict(key))?;
        let (path, facts_path) = (self.path(key), self.facts_path(key));
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Err(conflict(key));
        }
        let (file, bytes, digests) = self
            .write_temp(&mut body)
            .await
            .map_err(|error| error.during("put", key.as_str()))?;
        let sidecar = sidecar(&content.settled(digests.utf8).facts, &digests.into())?;
        let temp = self.root.join(TEMP);
        // From here on it runs to its end, even if the caller leaves: the claim goes with it.
        blocking(move || {
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

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        let claim = self.claim(key).ok_or_else(|| conflict(key))?;
        let (path, facts_path) = (self.path(key), self.facts_path(key));
        let sidecar = sidecar(&content.facts, stored)?;
        let temp = self.root.join(TEMP);
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

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        let (path, facts_path) = (self.path(key), self.facts_path(key));
        let opened = blocking(move || {
            let (file, size) = open_object(&path)?;
            Ok((file, size, read_sidecar(&facts_path)))
        })
        .await;
        let (file, size, sidecar) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => absent(key),
            _ => read_error(error).during("get", key.as_str()),
        })?;
        let range = resolve_range(range, size)?;
        Ok(Object {
            info: info(key.clone(), size, sidecar),
            range,
            body: Body::new(reading::read(file, range)),
        })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let (path, facts_path) = (self.path(key), self.facts_path(key));
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

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        let root = self.root.clone();
        let folders: Vec<&'static str> = FOLDERS
            .into_iter()
            .filter(|folder| {
                let of = after
                    .as_ref()
                    .and_then(|key| key.as_str().split('/').next());
                of.is_none_or(|of| *folder >= of)
            })
            .collect();
        // Folders ascend, and each is read when its turn comes.
        stream::iter(folders)
            .map(move |folder| {
                let (root, after) = (root.clone(), after.clone());
                stream::try_unfold(None, move |keys| {
                    next_piece(root.clone(), folder, after.clone(), keys)
                })
            })
            .flatten()
            .map(|piece: Result<Vec<ObjectInfo>>| match piece {
                Ok(piece) => stream::iter(piece.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .flatten()
            .boxed()
    }

    async fn offer(&self, key: &ObjectKey, _grant: &Grant) -> Result<Option<Offer>> {
        Ok(Some(Offer::InternalPath(key.to_string())))
    }

    async fn probe(&self) -> Result<Probe> {
        let temp = self.root.join(TEMP);
        // Asks instead of writing: strangers may make us look as often as once a second.
        blocking(move || writable(&temp))
            .await
            .map_err(|error| write_error(error, "probe").during("probe", "local storage"))?;
        Ok(Probe {
            summary: "local storage can be written".to_owned(),
            clock_skew_s: None,
        })
    }

    async fn is_in_place(&self, begin: bool) -> Result<bool> {
        let root = self.root.clone();
        blocking(move || {
            let marker = root.join(MARKER);
            if marker.exists() {
                return Ok(true);
            }
            // One of an earlier version, or a copy without hidden files.
            let mut used = begin;
            for folder in FOLDERS {
                used = used
                    || fs::read_dir(root.join(folder))
                        .is_ok_and(|mut found| found.next().is_some());
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

    async fn tidy(&self) -> Result<u64> {
        let root = self.root.clone();
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
                    let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json"))
                    else {
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
}

/// Whether files may be made in `folder`, and there is room for one.
#[cfg(unix)]
fn writable(folder: &Path) -> io::Result<()> {
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
fn writable(folder: &Path) -> io::Result<()> {
    locked_temp(folder, "probe-").map(|_| ())
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

/// A new file for writing, locked against [`Storage::tidy`] of any process.
fn locked_temp(folder: &Path, prefix: &str) -> io::Result<tempfile::NamedTempFile> {
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

/// How many objects a listing holds in memory.
const PIECE: usize = 1000;

/// Some objects of a folder, and the keys that are left; reads the folder at first.
async fn next_piece(
    root: PathBuf,
    folder: &'static str,
    after: Option<ObjectKey>,
    keys: Option<list::Keys>,
) -> Result<Option<(Vec<ObjectInfo>, Option<list::Keys>)>> {
    blocking(move || {
        let mut keys = match keys {
            Some(keys) => keys,
            None => list::keys(&root, folder, after.as_ref(), &root.join(TEMP))?,
        };
        let next = keys.take(PIECE)?;
        if next.is_empty() {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(next.len());
        for key in next {
            match fs::symlink_metadata(root.join(key.as_str())) {
                // What is not a file was not stored by us; reading it may never end, or lead elsewhere.
                Ok(meta) if meta.is_file() => {
                    let sidecar = read_sidecar(&root.join(FACTS).join(format!("{key}.json")));
                    piece.push(info(key, meta.len(), sidecar));
                }
                Ok(_) => tracing::warn!(%key, "skipped: not a regular file"),
                // Deleted while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some((piece, Some(keys))))
    })
    .await
    .map_err(|error| read_error(error).during("list", "local storage"))
}

/// Opens an object for reading: a regular file. What is not one was not stored by us, and is not an object: a link is not followed,
/// and nobody waits for something to be written into a pipe.
fn open_object(path: &Path) -> io::Result<(fs::File, u64)> {
    let mut options = fs::OpenOptions::new();
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
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn publish(
    temp: &Path,
    bytes: tempfile::TempPath,
    sidecar: &[u8],
    path: &Path,
    facts_path: &Path,
) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    write_sidecar(temp, sidecar, facts_path)?;
    if let Err(error) = bytes.persist_noclobber(path) {
        let _ = fs::remove_file(facts_path);
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

/// Atomic: there are the old facts, or the new ones.
fn write_sidecar(temp: &Path, sidecar: &[u8], facts_path: &Path) -> io::Result<()> {
    let mut facts = locked_temp(temp, "facts-")?;
    io::Write::write_all(&mut facts, sidecar)?;
    facts.as_file().sync_all()?;
    facts.persist(facts_path).map_err(|error| error.error)?;
    sync_parent(facts_path)
}

fn sidecar(facts: &Facts, stored: &Stored) -> Result<Vec<u8>> {
    serde_json::to_vec(&Sidecar {
        facts: facts.clone(),
        size: stored.size,
        sha256: stored.sha256.map(|hex| hex.to_string()),
        md5: stored.md5.map(|hex| hex.to_string()),
        crc64: stored.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string()),
    })
    .map_err(|error| Error::internal("cannot write the metadata as JSON").with_source(error))
}

fn read_sidecar(path: &Path) -> Option<Sidecar> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn info(key: ObjectKey, size: u64, sidecar: Option<Sidecar>) -> ObjectInfo {
    let mut info = ObjectInfo {
        key,
        size,
        facts: None,
        sha256: None,
        md5: None,
        crc64: None,
        facts_size: None,
        store_tag: None,
        archived: false,
    };
    if let Some(sidecar) = sidecar {
        info.sha256 = sidecar.sha256.and_then(|hex| hex.parse().ok());
        info.md5 = sidecar.md5.and_then(|hex| hex.parse().ok());
        info.crc64 = sidecar
            .crc64
            .and_then(|hex| hex.parse::<Hex<8>>().ok())
            .map(|hex| u64::from_be_bytes(hex.0));
        info.facts_size = Some(sidecar.size);
        info.facts = Some(sidecar.facts);
    }
    info
}

/// Makes a rename or a removal in this folder survive a power failure.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn write_error(error: io::Error, operation: &'static str) -> Error {
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

fn read_error(error: io::Error) -> Error {
    Error::internal("local storage: reading failed").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn tidy_takes_no_file_from_a_writer_that_has_just_locked_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        let temp = storage.root.join(TEMP);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let tidy = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime = runtime.expect("a runtime");
                while !done.load(Ordering::Relaxed) {
                    runtime.block_on(storage.tidy()).expect("tidied");
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
