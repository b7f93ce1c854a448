//! Uploads in parts: a folder for each below `.uploads`, a file for each part.
//!
//! A part is written as an object is, and gets its place by one rename. Its file has a name that no other try has, so that two
//! processes which put the same part at the same time replace nothing of each other. Parts become an object by being copied one after
//! the other, which needs the room of both for that while, and leaves the upload as it was until the object is there. What was
//! begun belongs to no process and stays until it is completed or aborted: [`tidy`](super::tidy) does not look here.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::place::{Place, blocking, locked_temp, sync_folder, sync_parent, write_error};
use super::sidecar::{read_sidecar, sidecar};
use super::spool::WRITE_BYTES;
use super::write::{Claims, publish, temp_of, write_temp};
use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::multipart::{
    Multipart, Part, PartLimits, PartReceipt, UploadRef, no_upload, receipt, receipt_of, whole,
};
use crate::storage::{Blocks, Content, Stored, conflict};
use crate::transfer::body::Body;
use crate::transfer::digests::Digests;

/// Where uploads are, in the root, so that a rename never crosses a file system.
const UPLOADS: &str = ".uploads";

/// How often the place of a part is made, if somebody removes it again.
const KEEP_TRIES: usize = 4;

/// How much of a part is copied before it is looked whether somebody still waits.
const COPY_BYTES: u64 = 16 * 1024 * 1024;

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

    fn part(&self, upload: &UploadRef, part: &PartReceipt) -> PathBuf {
        path_of(&self.folder(upload), part)
    }
}

#[async_trait]
impl Multipart for Uploads {
    fn limits(&self) -> PartLimits {
        PartLimits {
            min_bytes: 0,
            max_bytes: u64::MAX,
            // As a blob of Azure has blocks.
            max_parts: 50_000,
        }
    }

    async fn begin(&self, key: &ObjectKey, _: &Content) -> Result<UploadRef> {
        match tokio::fs::try_exists(self.place.path(key)).await {
            Ok(true) => Err(conflict(key)),
            _ => Ok(UploadRef::generate(key)),
        }
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        blocks: &Blocks,
        body: Body,
    ) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let mut body = body.with_crc64();
        let spooled = write_temp(&self.place, &blocks.budget, &mut body)
            .await
            .map_err(|error| error.during("put_part", upload.key().as_str()))?;
        let receipt = receipt(part, &spooled.digests, try_of_a_part())?;
        let (root, path) = (self.place.0.clone(), self.part(upload, &receipt));
        blocking(move || {
            // Locked until it has its place.
            let (_held, bytes) = spooled.on_disk()?;
            keep(&root, bytes, &path)
        })
        .await
        .map_err(|error| {
            write_error(error, "put_part").during("put_part", upload.key().as_str())
        })?;
        Ok(receipt)
    }

    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let receipt = receipt_of(part, &bytes, try_of_a_part())?;
        let (place, path) = (self.place.clone(), self.part(upload, &receipt));
        blocking(move || {
            let mut file = temp_of(&place)?;
            file.write_all(&bytes)?;
            drop(bytes);
            file.as_file().sync_all()?;
            let (_held, temp) = file.into_parts();
            keep(&place.0, temp, &path)
        })
        .await
        .map_err(|error| {
            write_error(error, "put_part").during("put_part", upload.key().as_str())
        })?;
        Ok(receipt)
    }

    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
        known: &Digests,
    ) -> Result<Stored> {
        let stored = whole(parts, known)?;
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

/// What the file of one try at a part is called, besides its number.
fn try_of_a_part() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn path_of(folder: &Path, part: &PartReceipt) -> PathBuf {
    // Receipts come back from whoever keeps them; one without a name, or with a wrong one, names no file.
    let tag = part.tag.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    folder.join(format!("{}-{tag}", part.number))
}

/// Gives a part that was written its place, which is made if this is the first one. Another part may make it at the same time, and
/// somebody who gives the upload up may remove it.
fn keep(root: &Path, mut bytes: tempfile::TempPath, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    for _ in 0..KEEP_TRIES {
        bytes = match bytes.persist(path) {
            Ok(()) => return sync_folder(folder),
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => error.path,
            Err(error) => return Err(error.error),
        };
        private::make_folder(&root.join(UPLOADS))?;
        private::make_folder(folder)?;
        sync_parent(folder)?;
        sync_folder(root)?;
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Writes `parts` one after the other, and flushes them to disk. `NotFound` for one that is not there, or not as long as its receipt
/// says. The kernel copies them, and nobody reads them: no other try ever had their names. Looks now and then whether somebody still
/// waits for it.
fn join(
    folder: &Path,
    parts: &[PartReceipt],
    whole: &mut fs::File,
    waits: &Weak<()>,
) -> io::Result<()> {
    for part in parts {
        let file = fs::File::open(path_of(folder, part))?;
        let mut left = part.size;
        while left > 0 {
            if waits.strong_count() == 0 {
                return Err(io::Error::other("nobody waits for it any more"));
            }
            let copied = io::copy(&mut (&file).take(left.min(COPY_BYTES)), whole)?;
            if copied == 0 {
                return Err(io::ErrorKind::NotFound.into());
            }
            left -= copied;
        }
        if file.metadata()?.len() != part.size {
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
