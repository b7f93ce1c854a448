//! Uploads that no process owns: several requests, of several processes, become one attachment.
//!
//! A row that was begun is `pending` while a process works on it. Between two requests it is `partial`: it belongs to nobody,
//! keeps its share of the quota, and outlives every process, until somebody takes it up again, it is retired, or it has expired.
//! Its bytes are an upload in parts at the store ([`Multipart`](crate::storage::multipart::Multipart)).
//!
//! While bytes come the row stays `partial`, and the request that brings them holds the upload by its *epoch*: a number that goes up
//! with each request that [takes](PartialUploads::take) the upload. Whatever it changes names the epoch, so a request that was taken
//! for dead, or was paused for an hour, changes nothing any more. `pending` is only the short while in which one process makes the
//! attachment of it ([`PartialUploads::resume`]).

use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::draft::Draft;
use crate::attachment::filename::Filename;
use crate::attachment::{AttachmentId, Author, ObjectKey, Owner};
use crate::error::Result;
use crate::storage::multipart::{PartReceipt, UploadRef};

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

    /// Uploads that had expired `now` and on which no living process works, and no request of one: at most `limit`, those after `after` in the order
    /// of their ids.
    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>>;

    /// What the store calls the upload in parts of a row that is not ready, also when it is retired; `None` if there is none.
    async fn upload_of(&self, id: &AttachmentId) -> Result<Option<UploadRef>>;

    /// Records an upload that will come in several requests: a row that is `partial` at once, with [`Draft::reserve`] of the quota, and
    /// without bytes.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded) if [`Draft::size`] bytes would not fit;
    /// [`Conflict`](crate::ErrorKind::Conflict) if the id or the key is taken.
    async fn create(&self, draft: &Draft, new: &NewUpload) -> Result<()>;

    /// How far an upload is, whoever works on it; also for a while after it has become an attachment.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, or it had expired `now`.
    async fn look(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<Upload>;

    /// Takes an upload for one request of this process, with a new epoch. If a request of another living process holds it, that one
    /// is asked to let go ([`contested`](Self::contested)), and this returns `None`: unless `force` is set, which takes it anyway.
    ///
    /// # Errors
    ///
    /// As [`look`](Self::look).
    async fn take(
        &self,
        id: &AttachmentId,
        now: OffsetDateTime,
        force: bool,
    ) -> Result<Option<Upload>>;

    /// Records bytes that are stored, and their share of the quota.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if the upload has another epoch by now, or does not end at [`Step::from`];
    /// [`NotFound`](crate::ErrorKind::NotFound) if it is not there; [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded). Nothing has
    /// changed then.
    async fn advance(&self, id: &AttachmentId, step: &Step) -> Result<()>;

    /// The request that took the upload with this epoch has ended. Does nothing if another one has it by now.
    async fn release(&self, id: &AttachmentId, epoch: u64) -> Result<()>;

    /// Which of these uploads, held with these epochs, somebody else waits for, or has taken, or are not there any more.
    async fn contested(&self, held: &[(AttachmentId, u64)]) -> Result<Vec<AttachmentId>>;

    /// What the store gave for the parts of an upload, in the order of their numbers.
    async fn receipts(&self, id: &AttachmentId) -> Result<Vec<PartReceipt>>;

    /// An upload has become an attachment: how far it is can be [looked](Self::look) at until `until`, and its receipts are forgotten.
    async fn completed(&self, id: &AttachmentId, until: OffsetDateTime) -> Result<()>;

    /// Forgets how far uploads were that have become attachments, if they had expired `now`; returns how many.
    async fn forget_completed(&self, now: OffsetDateTime) -> Result<u64>;

    /// Uploads that have all of their bytes and are no attachments, and on which no living process works: those after `after` in the
    /// order of their ids, at most `limit`.
    async fn whole(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<AttachmentId>>;

    /// Uploads that are not complete, in the order of their ids, which is that of their beginnings: those after `after`, at most
    /// `limit`.
    async fn waiting(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Upload>>;

    /// When a direct upload was begun, whatever has become of it since, as long as anything is known of it; `None` for all others.
    async fn direct_since(&self, id: &AttachmentId) -> Result<Option<OffsetDateTime>>;

    /// How many uploads are not complete.
    async fn count_waiting(&self) -> Result<u64>;
}

/// What is known of an upload when it is created, besides its [`Draft`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// What the store calls it.
    pub upload: UploadRef,
    /// All bytes that there will be, if that is known.
    pub length: Option<u64>,
    /// The state of the digests of no bytes.
    pub digests: Vec<u8>,
    /// The client sends it to the store itself.
    pub direct: bool,
    /// What the client says of it, as it was sent.
    pub metadata: String,
    /// The type that the client claims.
    pub claim: Option<String>,
    /// Whose upload it is.
    pub caller: String,
    /// When it may be removed.
    pub expires_at: OffsetDateTime,
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: AttachmentId,
    /// Where its bytes will be stored.
    pub key: ObjectKey,
    /// What the attachment hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// Who uploads.
    pub created_by: Option<Author>,
    /// When it was begun.
    pub created_at: OffsetDateTime,
    /// It has become an attachment.
    pub is_complete: bool,
    /// A request works on it, or one did whose process was killed.
    pub is_held: bool,
    /// What the store calls it; `None` once it is complete.
    pub upload: Option<UploadRef>,
    /// Which request holds it, or held it last.
    pub epoch: u64,
    /// Bytes that are stored.
    pub offset: u64,
    /// All bytes that there will be, if that is known.
    pub length: Option<u64>,
    /// How many parts are stored.
    pub parts: u32,
    /// The first bytes, until the type was told from them.
    pub first: Vec<u8>,
    /// The state of the digests of all bytes that are stored.
    pub digests: Vec<u8>,
    /// See [`NewUpload::direct`].
    pub direct: bool,
    /// See [`NewUpload::metadata`].
    pub metadata: String,
    /// See [`NewUpload::claim`].
    pub claim: Option<String>,
    /// See [`NewUpload::caller`].
    pub caller: String,
    /// When it may be removed, or is forgotten.
    pub expires_at: OffsetDateTime,
}

impl Upload {
    /// All of its bytes are stored.
    pub fn is_whole(&self) -> bool {
        self.length == Some(self.offset)
    }
}

/// Bytes that are stored, or a length that has become known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// With which epoch the upload is held.
    pub epoch: u64,
    /// Bytes that were stored before.
    pub from: u64,
    /// Bytes that are stored now.
    pub offset: u64,
    /// All bytes that there will be, if that has become known.
    pub length: Option<u64>,
    /// What the store gave for them; `None` if they are none.
    pub receipt: Option<PartReceipt>,
    /// See [`Upload::first`].
    pub first: Vec<u8>,
    /// See [`Upload::digests`].
    pub digests: Vec<u8>,
    /// The type, if it was told now.
    pub content_type: Option<String>,
    /// When the upload may be removed.
    pub expires_at: OffsetDateTime,
    /// `upload.total_bytes`.
    pub quota: Option<u64>,
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
