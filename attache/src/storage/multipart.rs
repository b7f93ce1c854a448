//! An upload that outlives a request, and the process: parts that are put one by one, and then become one object.
//!
//! What a store gives for an upload and for each part is plain text, for whoever remembers uploads (the catalog) to keep.
//! Nothing here is known to one process alone.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Blocks, Content, Stored};
use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::body::Body;
use crate::transfer::digests::{Digests, crc64_of_two};

/// A store that takes an object in parts, over many requests.
///
/// One upload at a time writes one key. An upload that was begun belongs to nobody: it stays, with all its parts, through
/// crashes and restarts, until it is completed or [aborted](Self::abort), or for as long as the store itself keeps it (Azure:
/// a week after its last part). [`Storage::remove_temporary_files`](super::Storage::remove_temporary_files) leaves it alone.
///
/// Every operation may be repeated, and its future may be dropped at any time: that frees connections and buffers at once,
/// and leaves the operation either done or not done.
#[async_trait]
pub trait Multipart: fmt::Debug + Send + Sync {
    /// What parts may be.
    fn limits(&self) -> PartLimits;

    /// Begins an upload of what will be the object under `key`. Takes no room before the first part comes.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if an object exists already, where that costs nothing to know; `complete` says it for
    /// certain.
    async fn begin(&self, key: &ObjectKey, content: &Content) -> Result<UploadRef>;

    /// Stores one part, whose `body` has exactly `part.size` bytes. Parts may come in any order, and different ones at the same
    /// time. A number may be put again, after the put before it has ended: then its new receipt counts, and the old one may be
    /// refused.
    ///
    /// Atomic: the part is there whole or not at all; what fails leaves the one that was there before. If `body` yields an
    /// error, that very error returns. Holds permits of the budget in `blocks` for all bytes that it holds in memory, which
    /// do not grow with the size of the part.
    ///
    /// # Errors
    ///
    /// [`DigestMismatch`](ErrorKind::DigestMismatch) if `body` has another length; [`TooLarge`](ErrorKind::TooLarge) and
    /// [`BadRequest`](ErrorKind::BadRequest) for a part beyond the [limits](Self::limits);
    /// [`NotFound`](ErrorKind::NotFound) if the upload was completed or aborted, where the store can tell.
    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        blocks: &Blocks,
        body: Body,
    ) -> Result<PartReceipt>;

    /// As [`put_part`](Self::put_part), of bytes that the caller has in memory by a permit of its own: takes no other one, so that
    /// transfers which hold a part each never wait for each other.
    ///
    /// # Errors
    ///
    /// As `put_part`.
    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt>;

    /// Makes one object of these parts, in ascending order of their numbers. No parts make an empty object.
    ///
    /// `known` is what the caller knows of the bytes besides: their SHA-256 and MD5, which cannot be had from those of the parts, and
    /// whether they are UTF-8. It is kept beside the object as a [`put`](super::Storage::put) keeps it, and returned. Length and CRC-64
    /// are those of the parts.
    ///
    /// Atomic: readers see nothing or the whole object, which has exactly the bytes that the receipts were given for. Once
    /// it has succeeded, it succeeds again, with the same object. The upload is over then, and parts that were not named are
    /// gone.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if another object exists already; it is left alone. [`NotFound`](ErrorKind::NotFound)
    /// if the upload or a part is not there: aborted, put again meanwhile, or forgotten by the store.
    /// [`BadRequest`](ErrorKind::BadRequest) if numbers do not ascend. [`Busy`](ErrorKind::Busy) while another call, or what is
    /// left of one that was dropped, completes it. After an error it may be completed again, or aborted.
    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
        known: &Digests,
    ) -> Result<Stored>;

    /// Ends an upload and frees everything that it holds. What is absent, completed or aborted is success, and an object that
    /// was made of it stays. Must not run at the same time as another operation of this upload.
    ///
    /// # Errors
    ///
    /// Those of any call to the store.
    async fn abort(&self, upload: &UploadRef) -> Result<()>;
}

/// What parts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Fewest bytes of every part but the last.
    pub min_bytes: u64,
    /// Most bytes of a part.
    pub max_bytes: u64,
    /// Most parts, and the highest number of one.
    pub max_parts: u32,
}

/// Which part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1; parts follow each other by their numbers, which may have gaps.
    pub number: u32,
    /// Where it begins in the object, for stores that append.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// Names an upload at its store. The text form is for a catalog to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadRef {
    key: ObjectKey,
    token: String,
}

impl UploadRef {
    /// Of the object under `key`; `token` is the store's word for the upload, of letters and digits (and `-._~`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the token has other characters.
    pub fn new(key: ObjectKey, token: String) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if token.is_empty() || token.starts_with('.') || !token.bytes().all(plain) {
            return Err(Error::internal(
                "the store's name of an upload is not plain",
            ));
        }
        Ok(Self { key, token })
    }

    pub(super) fn generate(key: &ObjectKey) -> Self {
        Self {
            key: key.clone(),
            token: uuid::Uuid::now_v7().simple().to_string(),
        }
    }

    /// What the upload will be.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The store's word for it.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Display for UploadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.token, self.key)
    }
}

impl FromStr for UploadRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::internal("not the name of an upload");
        let (token, key) = text.split_once(':').ok_or_else(wrong)?;
        Self::new(key.parse().map_err(|_| wrong())?, token.to_owned())
    }
}

impl TryFrom<String> for UploadRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<UploadRef> for String {
    fn from(upload: UploadRef) -> Self {
        upload.to_string()
    }
}

/// What a store gives for a part, and wants back to make an object of it. To be kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// See [`Part::number`].
    pub number: u32,
    /// Length in bytes.
    pub size: u64,
    /// CRC-64/NVME of the bytes.
    pub crc64: u64,
    /// What the store itself knows the part by (an entity tag, names of blocks).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
}

impl PartLimits {
    /// Whether `part` is within them.
    pub(super) fn check(&self, part: Part) -> Result<()> {
        if part.number == 0 || part.number > self.max_parts {
            return Err(Error::bad_request(format!(
                "the number of a part is between 1 and {}",
                self.max_parts
            )));
        }
        match part.size > self.max_bytes {
            true => Err(crate::transfer::body::too_large(self.max_bytes)),
            false => Ok(()),
        }
    }
}

/// The whole that `parts` make: length and CRC-64, and what else is known of it.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`] if their numbers do not ascend.
pub(super) fn whole(parts: &[PartReceipt], known: &Digests) -> Result<Stored> {
    if !parts.is_sorted_by(|one, next| one.number < next.number) {
        return Err(Error::bad_request("the numbers of parts must ascend"));
    }
    let empty = Stored {
        size: 0,
        crc64: Some(crate::transfer::digests::crc64(&[])),
        ..Stored::from(*known)
    };
    Ok(parts.iter().fold(empty, |whole, part| Stored {
        size: whole.size + part.size,
        crc64: whole
            .crc64
            .map(|crc| crc64_of_two(crc, part.crc64, part.size)),
        ..whole
    }))
}

/// The receipt for bytes that have all passed.
///
/// # Errors
///
/// [`ErrorKind::DigestMismatch`] if they are not as many as was said.
pub(super) fn receipt(part: Part, digests: &Digests, tag: String) -> Result<PartReceipt> {
    if digests.size != part.size {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "length mismatch: expected {}, got {}",
                part.size, digests.size
            ),
        ));
    }
    let crc64 = digests
        .crc64
        .ok_or_else(|| Error::internal("a part has no CRC-64"))?;
    Ok(PartReceipt {
        number: part.number,
        size: part.size,
        crc64,
        tag,
    })
}

/// The receipt for bytes that are in memory.
///
/// # Errors
///
/// As [`receipt`].
pub(super) fn receipt_of(part: Part, bytes: &[u8], tag: String) -> Result<PartReceipt> {
    let digests = Digests {
        size: bytes.len() as u64,
        crc64: Some(crate::transfer::digests::crc64(bytes)),
        ..Digests::default()
    };
    receipt(part, &digests, tag)
}

/// The error for an upload, or a part of one, that is not there.
pub(super) fn no_upload(upload: &UploadRef) -> Error {
    Error::new(
        ErrorKind::NotFound,
        "there is no such upload, or a part of it is not there",
    )
    .during("multipart", upload.key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_and_its_receipts_survive_as_text() {
        let key: ObjectKey = "user/a.png".parse().expect("a key");
        let upload = UploadRef::generate(&key);
        let text = serde_json::to_string(&upload).expect("written");
        assert_eq!(text, format!("\"{}:user/a.png\"", upload.token()));
        let read: UploadRef = serde_json::from_str(&text).expect("read");
        assert_eq!(read, upload);
        for bad in [
            "",
            "a",
            ":user/a.png",
            "..:user/a.png",
            "a/b:user/a.png",
            "a:../x",
        ] {
            assert!(bad.parse::<UploadRef>().is_err(), "{bad}");
        }
        let receipt = PartReceipt {
            number: 7,
            size: u64::MAX,
            crc64: u64::MAX,
            tag: "x".to_owned(),
        };
        let text = serde_json::to_string(&receipt).expect("written");
        let read: PartReceipt = serde_json::from_str(&text).expect("read");
        assert_eq!(read, receipt);
    }

    #[test]
    fn numbers_of_parts_ascend() {
        let part = |number| PartReceipt {
            number,
            size: 1,
            crc64: 0,
            tag: String::new(),
        };
        assert_eq!(
            whole(&[part(1), part(5)], &Digests::default())
                .expect("gaps are fine")
                .size,
            2
        );
        for wrong in [[part(2), part(1)], [part(1), part(1)]] {
            let error = whole(&wrong, &Digests::default()).expect_err("not ascending");
            assert_eq!(error.kind(), ErrorKind::BadRequest);
        }
    }
}
