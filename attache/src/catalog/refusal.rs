//! What every catalog refuses for the same reasons and in the same words, and what counts as the same for all of them.

use std::time::Duration;

use super::{Begun, Draft, millis};
use crate::attachment::{Attachment, AttachmentId};
use crate::error::{Error, ErrorKind, Result};

/// `wanted` bytes do not fit beside the `used` ones.
pub(crate) fn quota_exceeded(used: u64, wanted: u64, quota: u64) -> Error {
    Error::new(
        ErrorKind::QuotaExceeded,
        format!(
            "{used} of {quota} bytes are in use, so {wanted} more do not fit; delete something, or raise upload.total_bytes"
        ),
    )
}

/// There is no such upload, or it is another process's.
pub(crate) fn not_pending() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "this upload is no longer pending here: it was swept, deleted, or taken over",
    )
}

/// Another row has the id of an upload that begins, or its object.
pub(crate) fn id_taken(id: &AttachmentId) -> Error {
    Error::new(ErrorKind::Conflict, format!("the id \"{id}\" is taken"))
}

/// An upload with the same idempotency key is not done.
pub(crate) fn key_in_progress() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "an upload with this Idempotency-Key is in progress; try again when it is done",
    )
    .retry_after(Duration::from_secs(2))
}

/// `first` has the idempotency key of `draft`: it is the result of a first try, if it is what the draft says.
pub(crate) fn repeated(draft: &Draft, first: Attachment) -> Result<Begun> {
    let is_same = first.owner == draft.owner
        && first.filename == draft.filename
        && first.created_by == draft.created_by;
    match is_same {
        true => Ok(Begun::Repeated(Box::new(first))),
        false => Err(Error::new(
            ErrorKind::Conflict,
            "this Idempotency-Key was used for another file; use a fresh one",
        )),
    }
}

/// Another request has taken an upload, or went on with it.
pub(crate) fn upload_taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another request has taken this upload meanwhile; ask how far it is, and go on there",
    )
}

/// Another request works on an upload that was to be taken up.
pub(crate) fn upload_in_use() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another request works on this upload; try again when it has ended",
    )
    .retry_after(Duration::from_secs(1))
}

/// A row could not be brought back. That is success if `found`, the attachment of its id, says the same.
pub(crate) fn restored(found: Option<&Attachment>, lost: &Attachment) -> Result<()> {
    let is_same = found.is_some_and(|found| {
        let same = Attachment {
            created_at: found.created_at,
            md5: found.md5,
            store_tag: found.store_tag.clone(),
            ..lost.clone()
        };
        millis(found.created_at) == millis(lost.created_at) && *found == same
    });
    match is_same {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Conflict,
            format!("the id \"{}\" or its object is taken", lost.id),
        )),
    }
}

/// A row of a copy cannot be written.
pub(crate) fn row_of_a_server(id: &AttachmentId) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the id \"{id}\", its object or its Idempotency-Key is taken by a row that no copy has written"
        ),
    )
}
