//! Buckets: objects under the keys that clients gave them, which may be replaced, and of which no catalog knows.
//!
//! A [`Bucket`] is the store itself: what is known of an object is kept with it, listings are the store's, and any process serves any
//! request. Objects that other programs put there are objects like all others.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Blocks, Grant, Offer, Probe};
use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::body::Body;
use crate::transfer::budget::Budget;
use crate::transfer::checksum::{Checksum, ChecksumKind};

pub use key::{Key, MAX_KEY_BYTES};
pub use list::{After, ListPage, ListRequest, MAX_LIST};
pub use properties::Properties;
pub use whole::etag_of_parts;

pub(crate) mod facts;
pub(crate) mod kept;
mod key;
mod list;
mod properties;
pub(crate) mod ticket;
pub(crate) mod whole;

/// Which place of a store is a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketPlace {
    /// The container of the account (Azure), the bucket (S3, Google), or the folder beside `storage.local.root`, below `buckets` (local).
    pub container: String,
}

/// A place that keeps objects under any [`Key`].
///
/// Every operation may be repeated, and its future may be dropped at any time: that frees connections and buffers at once, and leaves
/// the outcome of a change either done or not done, never half done. Two changes of one key at a time happen one after the other:
/// the last one stays, whole.
#[async_trait]
pub trait Bucket: fmt::Debug + Send + Sync + 'static {
    /// The word for the store in configuration and metrics.
    fn name(&self) -> &'static str;

    /// Stores `body` under `key`, in place of what is there.
    ///
    /// Atomic: readers see what was there, or the whole new object with its properties. If `body` yields an error, nothing changes,
    /// nothing stays behind, and that very error returns. The entity tag is the MD5 of the bytes, which `body` must compute
    /// ([`Body::hashed`]); a checksum that it computes is kept.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](ErrorKind::PreconditionFailed) if `new.condition` does not hold, also if it ceases to while the bytes come;
    /// [`NotFound`](ErrorKind::NotFound) if it is about an entity tag and there is no object.
    async fn put(&self, key: &Key, new: &NewObject, body: Body) -> Result<Entry>;

    /// Opens an object, or a part of it. The first bytes are at hand when this returns; a later failure comes as an error from the
    /// body, never as its end. What is read is of one version, whatever happens meanwhile.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound); [`BadRange`](ErrorKind::BadRange) if `range` starts behind the end (a range that ends behind the
    /// end is cut); [`PreconditionFailed`](ErrorKind::PreconditionFailed) if `version` is another than the object has now.
    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened>;

    /// What is known of an object; `None` if it is not there.
    async fn head(&self, key: &Key) -> Result<Option<Entry>>;

    /// Replaces the properties of an object, and leaves its bytes as they are, and so its entity tag and checksum, whatever
    /// `properties` says of them. Its time of change is now.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound); [`PreconditionFailed`](ErrorKind::PreconditionFailed) if it is not the `version` any more.
    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry>;

    /// Deletes an object. An absent one is success.
    ///
    /// # Errors
    ///
    /// [`Retained`](ErrorKind::Retained) if a policy or a lease keeps it.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// A page of the objects whose keys begin with a prefix, in ascending order of the bytes of their keys, each once. What takes a store
    /// a request for each object may be missing: properties, checksums, version.
    async fn list(&self, request: &ListRequest) -> Result<ListPage>;

    /// Another way to hand an object to a client than through us, if there is one. Does not check that the object exists.
    async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        let _ = (key, grant);
        Ok(None)
    }

    /// One authenticated call that checks whether the bucket can be used.
    ///
    /// # Errors
    ///
    /// [`ContainerNotFound`](ErrorKind::ContainerNotFound), and what else is wrong, naming the setting to change.
    async fn probe(&self) -> Result<Probe>;

    /// Makes the bucket, if it is not there.
    ///
    /// # Errors
    ///
    /// As [`probe`](Self::probe) where attache makes none: a container of Azure takes decisions that are its owner's.
    async fn create(&self) -> Result<()> {
        self.probe().await.map(drop)
    }

    /// Begins an upload in parts, which is tied to `key` and becomes an object with `properties`. What is returned names it, in up to
    /// 8 KiB: all that any process needs to go on with it. Clients get it sealed, together with `checksum`, so that it comes back as it
    /// was; a store keeps `checksum` only to tell it with [`uploads`](Self::uploads).
    async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        checksum: Option<ChecksumPlan>,
    ) -> Result<String>;

    /// Stores part `number`, in place of one of that number that was begun before, even if that one ends later. The entity tag is the
    /// MD5 of the bytes, which `body` must compute. What fails leaves the part that was there.
    ///
    /// # Errors
    ///
    /// [`UploadNotFound`](ErrorKind::UploadNotFound) if the store can tell that there is no such upload.
    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part>;

    /// The parts that were stored, in ascending order of their numbers: those after `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`UploadNotFound`](ErrorKind::UploadNotFound).
    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>>;

    /// The uploads in parts that run, as far as the store can tell: Azure knows no uploads, and has none to tell. In the order of
    /// their keys, at most `limit` after (`key`, `upload`).
    async fn uploads(
        &self,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Upload>>;

    /// Makes the object of `parts`, in place of what is under the key. Atomic. A repetition with the same parts, after it was done, is
    /// the same success, for as long as the object is there. Other parts are given up.
    ///
    /// The entity tag is the MD5 of the parts' MD5s, `-`, and their number.
    ///
    /// # Errors
    ///
    /// [`BadPart`](ErrorKind::BadPart) if one is missing or has another entity tag or checksum, with nothing changed;
    /// [`DigestMismatch`](ErrorKind::DigestMismatch) if the checksum of the whole is another one;
    /// [`UploadNotFound`](ErrorKind::UploadNotFound); [`PreconditionFailed`](ErrorKind::PreconditionFailed). `budget` has the memory in
    /// which small parts are joined, where a store makes no object of them.
    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
        budget: &Budget,
    ) -> Result<Entry>;

    /// Gives up an upload and its parts. One that is not there is success.
    async fn abort(&self, upload: &PartOf<'_>) -> Result<()>;

    /// Removes uploads in parts that nobody went on with for a week, and temporary files of processes that are gone; returns the count. Azure
    /// does so by itself.
    async fn sweep(&self) -> Result<u64> {
        Ok(0)
    }
}

/// What [`Bucket::put`] makes.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// What is kept beside the bytes.
    pub properties: Properties,
    /// The length, if it is known beforehand.
    pub size: Option<u64>,
    /// In which pieces the bytes may travel.
    pub blocks: Blocks,
    /// What must hold for it to be made.
    pub condition: Condition,
}

/// What must hold of what is under a key, for it to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// There is no object.
    Absent,
    /// The object has this entity tag, as in [`Entry::etag`].
    Matches(String),
}

/// What a store gives every version of an object, and no other: opaque, Azure's entity tag or what a file system knows. It changes with
/// the properties, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Length in bytes.
    pub size: u64,
    /// Its entity tag without quotes: the MD5 in hex, or that of the parts' MD5s with `-` and their number. Where another program wrote
    /// the object and left no MD5, something that cannot be taken for one.
    pub etag: String,
    /// When it was last changed. What `put` says may be a few seconds off, where the store does not tell.
    pub modified: OffsetDateTime,
    /// What is kept beside the bytes.
    pub properties: Properties,
    /// A checksum of the whole, if one was kept.
    pub checksum: Option<KeptChecksum>,
    /// CRC-64/NVME of the bytes, if it is known: for verifying what is read.
    pub crc64: Option<u64>,
    /// Which version it is.
    pub version: Version,
    /// It is kept where it cannot be read before somebody moves it.
    pub archived: bool,
}

/// A checksum as S3 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptChecksum {
    /// Of the bytes, or of the parts' checksums.
    pub checksum: Checksum,
    /// Set if it is of the checksums of this many parts (`COMPOSITE`), and not of the bytes (`FULL_OBJECT`).
    pub parts: Option<u16>,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Opened {
    /// What is known of it.
    pub entry: Entry,
    /// Which part `body` holds.
    pub range: ByteRange,
    /// The bytes.
    pub body: Body,
}

/// Which upload a part belongs to.
#[derive(Clone, Copy, Debug)]
pub struct PartOf<'a> {
    /// The key that the object will have.
    pub key: &'a Key,
    /// What [`Bucket::begin`] returned.
    pub upload: &'a str,
}

/// A part that is to be stored.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// 1 to 10,000.
    pub number: u16,
    /// The length, if it is known beforehand: up to 5 GiB.
    pub size: Option<u64>,
    /// In which pieces the bytes may travel.
    pub blocks: Blocks,
}

impl NewPart {
    /// # Errors
    ///
    /// [`BadRequest`](ErrorKind::BadRequest) if there can be no such part.
    pub(crate) fn check(&self, key: &Key) -> Result<()> {
        match (1..=MAX_PARTS).contains(&self.number) && self.size <= Some(MAX_PART_BYTES) {
            true => Ok(()),
            false => Err(Error::bad_request(format!(
                "a part has a number from 1 to {MAX_PARTS} and at most 5 GiB"
            ))
            .during("put_part", key.as_str())),
        }
    }
}

/// A part that was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u16,
    /// Length in bytes.
    pub size: u64,
    /// MD5 of the bytes, in hex.
    pub etag: String,
    /// When it was stored; `None` where the store does not tell.
    pub modified: Option<OffsetDateTime>,
    /// The checksum that the body computed beside it.
    pub checksum: Option<Checksum>,
}

/// A part as a client names it when an upload is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPart {
    /// 1 to 10,000, each larger than the one before.
    pub number: u16,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its checksum, if the client names it.
    pub checksum: Option<Checksum>,
}

/// The checksum that an upload in parts was begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(String, bool)", into = "(String, bool)")]
pub struct ChecksumPlan {
    /// Of which kind.
    pub kind: ChecksumKind,
    /// Of all bytes (`FULL_OBJECT`), and not of the parts' checksums (`COMPOSITE`).
    pub full: bool,
}

impl From<ChecksumPlan> for (String, bool) {
    fn from(plan: ChecksumPlan) -> Self {
        (plan.kind.as_str().to_owned(), plan.full)
    }
}

impl TryFrom<(String, bool)> for ChecksumPlan {
    type Error = String;

    fn try_from((kind, full): (String, bool)) -> std::result::Result<Self, String> {
        match ChecksumKind::of(&kind) {
            Some(kind) => Ok(Self { kind, full }),
            None => Err(format!("there is no checksum {kind}")),
        }
    }
}

/// Which checksum an object that is made of parts gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeChecksum {
    /// Of which kind.
    pub kind: ChecksumKind,
    /// Of all bytes (`FULL_OBJECT`), and not of the parts' checksums (`COMPOSITE`).
    pub full: bool,
    /// What it must be, if the client says so.
    pub expected: Option<Checksum>,
}

/// An upload in parts that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The key that the object will have.
    pub key: Key,
    /// What [`Bucket::begin`] returned.
    pub upload: String,
    /// When it was begun.
    pub begun: OffsetDateTime,
    /// The checksum that it was begun with.
    pub checksum: Option<ChecksumPlan>,
}

/// Most parts of an upload (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MAX_PARTS: u16 = 10_000;

/// Most bytes of a part (as above).
pub const MAX_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// The error for an object that is not there.
pub(crate) fn absent(key: &Key) -> Error {
    Error::new(ErrorKind::NotFound, "there is no object with this key").during("get", key.as_str())
}

/// The error for an upload that is not there.
pub(crate) fn no_upload(key: &Key) -> Error {
    Error::new(
        ErrorKind::UploadNotFound,
        "there is no such upload: it was completed or aborted, or nobody went on with it for too long",
    )
    .during("upload", key.as_str())
}

/// The error for a condition that does not hold.
pub(crate) fn unfulfilled(key: &Key) -> Error {
    Error::new(
        ErrorKind::PreconditionFailed,
        "the object is not the one that the condition is about",
    )
    .during("put", key.as_str())
}

/// The error for a part that is named and was not stored so.
pub(crate) fn bad_part(key: &Key, number: u16) -> Error {
    Error::new(
        ErrorKind::BadPart,
        format!("part {number} was not stored, or has another entity tag or checksum"),
    )
    .during("complete", key.as_str())
}
