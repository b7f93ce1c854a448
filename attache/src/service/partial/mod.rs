//! Uploads of several requests: created by one, brought by others, of any process, and made an attachment when the last byte is there.
//!
//! The order is always: bytes durable at the store, then recorded in the catalog, then told to the client. What a client was told is
//! therefore there, whichever process answers next; what was not recorded does not count, and is removed with the upload.

mod append;
mod chunk;
mod create;
mod direct;
mod finish;
mod hold;

pub use append::{Append, Appended};
pub use create::NewPartial;
pub use direct::DirectPut;

use std::time::Duration;

use time::OffsetDateTime;

use super::remove::Removal;
use super::{Attache, Parts};
use crate::attachment::AttachmentId;
use crate::catalog::partial::{PartialUploads, Upload};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::trace;
use crate::storage::Facts;
use crate::storage::multipart::Multipart;

/// How long a question about an upload waits for one that is about to become an attachment. A client that is told nothing asks again.
const FINISH_PATIENCE: Duration = Duration::from_secs(20);

impl Attache {
    /// How far an upload that was found is. Ends a request that brings bytes of it, and counts what that one has stored: the client that asks has
    /// given it up. One whose bytes are all there becomes an attachment first, if a crash has kept it from that.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none, it has expired, or it was complete long enough ago;
    /// [`Busy`](ErrorKind::Busy) if its end takes too long; those of storage and catalog.
    pub async fn upload_progress(&self, upload: Upload) -> Result<Upload> {
        if upload.is_complete || upload.direct {
            return Ok(upload);
        }
        if upload.is_whole() {
            return self.finished(upload).await;
        }
        if !upload.is_held && !self.0.holds.is_held(&upload.id) {
            return Ok(upload);
        }
        let hold = self.hold(&upload.id).await?;
        let upload = hold.upload.clone();
        hold.release().await;
        match upload.is_whole() && !upload.is_complete {
            true => self.finished(upload).await,
            false => Ok(upload),
        }
    }

    async fn finished(&self, upload: Upload) -> Result<Upload> {
        let finish = self.finish_upload(&upload.id);
        match tokio::time::timeout(FINISH_PATIENCE, finish).await {
            Ok(finished) => finished?,
            Err(_) => return Err(still_finishing()),
        };
        Ok(Upload {
            is_complete: true,
            ..upload
        })
    }

    /// What is known of an upload, without any effect on it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound); those of the catalog.
    pub async fn find_upload(&self, id: &AttachmentId) -> Result<Upload> {
        self.partials()?.look(id, OffsetDateTime::now_utc()).await
    }

    /// Uploads that are not complete, in the order of their beginnings: those after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// Those of the catalog.
    pub async fn list_uploads(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Upload>> {
        self.partials()?.waiting(after, limit).await
    }

    /// Gives an upload up: a request that brings bytes of it ends, and everything of it is removed. Runs to its end even if this
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none, or it is an attachment already; those of storage and catalog, and the
    /// sweep finishes.
    pub async fn cancel_upload(&self, id: &AttachmentId) -> Result<()> {
        let (this, id, parts) = (self.clone(), id.clone(), self.parts());
        let task = self.0.tasks.spawn(trace::carried(async move {
            this.in_place(&parts).await?;
            let hold = this.hold(&id).await?;
            if hold.upload.is_complete {
                hold.release().await;
                return Err(Error::not_found(id.as_str()));
            }
            let lock = this.0.removal_locks.lock(&id).await;
            let taken = this
                .take_away(&parts, &id, lock, Removal::Attachment, || {})
                .await;
            hold.release().await;
            taken.map(drop)
        }));
        task.await
            .map_err(|error| Error::internal("giving up an upload failed").with_source(error))?
    }

    /// The catalog, for uploads of several requests.
    fn partials(&self) -> Result<&dyn PartialUploads> {
        let partials = self.0.catalog.partial();
        partials.ok_or_else(|| unsupported("this catalog"))
    }
}

/// The store, for uploads of several requests.
fn store(parts: &Parts) -> Result<&dyn Multipart> {
    let store = parts.storage.multipart();
    store.ok_or_else(|| unsupported("this store"))
}

/// What the store keeps of an upload.
fn facts(upload: &Upload, content_type: String) -> Facts {
    Facts {
        id: upload.id.clone(),
        owner: upload.owner.clone(),
        filename: upload.filename.clone(),
        content_type,
        created_at: upload.created_at,
        created_by: upload.created_by.clone(),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{what} takes no uploads of several requests; use POST /v1/attachments"),
    )
}

fn still_finishing() -> Error {
    Error::new(
        ErrorKind::Busy,
        "all bytes are there, and the attachment is being made of them; ask again",
    )
    .retry_after(Duration::from_secs(2))
}
