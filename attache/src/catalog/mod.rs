//! What is known of attachments. The catalog decides what exists; the storage only holds bytes.
//!
//! *Record, act, commit*: a row is `pending` before the first byte is stored and `ready` after the last one, and
//! `retired` before bytes are deleted and gone after. Whatever a crash interrupts is therefore named by a row, and
//! [`Catalog::unfinished`] finds it. An upload of several requests is `partial` between them: no process owns it, and
//! [`partial::PartialUploads::expired`] finds it when its time is over.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use moves::MoveNotes;
use partial::PartialUploads;
use workers::Replica;

use crate::access::Owners;
use crate::attachment::{Attachment, AttachmentId, ObjectKey, Owner};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Stored;

pub mod bulk;
pub mod cached;
pub mod config;
pub mod copy;
mod draft;
pub mod moves;
pub mod open;
pub mod partial;
pub mod postgres;
pub(crate) mod range;
pub(crate) mod refusal;
pub mod sqlite;
pub mod url;
pub mod workers;

pub use draft::Draft;

/// Keeps what is known of attachments.
///
/// Every method is one transaction: it happened or it did not, also across a crash of the process or of the machine.
/// Dropping a future leaves the outcome open, as a lost connection to a database would; every method may be repeated.
#[async_trait]
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// The word for it in metrics.
    fn name(&self) -> &'static str;

    /// Records an upload that is about to begin, and reserves its bytes in the same transaction, so that uploads
    /// at the same time cannot overshoot the quota together.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded); [`Conflict`](crate::ErrorKind::Conflict) if the id is
    /// taken, or if an upload with the same idempotency key runs or said something else.
    async fn begin(&self, draft: &Draft) -> Result<Begun>;

    /// Raises the reservation of a pending upload to `bytes` in all.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), and the reservation stays as it was;
    /// [`NotFound`](crate::ErrorKind::NotFound) if the upload was swept away.
    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()>;

    /// The bytes are stored: the attachment is there from now on. The reservation becomes its true size, and the media type
    /// is [settled](crate::attachment::media::settled) by what the bytes turned out to be.
    /// A repeated call returns the first result.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if no such upload is pending; the caller must remove the bytes.
    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment>;

    /// An attachment that is ready. One that this catalog retires is gone when that returns; one that another process
    /// retires may be found for [`MAX_STALENESS`](cached::MAX_STALENESS) longer.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) for all others, pending and retired ones too.
    async fn find(&self, id: &AttachmentId) -> Result<Attachment>;

    /// As [`find`](Self::find), and never from what is remembered: for whoever has found something that does not fit.
    async fn find_uncached(&self, id: &AttachmentId) -> Result<Attachment> {
        self.find(id).await
    }

    /// Ready attachments, newest first.
    async fn list(&self, page: &Page) -> Result<Vec<Attachment>>;

    /// Takes an attachment, or a pending upload, out of sight and frees its share of the quota. Its bytes must go
    /// next, then [`forget`](Self::forget). `None` if there is no row at all.
    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>>;

    /// Retires what this process alone may give up: a pending upload of its own, or what is retired already. What has become an
    /// attachment stays, and so does an upload that another process has [taken over](Self::take_over): with several machines on
    /// one database, a process that was stopped for a while may find that others have taken it for dead.
    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned>;

    /// The bytes of a retired attachment are gone: removes its row. Does nothing to rows that are not retired, nor to
    /// one that another process has retired again since: that process still works under the object's key, and the row
    /// must name what it leaves if it is killed.
    async fn forget(&self, id: &AttachmentId) -> Result<()>;

    /// Rows that no other process works on, except uploads in parts: pending and retired ones whose process is dead, and retired ones of this
    /// process, whose service knows which of them it works on; at most `limit`, those after `after` in the order of
    /// their ids.
    ///
    /// What another living process has retired is left to it, even if its deletion failed: it may be writing under the
    /// object's key, and must find the row still there when it is killed.
    ///
    /// Nobody works on such a row before it has [taken it over](Self::take_over): between the two, it may have changed.
    async fn unfinished(&self, after: Option<&AttachmentId>, limit: u32)
    -> Result<Vec<Unfinished>>;

    /// Makes an unfinished row one of this process: a pending or retired one whose process is dead, a retired one of this process,
    /// a partial one that had expired `now`, which is pending then. `false` if it is none of these, and nothing changes. Of several
    /// processes that ask at the same time one gets it, and the one that had it before can neither commit nor forget it any more.
    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool>;

    /// The processes that have this catalog open and are alive, this one included.
    async fn replicas(&self) -> Result<Vec<Replica>>;

    /// Ready attachments whose object key follows `after`, in ascending order of their keys (of their bytes, as
    /// [`Storage::list`](crate::storage::Storage::list) has it), at most `limit`.
    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>>;

    /// Whether any row names this object: that of an attachment, of an upload that runs or was interrupted, of a
    /// deletion that is not finished.
    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool>;

    /// Brings back the row of an attachment that the catalog lost and whose bytes are there. It counts in the totals
    /// like any other; the quota does not refuse it, because its bytes are in use anyway. Idempotency keys do not come
    /// back.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if the id or the key is taken, and nothing changes. A row that is ready
    /// and says the same is success.
    async fn restore(&self, attachment: &Attachment) -> Result<()>;

    /// Whether the database is whole; reads all of it, which takes about a second for a million attachments.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), saying what is damaged.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Notes what the store calls the versions of ready attachments' objects now; for after a change of what is stored beside
    /// their bytes, or a move of these. Whether there is such an attachment, for each in the same order; nothing is done for others. All
    /// of it or nothing is written, so they are a few hundred at most.
    async fn note_store_tags(&self, tags: Vec<(AttachmentId, Option<String>)>)
    -> Result<Vec<bool>>;

    /// [`note_store_tags`](Self::note_store_tags) of one.
    async fn note_store_tag(&self, id: &AttachmentId, store_tag: Option<&str>) -> Result<bool> {
        let tags = vec![(id.clone(), store_tag.map(str::to_owned))];
        Ok(self.note_store_tags(tags).await?.contains(&true))
    }

    /// How much there is.
    async fn totals(&self) -> Result<Totals>;

    /// The same catalog, for uploads that outlive a request; `None` if it keeps none.
    fn partial(&self) -> Option<&dyn PartialUploads> {
        None
    }

    /// The same catalog, for how far a move of the bytes is; `None` if it does not keep that.
    fn moves(&self) -> Option<&dyn MoveNotes> {
        None
    }

    /// Its connections to a database; `None` for one in a file.
    fn connections(&self) -> Option<Connections> {
        None
    }

    /// Whether the database answers and can be written.
    async fn probe(&self) -> Result<()>;

    /// Waits for writes that run, and closes the database. Later calls fail, saying that it is closed.
    async fn close(&self);
}

/// How an upload began.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// A new row, pending.
    New,
    /// A retry: this is the result of the first try.
    Repeated(Box<Attachment>),
}

/// Which attachments to list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Only those of this owner.
    pub owner: Option<Owner>,
    /// Only those that the caller is allowed to see.
    pub visible: Owners,
    /// Only those older than this one: its time in milliseconds since 1970, and its id.
    pub after: Option<(i64, AttachmentId)>,
    /// How many at most.
    pub limit: u32,
}

/// What became of an upload that its process gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// Its row is retired. Its bytes must go next, then [`forget`](Catalog::forget).
    Retired(ObjectKey),
    /// There is no row. What this process has sent belongs to nobody.
    Gone,
    /// It is an attachment, or another process works on it. Nothing under its key may be touched.
    Kept,
}

/// A row that nobody works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id.
    pub id: AttachmentId,
    /// Where bytes may lie.
    pub key: ObjectKey,
    /// An upload that was interrupted; otherwise a deletion.
    pub upload: bool,
    /// Whether it is one of this process: a deletion that failed.
    pub is_ours: bool,
}

/// Connections to the database of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// All that are open.
    pub open: usize,
    /// Those of them that nobody uses.
    pub idle: usize,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ready attachments.
    pub attachments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes reserved by running uploads.
    pub reserved_bytes: u64,
}

/// A time as catalogs keep it and as listings are ordered: in milliseconds since 1970.
pub(crate) fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// From milliseconds since 1970.
pub(crate) fn instant(ms: i64) -> Result<OffsetDateTime> {
    // Not by its nanoseconds, which would be divisions of 128 bits.
    let part = Duration::from_millis(ms.rem_euclid(1000).unsigned_abs());
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .map(|second| second + part)
        .map_err(|error| {
            Error::internal("a time in the catalog is out of range").with_source(error)
        })
}

/// The integers of databases are signed.
pub(crate) fn signed(bytes: u64) -> Result<i64> {
    i64::try_from(bytes)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "more bytes than can be counted"))
}

/// A count that a database keeps.
pub(crate) fn unsigned(bytes: i64) -> u64 {
    bytes.try_into().unwrap_or(0)
}
