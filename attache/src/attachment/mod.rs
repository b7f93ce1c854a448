//! The words of the domain: ids, owners, object keys, attachments, byte ranges.
//!
//! Everything here is checked when it is made, so that the rest of the crate need not.

mod digest;
pub mod disposition;
pub mod filename;
mod key;
pub mod media;
mod owner;
mod text;

use time::OffsetDateTime;

use filename::Filename;

pub use digest::Hex;
pub use key::{AttachmentId, ObjectKey, unique};
pub use owner::{Author, IdempotencyKey, Owner};

/// What a caller says of a file that it hands over.
#[derive(Clone, Debug, Default)]
pub struct NewAttachment {
    /// The file's name; without one, `file` with the extension of its type.
    pub filename: Option<Filename>,
    /// What the attachment hangs on.
    pub owner: Option<Owner>,
    /// Who uploads, 1 to 128 printable characters.
    pub created_by: Option<Author>,
    /// The type that the caller claims. Believed only where the bytes do not say otherwise.
    pub content_type: Option<String>,
    /// The length, if it is known; a body of another length is refused.
    pub size: Option<u64>,
    /// The MD5 that the bytes must have (`Content-MD5`, RFC 1864).
    pub md5: Option<[u8; 16]>,
    /// The SHA-256 that the bytes must have (`Content-Digest`, RFC 9530).
    pub sha256: Option<[u8; 32]>,
    /// Makes a retry return the first result instead of storing the file twice.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An attachment that is there: its bytes are stored and will never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name in URLs.
    pub id: AttachmentId,
    /// Where its bytes lie.
    pub key: ObjectKey,
    /// What it hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type, decided from the claim and the bytes at upload; of a text with its charset
    /// ([`settled`](crate::attachment::media::settled)).
    pub content_type: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Hex<32>,
    /// CRC-64/NVME of the bytes, if it is known; downloads are checked against it.
    pub crc64: Option<u64>,
    /// MD5 of the bytes, if it is known.
    pub md5: Option<Hex<16>>,
    /// What the store called this version of the object, if it names versions.
    pub store_tag: Option<String>,
    /// When it was uploaded, to the millisecond.
    pub created_at: OffsetDateTime,
    /// Who uploaded it.
    pub created_by: Option<Author>,
}

impl Attachment {
    /// The strong entity tag (RFC 9110 section 8.8.3), from the hash of the content.
    pub fn entity_tag(&self) -> String {
        let mut half = Hex([0; 16]);
        half.0.copy_from_slice(&self.sha256.0[..16]);
        format!("\"{half}\"")
    }
}

/// A part of an object: `start..end`, in bytes, `end` exclusive and after `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never true; a range holds at least one byte.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}
