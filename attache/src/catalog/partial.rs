//! Uploads that no process owns: several requests, of several processes, become one attachment.
//!
//! A row that was begun is `pending` while a process works on it. Between two requests it is `partial`: it belongs to nobody,
//! keeps its share of the quota, and outlives every process, until somebody takes it up again, it is retired, or it has expired.
//! Its bytes are an upload in parts at the store ([`Multipart`](crate::storage::multipart::Multipart)).

use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::attachment::filename::Filename;
use crate::attachment::{AttachmentId, Author, ObjectKey, Owner};
use crate::error::Result;
use crate::storage::multipart::UploadRef;

/// Keeps uploads between the requests that they are made of.
///
/// As for the [`Catalog`](super::Catalog): every method is one transaction and may be repeated.
#[async_trait]
pub trait PartialUploads: fmt::Debug + Send + Sync {
    /// Lets go of a pending upload of this process: it is `partial` until `expires_at`. For one that is `partial` already, its
    /// end changes.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if no such upload is pending here or partial.
    async fn suspend(
        &self,
        id: &AttachmentId,
        upload: &UploadRef,
        expires_at: OffsetDateTime,
    ) -> Result<()>;

    /// Takes an upload up: it is `pending`, of this process, and goes on as one that was begun, to `reserve` and `commit`. Of
    /// several that ask at the same time one gets it. One whose process has died is there to be taken up, too.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, or it has expired; [`Conflict`](crate::ErrorKind::Conflict) if
    /// a living process works on it, this one included.
    async fn resume(&self, id: &AttachmentId) -> Result<PartialUpload>;

    /// Uploads that had expired `now` and on which no living process works: at most `limit`, those after `after` in the order
    /// of their ids.
    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>>;

    /// What the store calls the upload in parts of a row that is not ready, also when it is retired; `None` if there is none.
    async fn upload_of(&self, id: &AttachmentId) -> Result<Option<UploadRef>>;
}

/// An upload that was taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialUpload {
    /// Its id.
    pub id: AttachmentId,
    /// Where its bytes will be stored.
    pub key: ObjectKey,
    /// What the store calls it.
    pub upload: UploadRef,
    /// When it may be removed.
    pub expires_at: OffsetDateTime,
    /// What the attachment hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type that was decided.
    pub content_type: String,
    /// Who uploads.
    pub created_by: Option<Author>,
    /// When it was begun.
    pub created_at: OffsetDateTime,
    /// Its share of the quota, in bytes.
    pub reserved: u64,
}
