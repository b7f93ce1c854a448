//! Uploads in parts: a folder for each below `.uploads`, a file for each part.
//!
//! A part is written as an object is, and gets its place by one rename. They become an object by being copied one after the
//! other, which needs the room of both for that while, and leaves the upload as it was until the object is there. What was
//! begun belongs to no process and stays until it is completed or aborted: [`tidy`](super::tidy) does not look here.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::place::{Place, blocking, locked_temp, sync_folder, sync_parent, write_error};
use super::sidecar::{read_sidecar, sidecar};
use super::write::{Claims, WRITE_BYTES, publish, write_temp};
use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::multipart::{
    Multipart, Part, PartLimits, PartReceipt, UploadRef, no_upload, receipt, whole,
};
use crate::storage::{Blocks, Content, Stored, conflict};
use crate::transfer::body::Body;
use crate::transfer::digests::{crc64, crc64_of_two};

/// Where uploads are, in the root, so that a rename never crosses a file system.
const UPLOADS: &str = ".uploads";

/// Takes uploads in parts for one folder.
#[derive(Debug)]
pub(super) struct Uploads {
    place: Place,
    claims: Claims,
}

impl Uploads {
    pub(super) fn new(place: Place, claims: Claims) -> Self {
        Self { place, claims }
    }

    fn folder(&self, upload: &UploadRef) -> PathBuf {
        // A token has no slash, and does not begin with a dot.
        self.place.0.join(UPLOADS).join(upload.token())
    }
}

#[async_trait]
impl Multipart for Uploads {
    fn limits(&self) -> PartLimits {
        PartLimits {
            min_bytes: 0,
            max_bytes: u64::MAX,
            max_parts: 10_000,
        }
    }

    async fn begin(&self, key: &ObjectKey, _: &Content) -> Result<UploadRef> {
        let upload = UploadRef::generate(key);
        let (root, path, folder) = (
            self.place.0.clone(),
            self.place.path(key),
            self.folder(&upload),
        );
        blocking(move || {
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            private::make_folder(&root.join(UPLOADS))?;
            private::make_folder(&folder)?;
            sync_parent(&folder)?;
            sync_folder(&root)
        })
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => conflict(key),
            _ => write_error(error, "begin").during("begin", key.as_str()),
        })?;
        Ok(upload)
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        blocks: &Blocks,
        body: Body,
    ) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let _memory = blocks.budget.acquire(WRITE_BYTES as u64).await?;
        let mut body = body.with_crc64();
        let written = write_temp(&self.place, &mut body).await;
        let (file, bytes, digests) =
            written.map_err(|error| error.during("put_part", upload.key().as_str()))?;
        let receipt = receipt(part, &digests, String::new())?;
        let path = path_of(&self.folder(upload), part.number);
        blocking(move || {
            // Locked until it has its place.
            let _held = file;
            bytes.persist(&path).map_err(|error| error.error)?;
            sync_parent(&path)
        })
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_upload(upload),
            _ => write_error(error, "put_part").during("put_part", upload.key().as_str()),
        })?;
        Ok(receipt)
    }

    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
    ) -> Result<Stored> {
        let stored = whole(parts)?;
        let key = upload.key();
        let claim = self.claims.claim(key).ok_or_else(|| {
            Error::new(ErrorKind::Busy, "another call is completing this upload")
                .during("complete", key.as_str())
                .retry_after(Duration::from_secs(1))
        })?;
        let memory = content.blocks.budget.acquire(WRITE_BYTES as u64).await?;
        let sidecar = sidecar(
            &content.settled(stored.utf8).facts,
            &stored,
            Some(upload.token()),
        )?;
        let (folder, temp) = (self.folder(upload), self.place.temp());
        let (path, facts_path) = (self.place.path(key), self.place.facts_path(key));
        let (token, parts) = (upload.token().to_owned(), parts.to_vec());
        // Copying ends with the caller; what follows it runs to its end.
        let caller = Arc::new(());
        let waits = Arc::downgrade(&caller);
        blocking(move || {
            let _held = (claim, memory);
            if path.exists() {
                let made_of = read_sidecar(&facts_path).and_then(|sidecar| sidecar.upload);
                if made_of.as_ref() != Some(&token) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
            } else {
                let mut whole = locked_temp(&temp, "put-")?;
                join(&folder, &parts, whole.as_file_mut(), &waits)?;
                // The file stays open, and so locked, until it has its place.
                let (_file, bytes) = whole.into_parts();
                publish(&temp, bytes, &sidecar, &path, &facts_path)?;
            }
            // The object is there, and a second call removes what this one could not.
            remove(&folder)
        })
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_upload(upload),
            io::ErrorKind::AlreadyExists => conflict(key),
            _ => write_error(error, "complete").during("complete", key.as_str()),
        })?;
        drop(caller);
        Ok(stored)
    }

    async fn abort(&self, upload: &UploadRef) -> Result<()> {
        let folder = self.folder(upload);
        blocking(move || remove(&folder))
            .await
            .map_err(|error| write_error(error, "abort").during("abort", upload.key().as_str()))
    }
}

fn path_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(number.to_string())
}

/// Writes `parts` one after the other, and flushes them to disk. `NotFound` for one that is not what its receipt says.
/// Looks now and then whether somebody still waits for it.
fn join(
    folder: &Path,
    parts: &[PartReceipt],
    whole: &mut fs::File,
    waits: &Weak<()>,
) -> io::Result<()> {
    // An upload without parts has a folder, too.
    fs::metadata(folder)?;
    let mut buffer = vec![0; WRITE_BYTES];
    for part in parts {
        let mut file = fs::File::open(path_of(folder, part.number))?;
        let (mut size, mut crc) = (0, crc64(&[]));
        loop {
            if waits.strong_count() == 0 {
                return Err(io::Error::other("nobody waits for it any more"));
            }
            let got = file.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            whole.write_all(&buffer[..got])?;
            size += got as u64;
            crc = crc64_of_two(crc, crc64(&buffer[..got]), got as u64);
        }
        // It was put again meanwhile.
        if (size, crc) != (part.size, part.crc64) {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    whole.sync_all()
}

/// Removes an upload with its parts. One that is not there is success.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Ok(()) => sync_parent(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
