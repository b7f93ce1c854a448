//! All that a catalog holds, read and written many rows at a time: for copies from one database into another.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Catalog;
use crate::access::access_keys::AccessKeyStore;
use crate::access::sealed::SealedStore;
use crate::attachment::filename::Filename;
use crate::attachment::{AttachmentId, Author, Hex, IdempotencyKey, ObjectKey, Owner};
use crate::error::Result;
use crate::storage::multipart::{PartReceipt, UploadRef};

/// What rows that a copy has written name as their process. No process is called so, and whatever a server does to a row changes
/// it; so a copy knows its own rows again, and touches no others.
pub const COPIED: &str = "copy";

/// A catalog that can be copied from and into. Tokens, access keys and sealed keys go by [`TokenStore`](crate::access::tokens::TokenStore),
/// [`AccessKeyStore`] and [`SealedStore`].
///
/// Every method may be repeated, and its future may be dropped: each row is then written with its share of the totals, or not at
/// all.
#[async_trait]
pub trait Bulk: Catalog + AccessKeyStore + SealedStore {
    /// Rows that outlive every process (ready ones, and uploads in parts between two requests), in the order of their ids: those
    /// after `after`, at most `limit`.
    async fn rows(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Row>>;

    /// Writes rows as [`COPIED`] ones, in place of copied ones of the same ids, and counts them in the totals. No quota refuses
    /// them. A thousand at a time at most.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict), naming an id that belongs to a row which no copy has written, or whose object does.
    async fn put_rows(&self, rows: Vec<Row>) -> Result<()>;

    /// Removes copied rows, and their share of the totals. Leaves all others.
    async fn remove_rows(&self, ids: Vec<AttachmentId>) -> Result<()>;

    /// Any row that no copy has written, whatever its state; may read the whole table.
    async fn row_of_its_own(&self) -> Result<Option<AttachmentId>>;

    /// How many uploads and deletions a process works on, or did when it was killed.
    async fn in_progress(&self) -> Result<u64>;

    /// The sessions that were ended before their time: the hash of each, and when it would have ended by itself, in seconds
    /// since 1970.
    async fn session_ends(&self) -> Result<Vec<([u8; 32], i64)>>;

    /// All rows are about to be read, and many may have been written lately: gathers what the database plans its reads by, if it plans
    /// by anything.
    async fn take_stock(&self) -> Result<()> {
        Ok(())
    }

    /// For how long a process that was killed is still among [`Catalog::replicas`].
    fn mourning(&self) -> Duration;
}

/// A row, with all that it says apart from which process has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: AttachmentId,
    /// Where its bytes are stored, or will be.
    pub key: ObjectKey,
    /// What the attachment hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type; of a ready row the settled one.
    pub content_type: String,
    /// When it was begun, to the millisecond.
    pub created_at: OffsetDateTime,
    /// Who uploads.
    pub created_by: Option<Author>,
    /// Makes retries return the first result.
    pub idempotency_key: Option<IdempotencyKey>,
    /// How far it is.
    pub state: State,
}

/// How far a row is, and what is known only then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// An attachment.
    Ready {
        /// Its length in bytes.
        size: u64,
        /// Of the bytes.
        sha256: Hex<32>,
        /// Of the bytes, if it is known.
        md5: Option<Hex<16>>,
        /// CRC-64/NVME, if it is known.
        crc64: Option<u64>,
        /// What the store called this version, if it names versions.
        store_tag: Option<String>,
    },
    /// An upload in parts that no process owns.
    Partial {
        /// What the store calls it.
        upload: UploadRef,
        /// When it may be removed.
        expires_at: OffsetDateTime,
        /// Its share of the quota, in bytes.
        reserved: u64,
        /// How far it is; `None` if it was not [created](super::partial::PartialUploads::create) as one of several requests.
        progress: Option<Box<Progress>>,
    },
}

/// How far an upload of several requests is, apart from the request that works on it: see [`Upload`](super::partial::Upload).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are stored.
    pub offset: u64,
    /// All bytes that there will be, if that is known.
    pub length: Option<u64>,
    /// What the store gave for its parts.
    pub receipts: Vec<PartReceipt>,
    /// The first bytes, until the type was told from them.
    pub first: Vec<u8>,
    /// The state of its digests.
    pub digests: Vec<u8>,
    /// The client sends it to the store itself.
    pub direct: bool,
    /// As the client sent it.
    pub metadata: String,
    /// The type that the client claims.
    pub claim: Option<String>,
    /// Whose upload it is.
    pub caller: String,
}

impl Row {
    /// The bytes that it takes of the quota.
    pub fn charged_bytes(&self) -> u64 {
        match &self.state {
            State::Ready { size, .. } => *size,
            State::Partial { reserved, .. } => *reserved,
        }
    }

    /// Whether it is an attachment.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }
}

impl fmt::Display for State {
    /// As the databases call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready { .. } => "ready",
            Self::Partial { .. } => "partial",
        })
    }
}
