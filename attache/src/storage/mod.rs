//! Where bytes lie. [`Storage`] moves bytes and knows nothing of ids, limits, owners or HTTP.
//!
//! Promises are stated on the trait; each has one named case in the suite (`testing/storage/`) that every
//! implementation runs.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::attachment::filename::{Disposition, Filename};
use crate::attachment::media;
use crate::attachment::{Attachment, AttachmentId, Author, ByteRange, Hex, ObjectKey, Owner};
use crate::error::{Error, Result};
use crate::transfer::body::{Body, Digests};
use crate::transfer::budget::Budget;

pub use bucket::{Bucket, BucketPlace};
pub use file::{FileVersion, ObjectFile};
pub use listed::{ListedObject, Unfit};
pub use moving::Moving;
pub use multipart::Multipart;
pub use offer::{Grant, Offer, PutGrant, PutOffer};
pub use vitals::{LeaseVitals, Vitals};

pub mod azure;
pub mod bucket;
pub mod config;
mod download;
mod facts;
mod file;
pub mod gcs;
mod listed;
pub mod local;
pub mod memory;
pub(crate) mod moving;
pub mod multipart;
mod offer;
pub mod s3;
mod served;
mod vitals;

/// A place that keeps objects: immutable sequences of bytes under an [`ObjectKey`].
///
/// Every operation may be repeated, and its future may be dropped at any time: that frees connections and
/// buffers at once, and leaves the outcome of a `put` or `delete` either done or not done, never half done.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// The word for it in configuration and metrics.
    fn name(&self) -> &'static str;

    /// Stores `body` under `key`.
    ///
    /// Atomic: readers see nothing or the whole object, with its content type, disposition and facts, as they are
    /// [settled](Content::settled) when all bytes have passed. If
    /// `body` yields an error, nothing becomes visible, nothing stays behind, and that very error returns.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if an object exists already; it is left alone.
    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored>;

    /// Opens an object, or a part of it. The first bytes are at hand when this returns, so that failures
    /// come as errors from here; a later failure comes as an error from the body, never as its end.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`BadRange`](crate::ErrorKind::BadRange) if `range` starts
    /// behind the end. A range that ends behind the end is cut.
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object>;

    /// Opens an object for those who know it already, and want nothing but its bytes: as [`get`](Self::get), for less where a store can do
    /// it for less.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    async fn open(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Opened> {
        let object = self.get(key, range).await?;
        Ok(Opened::Bytes {
            size: object.info.size,
            body: Box::new(object.body),
        })
    }

    /// What is known of an object, without its bytes; `None` if it is not there. Works for archived ones too.
    ///
    /// # Errors
    ///
    /// [`CustomerKey`](crate::ErrorKind::CustomerKey) if not even that can be read.
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.get(key, None).await {
            Ok(object) => Ok(Some(object.info)),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the facts of an object again, whose bytes are known to be those of `stored`: after another tool has dropped or
    /// changed them. The bytes stay as they are; returns the new [`store_tag`](ObjectInfo::store_tag). May be repeated.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Retained`](crate::ErrorKind::Retained) and
    /// [`Archived`](crate::ErrorKind::Archived) where the store lets nobody write.
    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        let _ = (content, stored);
        Err(Error::internal("this store cannot rewrite metadata").during("facts", key.as_str()))
    }

    /// Whether the store computes the MD5 of what [`put`](Self::put) brings in one block, keeps it, and tells it: nobody else
    /// needs to then.
    fn computes_md5(&self) -> bool {
        false
    }

    /// Deletes an object and everything that hangs on it (snapshots). An absent object is success.
    ///
    /// # Errors
    ///
    /// [`Retained`](crate::ErrorKind::Retained) if a policy or a lease keeps it; another try may succeed when that ends.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// All objects whose key follows `after`, in ascending order of their keys, each once. Streams: memory
    /// does not grow with the number of objects. Objects that are not attachments are left out.
    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>>;

    /// All objects whose name begins with `prefix`, whoever put them there and whatever they are called, in ascending order of their
    /// names, each once. What the store keeps for itself is left out. Streams: memory does not grow with the number of objects.
    /// `None` if the store cannot list what others put there.
    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        let _ = prefix;
        None
    }

    /// Another way to hand an object to a client than through us, if there is one. Does not check that the object exists.
    async fn offer(&self, key: &ObjectKey, grant: &Grant) -> Result<Option<Offer>> {
        let _ = (key, grant);
        Ok(None)
    }

    /// A way for a client to bring an object to the store by itself: one PUT that creates this object and can replace none; `None` if
    /// the store has none. Costs no network call.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) for more bytes than one PUT may have.
    async fn offer_put(&self, key: &ObjectKey, grant: &PutGrant) -> Result<Option<PutOffer>> {
        let _ = (key, grant);
        Ok(None)
    }

    /// One authenticated call that checks whether the store can be used.
    ///
    /// # Errors
    ///
    /// What is wrong, naming the setting to change.
    async fn probe(&self) -> Result<Probe>;

    /// Removes whatever an interrupted `put` under this key left: the object, or parts of it that nobody sees.
    /// Must not run at the same time as a `put` of this key. Nothing there is success; so are parts that the store lets
    /// nobody remove, and forgets by itself.
    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.delete(key).await
    }

    /// Removes what a `put` that was interrupted behind its end left beside its object: parts that nobody sees. The object stays. As
    /// [`discard`](Self::discard) otherwise.
    async fn tidy_up(&self, key: &ObjectKey) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Whether this is the place in which the objects were stored that a catalog names: a disk that is not mounted leaves an
    /// empty folder. A place that nothing was ever stored in becomes one with `begin`.
    async fn is_in_place(&self, begin: bool) -> Result<bool> {
        let _ = begin;
        Ok(true)
    }

    /// The same store, for uploads in parts that outlive a request; `None` if it takes none.
    fn multipart(&self) -> Option<&dyn Multipart> {
        None
    }

    /// A bucket of this store, which shares its credential, connections and keys; `None` if it has none. Talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if there can be no such place.
    fn bucket(&self, place: &BucketPlace) -> Result<Option<Arc<dyn Bucket>>> {
        let _ = place;
        Ok(None)
    }

    /// Both stores, if these are two of which one is emptied into the other.
    fn moving(&self) -> Option<&Moving> {
        None
    }

    /// Removes temporary files left by crashed processes; returns the count.
    async fn remove_temporary_files(&self) -> Result<u64> {
        Ok(0)
    }

    /// Notes for people on settings of the account that affect attachments; makes network calls. `sample` is an object
    /// that exists.
    async fn remarks(&self, sample: &ObjectKey) -> Vec<Remark> {
        let _ = sample;
        Vec::new()
    }

    /// What the store's own parts have to say about themselves, for the status page.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }
}

/// What is stored beside the bytes, and how they may travel.
#[derive(Clone, Debug)]
pub struct Content {
    /// The media type under which the store itself would serve the object: harmless even if somebody opens it there.
    pub content_type: String,
    /// `Content-Disposition`, ready to be sent.
    pub disposition: String,
    /// What makes it an attachment.
    pub facts: Facts,
    /// The length, if it is known beforehand.
    pub size: Option<u64>,
    /// In which pieces the bytes may travel.
    pub blocks: Blocks,
}

impl Content {
    /// What is stored beside the bytes of an attachment: the type and the name under which the store itself may serve it, where
    /// no policy of ours reaches the reader.
    pub fn new(facts: Facts, inline_types: &[String], size: Option<u64>, blocks: Blocks) -> Self {
        let served = media::serve(
            &facts.content_type,
            Disposition::Inline,
            inline_types,
            media::Guarded::No,
        );
        Self {
            content_type: served.content_type,
            disposition: served.disposition.header(&facts.filename),
            facts,
            size,
            blocks,
        }
    }

    /// What is stored with bytes that have all passed: only then is it known in which charset a text is. `utf8` is
    /// [`Digests::utf8`].
    #[must_use]
    pub fn settled(&self, utf8: Option<bool>) -> Self {
        let mut settled = self.clone();
        settled.facts.content_type = media::settled(&self.facts.content_type, utf8);
        settled.content_type = media::header(&media::settled(&self.content_type, utf8));
        settled
    }
}

/// In which pieces an upload travels, and whose memory it uses.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// The first size of a block (`upload.block_bytes`).
    pub bytes: u64,
    /// Blocks on their way at a time (`upload.concurrency`).
    pub concurrency: usize,
    /// Every block holds a permit of this.
    pub budget: Budget,
}

/// What the catalog knows of an attachment, kept with the object too, so that a lost catalog can be rebuilt
/// from the store alone. The hash joins them at the end of the upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The attachment's id.
    pub id: AttachmentId,
    /// What it hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type as it was decided at upload; of a text with its charset ([`media::settled`]).
    pub content_type: String,
    /// When it was uploaded.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Who uploaded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Author>,
}

impl From<&Attachment> for Facts {
    fn from(attachment: &Attachment) -> Self {
        Self {
            id: attachment.id.clone(),
            owner: attachment.owner.clone(),
            filename: attachment.filename.clone(),
            content_type: attachment.content_type.clone(),
            created_at: attachment.created_at,
            created_by: attachment.created_by.clone(),
        }
    }
}

/// What a `put` stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Option<Hex<32>>,
    /// MD5 of the bytes, if it was computed.
    pub md5: Option<Hex<16>>,
    /// CRC-64/NVME of the bytes, if it was computed.
    pub crc64: Option<u64>,
    /// Whether the bytes are UTF-8, if that was looked at.
    pub utf8: Option<bool>,
    /// See [`ObjectInfo::store_tag`].
    pub store_tag: Option<String>,
}

impl From<Digests> for Stored {
    fn from(digests: Digests) -> Self {
        let Digests {
            size,
            sha256,
            md5,
            crc64,
            utf8,
            checksum: _,
        } = digests;
        Self {
            size,
            sha256,
            md5,
            crc64,
            utf8,
            store_tag: None,
        }
    }
}

/// What is known of a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it lies.
    pub key: ObjectKey,
    /// Length in bytes.
    pub size: u64,
    /// The facts, unless somebody else wrote the object.
    pub facts: Option<Facts>,
    /// SHA-256 of the bytes, if it was stored.
    pub sha256: Option<Hex<32>>,
    /// MD5 of the bytes, if it was stored.
    pub md5: Option<Hex<16>>,
    /// CRC-64/NVME of the bytes, if it was stored.
    pub crc64: Option<u64>,
    /// The length that the facts tell: that of the bytes as they were uploaded.
    pub facts_size: Option<u64>,
    /// What the store gives every version of an object, and no other version: the entity tag of Azure, without quotes. It
    /// changes with the metadata, too.
    pub store_tag: Option<String>,
    /// It is kept where it cannot be read before somebody moves it.
    pub archived: bool,
}

impl ObjectInfo {
    /// Of an object of which nothing else is known.
    pub(crate) fn of_size(key: ObjectKey, size: u64) -> Self {
        Self {
            key,
            size,
            facts: None,
            sha256: None,
            md5: None,
            crc64: None,
            facts_size: None,
            store_tag: None,
            archived: false,
        }
    }
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Which part `body` holds.
    pub range: ByteRange,
    /// The bytes.
    pub body: Body,
}

/// An object of which the bytes are wanted.
#[derive(Debug)]
pub enum Opened {
    /// The bytes of the range, of an object of so many.
    Bytes {
        /// Length of the whole.
        size: u64,
        /// The bytes that were asked for.
        body: Box<Body>,
    },
    /// All of it, as a file of this machine: the kernel can send that by itself.
    File(ObjectFile),
}

/// What a probe found.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// A line for people: what answered.
    pub summary: String,
    /// How far the store's clock is ahead of ours, in seconds, if it told.
    pub clock_skew_s: Option<f64>,
}

/// What one of a store's own settings means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The setting.
    pub about: &'static str,
    /// A line for people.
    pub text: String,
    /// It could be looked at; otherwise `text` says why not.
    pub known: bool,
}

impl Remark {
    pub(crate) fn known(about: &'static str, text: String) -> Self {
        let known = true;
        Self { about, text, known }
    }

    pub(crate) fn unknown(about: &'static str, why: &str) -> Self {
        Self {
            about,
            text: why.to_owned(),
            known: false,
        }
    }
}

/// Resolves what a reader asked for against the size of the object, as [`Storage::get`] promises it.
///
/// # Errors
///
/// [`BadRange`](crate::ErrorKind::BadRange) if it starts behind the end.
pub fn resolve_range(range: Option<ByteRange>, size: u64) -> Result<ByteRange> {
    match range {
        None => Ok(ByteRange {
            start: 0,
            end: size,
        }),
        Some(range) if range.start < size => Ok(ByteRange {
            start: range.start,
            end: range.end.min(size),
        }),
        Some(_) => Err(Error::new(
            crate::ErrorKind::BadRange,
            format!("the range is outside the object's {size} bytes"),
        )),
    }
}

/// The error for a key that is taken.
pub(crate) fn conflict(key: &ObjectKey) -> Error {
    Error::new(
        crate::ErrorKind::Conflict,
        "an object with this key exists already; it was left alone",
    )
    .during("put", key.as_str())
}

/// The error for a key under which there is nothing.
pub(crate) fn absent(key: &ObjectKey) -> Error {
    Error::new(crate::ErrorKind::NotFound, "there is no such object").during("get", key.as_str())
}
