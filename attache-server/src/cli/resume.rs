//! A file as an upload that outlives the command: whatever ended it, the same command goes on where it was.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use attache::attachment::{Hex, NewAttachment};
use attache::catalog::partial::Upload;
use attache::service::{Append, Appended, NewPartial};
use attache::{Attache, Attachment, Error, ErrorKind, Result};
use futures::StreamExt as _;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncSeekExt as _;

use super::input::{chunks, unreadable};
use super::out::note;

/// How many uploads are looked through at a time.
const PAGE: u32 = 1000;

/// By what the same command finds its upload again: which file it is, in which state, and what is to become of it. A file that was
/// changed since is another one, also if its time was set back.
pub(super) fn mark(path: &Path, about: &Metadata, new: &NewAttachment) -> Result<String> {
    let path = path.canonicalize();
    let path = path.map_err(|error| Error::internal("its path is not known").with_source(error))?;
    let mut hasher = Sha256::new();
    let mut add = |part: &[u8]| {
        // Each with its length, so that no two lists of parts read the same.
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(path.as_os_str().as_encoded_bytes());
    for time in [
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    ] {
        add(&time.to_le_bytes());
    }
    add(&about.len().to_le_bytes());
    let owner = new.owner.as_ref().map(ToString::to_string);
    let filename = new.filename.as_ref().map(ToString::to_string);
    for said in [owner, filename, new.content_type.clone()] {
        add(&[u8::from(said.is_some())]);
        add(said.unwrap_or_default().as_bytes());
    }
    Ok(format!("put:{}", Hex::<32>(hasher.finalize().into())))
}

/// The unfinished upload with this mark, the newest one if there are several.
pub(super) async fn unfinished(store: &Attache, mark: &str) -> Result<Option<Upload>> {
    let (mut found, mut after) = (None, None);
    loop {
        let page = store.list_uploads(after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        after = page.last().map(|upload| upload.id.clone());
        found = page
            .into_iter()
            .rfind(|upload| upload.caller == mark && !upload.direct)
            .or(found);
        if is_last {
            return Ok(found);
        }
    }
}

/// How much of an upload is stored, of a hundred.
pub(super) fn percent(upload: &Upload) -> u64 {
    let length = u128::from(upload.length.unwrap_or_default().max(1));
    u64::try_from(u128::from(upload.offset) * 100 / length).unwrap_or_default()
}

/// Stores what is missing of `file`, which has `size` bytes.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict) if another process does the same, and began later; those of [`Attache::append`]. What was stored
/// stays for the next try.
pub(super) async fn send(
    store: &Attache,
    name: &str,
    mark: String,
    new: NewAttachment,
    (mut file, size): (File, u64),
    bar: &ProgressBar,
) -> Result<Attachment> {
    let mut upload = match known(store, &mark).await? {
        Some(upload) => {
            let percent = percent(&upload);
            bar.suspend(|| note(format_args!("{name}: going on at {percent} %")));
            upload
        }
        None => {
            let new = NewPartial {
                new,
                metadata: String::new(),
                caller: mark,
            };
            store.create_upload(new).await?
        }
    };
    while !upload.is_complete {
        let from = upload.offset;
        let append = Append {
            offset: from,
            length: None,
            size: Some(size.saturating_sub(from)),
        };
        file.seek(std::io::SeekFrom::Start(from))
            .await
            .map_err(|error| unreadable(&error))?;
        bar.set_position(from);
        bar.reset_eta();
        let rest = file.try_clone().await.map_err(|error| unreadable(&error))?;
        let mut left = size.saturating_sub(from);
        let body = chunks(rest, bar).map(move |chunk| {
            let chunk = chunk?;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(changed)?;
            Ok(chunk)
        });
        upload = match store.append(upload, append, body).await? {
            Appended::Completed(_, attachment) => return Ok(*attachment),
            Appended::Elsewhere(upload) => upload,
            Appended::Stored(_) => return Err(changed()),
            Appended::Taken => return Err(taken_over()),
        };
    }
    store.find(&upload.id).await
}

/// What a former command has left, with how far it is. If that one still runs, it ends.
async fn known(store: &Attache, mark: &str) -> Result<Option<Upload>> {
    let Some(upload) = unfinished(store, mark).await? else {
        return Ok(None);
    };
    let progress = async {
        let upload = store.find_upload(&upload.id).await?;
        store.upload_progress(upload).await
    };
    match progress.await {
        Ok(upload) => Ok(Some(upload)),
        // It has expired.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn changed() -> Error {
    Error::new(
        ErrorKind::ClientGone,
        "was changed while it was read; put it again",
    )
}

fn taken_over() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another attache put of this file began later, and has taken over",
    )
}
