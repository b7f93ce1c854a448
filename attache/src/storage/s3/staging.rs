//! Pieces of objects, as objects under names of our own, which nobody lists as attachments.
//!
//! What an object is called by and how it is served is given to S3 when its upload begins, and attache knows it when the last byte has
//! passed: its digests, and the charset of a text. So bytes that need more than one request are stored as pieces, and the object is made of
//! them at the store when everything is known: [`compose`](super::compose). Until then there is nothing under its own name, and a request
//! for a piece can be repeated, as no other one ever has the name of the piece.

use bytes::Bytes;
use http::Method;

use super::ask::{Ask, header};
use super::echo::{self, Echo, echo};
use super::inner::Inner;
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::multipart::UploadRef;
use crate::transfer::digests::crc64;

/// Where all pieces are. A rule of the bucket may remove what is older than a week there: no upload lasts as long.
pub(super) const PIECES: &str = "attache/parts/";

/// Where the pieces of uploads into a bucket of S3 clients are, which may be the same bucket. What is older than a week there is swept.
pub(super) const UPLOADS: &str = "attache/uploads/";

/// Where the pieces of all uploads of one object are.
pub(super) fn folder(key: &str) -> String {
    format!("{PIECES}{key}/")
}

/// Where the pieces of one upload are.
pub(super) fn folder_of(upload: &UploadRef) -> String {
    format!("{}{}/", folder(upload.key().as_str()), upload.token())
}

/// A part of an object that is a part of an object of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it is.
    pub(super) key: String,
    /// Which bytes of it.
    pub(super) range: ByteRange,
    /// All of it.
    pub(super) is_whole: bool,
}

impl Piece {
    /// All bytes of `key`.
    pub(super) fn whole(key: String, size: u64) -> Self {
        Self {
            key,
            range: ByteRange {
                start: 0,
                end: size,
            },
            is_whole: true,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The first `size` bytes, and the rest.
    pub(super) fn split(self, size: u64) -> (Self, Self) {
        let at = self.range.start + size;
        let of = |start, end| Self {
            key: self.key.clone(),
            range: ByteRange { start, end },
            is_whole: false,
        };
        (of(self.range.start, at), of(at, self.range.end))
    }
}

impl Inner {
    /// Stores a piece, and sees that the store has its bytes.
    pub(super) async fn put_piece(&self, name: String, bytes: Bytes) -> Result<Piece> {
        let (dialect, size) = (self.place.dialect, bytes.len() as u64);
        let crc = crc64(&bytes);
        let (checksum, value) = dialect.checksum(|| crc, || echo::md5(&bytes));
        let ask = Ask::new(Method::PUT, &name)
            .header(header(checksum, value)?)
            .body(bytes.clone());
        let answered = self
            .ask(&ask)
            .await
            .map_err(|fault| self.fail(fault, "put", &name))?;
        self.see(&name, echo(dialect, &answered.headers, &bytes, crc), size)
            .await?;
        Ok(Piece::whole(name, size))
    }

    /// Whether the store has the bytes of `key`, as far as it lets anybody know.
    ///
    /// # Errors
    ///
    /// [`UpstreamUnavailable`](ErrorKind::UpstreamUnavailable) if it has others.
    pub(super) async fn see(&self, key: &str, heard: Echo, size: u64) -> Result<()> {
        let is_right = match heard {
            Echo::Right => true,
            Echo::Wrong => false,
            Echo::Silent => {
                let head = self.head(key).await;
                let head = head.map_err(|fault| self.fail(fault, "put", key))?;
                head.and_then(|headers| super::metadata::length(&headers)) == Some(size)
            }
        };
        match is_right {
            true => Ok(()),
            false => Err(damaged(self.place.dialect.name(), key)),
        }
    }

    /// Removes the pieces of an upload whose object is there: a fault is nothing that its caller can do anything about.
    pub(super) async fn remove_pieces(&self, folder: &str) {
        if let Err(fault) = self.delete_all(folder).await {
            tracing::warn!(folder, %fault, "pieces of an upload are left at the store");
        }
    }
}

/// The bytes at the store are not those that were sent.
fn damaged(store: &str, key: &str) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!("{store}: bytes were damaged on their way to the store"),
    )
    .during("put", key)
}

/// The name of a piece of one upload, of which nobody else has the name.
pub(super) fn name_in(folder: &str, number: u32) -> String {
    format!("{folder}{number:05}")
}

/// Where an upload of `key` that outlives no process has its pieces.
pub(super) fn folder_for(key: &ObjectKey, attempt: &str) -> String {
    format!("{}{attempt}/", folder(key.as_str()))
}
