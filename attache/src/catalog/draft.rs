//! What is recorded of an upload before its first byte.

use time::OffsetDateTime;

use crate::attachment::filename::Filename;
use crate::attachment::{AttachmentId, Author, IdempotencyKey, ObjectKey, Owner};

/// An upload that is about to begin.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its id.
    pub id: AttachmentId,
    /// Where its bytes will lie.
    pub key: ObjectKey,
    /// What it hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type that was decided.
    pub content_type: String,
    /// Who uploads.
    pub created_by: Option<Author>,
    /// When; kept to the millisecond.
    pub created_at: OffsetDateTime,
    /// The length if it is known. An upload that would not fit the quota is refused at once, though it reserves less.
    pub size: Option<u64>,
    /// Bytes to reserve at first.
    pub reserve: u64,
    /// `upload.total_bytes`.
    pub quota: Option<u64>,
    /// Makes retries return the first result.
    pub idempotency_key: Option<IdempotencyKey>,
}
