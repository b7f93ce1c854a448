//! What a catalog knows of a move of the bytes from one store into another: how far it is, which servers tell and another process notes,
//! and which uploads are in progress beside it.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::attachment::AttachmentId;
use crate::error::Result;

/// Keeps how far a move is, and tells what may still go elsewhere. Every method may be repeated, and its future may be dropped.
#[async_trait]
pub trait MoveNotes: Send + Sync {
    /// Notes how far a move is. Of several who move from one place to another at the same time, or one after the other, the furthest is
    /// what is kept, until one has seen all of it ([`is_whole`](MoveNote::is_whole)) or the places are others.
    async fn note_move(&self, note: &MoveNote) -> Result<()>;

    /// What was noted, if anything was.
    async fn noted_move(&self) -> Result<Option<MoveNote>>;

    /// Uploads that may become attachments where their process had them stored when they began, of whatever size, in the order of their ids:
    /// those after `after`, at most `limit`. They are all that are pending, also those of a process that is dead or seems to be: it may come back,
    /// and what it had stored a sweep may finish. And they are uploads in parts that a request of a living process
    /// [holds](super::partial::PartialUploads::take); between two requests an upload in parts is not among them.
    async fn uploading(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>>;
}

/// How far a move is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveNote {
    /// Where the bytes have been: words that no other place has.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// Attachments that are known to be in the new store.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// All attachments that there were.
    pub total_objects: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// When that was noted, to the millisecond.
    pub noted_at: OffsetDateTime,
    /// Every attachment was looked at: this is so, whatever was noted before. It is not kept.
    pub is_whole: bool,
}
