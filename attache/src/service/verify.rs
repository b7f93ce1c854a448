//! Walks the store and the catalog together, and reports where they disagree.
//!
//! Both are read in ascending order of object keys, like two sorted lists that are merged, so that memory does not grow
//! with their length. Uploads and deletions go on meanwhile: what looks wrong is looked at again, in an order in which
//! nothing that merely appeared or disappeared on the way can be taken for a fault.

use std::cmp::Ordering;
use std::sync::Arc;

use super::finding::wrong_digest;
pub use super::finding::{Finding, Verified, VerifyOptions};
use super::walk::{ready_rows, walked};
use crate::attachment::{Attachment, AttachmentId, Author, Hex, ObjectKey};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Blocks, Content, Facts, ObjectInfo, Storage, Stored};
use crate::transfer::budget::{Budget, RELAY_BYTES};
use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};

/// Unfinished rows that are read at a time, for one object.
const UNFINISHED_PAGE: u32 = 64;

/// One item for every key that the store or the catalog knows, in ascending order.
pub(crate) fn run(
    catalog: Arc<dyn Catalog>,
    storage: Arc<dyn Storage>,
    budget: Budget,
    inline_types: Vec<String>,
    options: VerifyOptions,
) -> BoxStream<'static, Result<Verified>> {
    walked(|found| async move {
        let walk = Walk {
            catalog: &*catalog,
            storage: &*storage,
            budget: &budget,
            inline_types: &inline_types,
            options,
        };
        walk.run(found).await
    })
}

struct Walk<'a> {
    catalog: &'a dyn Catalog,
    storage: &'a dyn Storage,
    budget: &'a Budget,
    inline_types: &'a [String],
    options: VerifyOptions,
}

impl Walk<'_> {
    async fn run(&self, mut found: mpsc::Sender<Verified>) -> Result<()> {
        // A damaged index would show rows to be missing that are there.
        self.catalog.check().await?;
        let mut rows = std::pin::pin!(ready_rows(self.catalog).peekable());
        let mut objects = std::pin::pin!(self.objects().peekable());
        loop {
            let row = rows.as_mut().peek().await;
            let object = objects.as_mut().peek().await;
            // An error of either comes first; it sorts as absent, and its turn is below.
            let order = match (row, object) {
                (None, None) => return Ok(()),
                (Some(Ok(row)), Some(Ok(object))) => row.key.cmp(&object.key),
                (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
                (_, Some(_)) => Ordering::Greater,
            };
            let row = match order {
                Ordering::Greater => None,
                _ => rows.next().await.transpose()?,
            };
            let object = match order {
                Ordering::Less => None,
                _ => objects.next().await.transpose()?,
            };
            let verified = match (row, object) {
                (Some(row), Some(object)) => self.compare(&row, &object).await?,
                (Some(row), None) => self.without_bytes(&row).await?,
                (None, Some(object)) => self.without_row(&object).await?,
                (None, None) => continue,
            };
            // Whoever listens no more has dropped this future, too.
            if let Some(verified) = verified
                && found.send(verified).await.is_err()
            {
                return Ok(());
            }
        }
    }

    fn objects(&self) -> impl Stream<Item = Result<ObjectInfo>> + '_ {
        let mut last: Option<ObjectKey> = None;
        self.storage.list(None).map(move |object| {
            let object = object?;
            // A merge of what is not sorted would call everything missing.
            if last.as_ref().is_some_and(|last| *last >= object.key) {
                return Err(Error::internal("the store does not list in order")
                    .during("verify", object.key.as_str()));
            }
            last = Some(object.key.clone());
            Ok(object)
        })
    }

    async fn compare(&self, row: &Attachment, object: &ObjectInfo) -> Result<Option<Verified>> {
        let mut finding = if row.size != object.size {
            Some(Finding::WrongSize {
                expected: row.size,
                actual: object.size,
            })
        } else {
            wrong_digest(row.sha256, object.sha256)
                .or_else(|| object.archived.then_some(Finding::Archived))
        };
        let replaced = is_replaced(row, object) && !self.has_just_come(row, object).await;
        // Nothing was ever written beside what another program stored.
        let lost_facts = (restorable(object).is_none() || object.sha256.is_none())
            && row.created_by != Some(Author::adoption());
        // Facts are written beside bytes that are known to be right, and to nothing else.
        let repair = self.options.repair && (lost_facts || replaced);
        let mut read = false;
        if finding.is_none() && (self.options.deep || repair) {
            finding = match self.read(&row.key).await? {
                Bytes::Absent => return self.without_bytes(row).await,
                Bytes::Unreadable(code) if code == ErrorKind::Archived.code() => {
                    Some(Finding::Archived)
                }
                Bytes::Unreadable(code) => Some(Finding::Unreadable { code }),
                Bytes::Read(actual) => wrong_digest(row.sha256, Some(actual)),
            };
            read = true;
        }
        if finding.is_none() && replaced && !read {
            finding = Some(Finding::Replaced);
        }
        if finding.is_none() && lost_facts {
            finding = Some(Finding::NoFacts);
        }
        // Bytes never change while their row is ready. The store was looked at before, so if the row still is, they are
        // wrong; if it is not, they were on their way out.
        if (finding.is_some() || repair) && !self.is_ready(row).await? {
            return Ok(None);
        }
        if repair && read {
            finding = match finding {
                Some(Finding::NoFacts) => Some(self.write_facts(row).await?),
                // The bytes are right, whatever was done to what is beside them.
                None => {
                    self.note_version(row, object.store_tag.as_deref()).await?;
                    None
                }
                other => other,
            };
        }
        Ok(Some(Verified {
            id: row.id.clone(),
            key: row.key.clone(),
            size: object.size,
            finding,
        }))
    }

    /// Writes the facts again of an object whose bytes are right.
    async fn write_facts(&self, row: &Attachment) -> Result<Finding> {
        let content = self.content(row);
        let stored = Stored {
            size: row.size,
            sha256: Some(row.sha256),
            md5: row.md5,
            crc64: row.crc64,
            // The row's type is settled already.
            utf8: None,
            store_tag: None,
        };
        match self.storage.write_facts(&row.key, &content, &stored).await {
            Ok(tag) => {
                self.note_version(row, tag.as_deref()).await?;
                Ok(Finding::FactsWritten)
            }
            Err(error) => {
                self.goes_on_after(&error, &row.key)?;
                Ok(Finding::NoFacts)
            }
        }
    }

    /// Whether a mover brought the object, and has not noted its version yet.
    async fn has_just_come(&self, row: &Attachment, object: &ObjectInfo) -> bool {
        match self.storage.moving() {
            Some(stores) => stores.has_just_come(row, object).await,
            None => false,
        }
    }

    async fn note_version(&self, row: &Attachment, store_tag: Option<&str>) -> Result<()> {
        if row.store_tag.as_deref() == store_tag {
            return Ok(());
        }
        self.catalog.note_store_tag(&row.id, store_tag).await?;
        Ok(())
    }

    /// As it is stored with the bytes of an upload.
    fn content(&self, row: &Attachment) -> Content {
        let blocks = Blocks {
            bytes: 0,
            concurrency: 1,
            budget: self.budget.clone(),
        };
        Content::new(Facts::from(row), self.inline_types, Some(row.size), blocks)
    }

    /// A ready row whose object was not listed.
    async fn without_bytes(&self, row: &Attachment) -> Result<Option<Verified>> {
        // It may have come after the listing had passed its place.
        let finding = match self.look(&row.key).await {
            Ok(Some(object)) => return Box::pin(self.compare(row, &object)).await,
            // A deletion retires the row before the bytes go, so bytes that are gone under a row that is still ready are lost.
            Ok(None) if !self.is_ready(row).await? => return Ok(None),
            Ok(None) => Finding::Missing,
            Err(error) => Finding::Unreadable {
                code: self.goes_on_after(&error, &row.key)?,
            },
        };
        Ok(Some(Verified {
            id: row.id.clone(),
            key: row.key.clone(),
            size: row.size,
            finding: Some(finding),
        }))
    }

    /// An object for which no ready row was read.
    async fn without_row(&self, object: &ObjectInfo) -> Result<Option<Verified>> {
        // Bytes come after their row and go before it, so the row is looked for first: if there is none and the bytes are
        // there even afterwards, nothing names them.
        if self.catalog.is_referenced(&object.key).await? {
            let id = object.key.id();
            return match self.catalog.find_uncached(&id).await {
                Ok(row) if row.key == object.key => Box::pin(self.compare(&row, object)).await,
                Ok(_) => Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.unfinished(id, object).await
                }
                Err(error) => Err(error),
            };
        }
        let object = match self.look(&object.key).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            // What the listing says is all that there is.
            Err(error) => {
                let code = self.goes_on_after(&error, &object.key)?;
                return Ok(Some(Verified {
                    id: object.key.id(),
                    key: object.key.clone(),
                    size: object.size,
                    finding: Some(Finding::Unreadable { code }),
                }));
            }
        };
        let finding = match (self.is_copy(&object).await?, self.options.repair) {
            (true, _) => Some(Finding::Unknown { restorable: false }),
            (false, true) => self.restore(&object).await?,
            (false, false) => Some(Finding::Unknown {
                restorable: restorable(&object).is_some(),
            }),
        };
        Ok(finding.map(|finding| Verified {
            id: object.key.id(),
            key: object.key,
            size: object.size,
            finding: Some(finding),
        }))
    }

    /// An object whose row is not ready. An upload or a deletion that runs, or a deletion that a sweep will finish, is not a
    /// finding; an upload that nobody works on is, because its sender may have been told that it is there.
    async fn unfinished(&self, id: AttachmentId, object: &ObjectInfo) -> Result<Option<Verified>> {
        // The longest proper prefix is the nearest id before it that can be named; few share it.
        let text = id.as_str();
        let mut after = text
            .get(..text.len() - 1)
            .and_then(|front| front.parse().ok());
        loop {
            let page = self
                .catalog
                .unfinished(after.as_ref(), UNFINISHED_PAGE)
                .await?;
            let interrupted = page.iter().any(|row| row.id == id && row.upload);
            let passed = page.last().is_none_or(|last| last.id.as_str() >= text);
            if interrupted {
                break;
            }
            if passed {
                return Ok(None);
            }
            after = page.last().map(|last| last.id.clone());
        }
        // A sweep may have completed it since.
        match self.catalog.find_uncached(&id).await {
            Ok(row) if row.key == object.key => Box::pin(self.compare(&row, object)).await,
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Verified {
                id,
                key: object.key.clone(),
                size: object.size,
                // A sweep leaves one alone that is not as long as its metadata say.
                finding: Some(match object.facts_size {
                    Some(expected) if expected != object.size => Finding::WrongSize {
                        expected,
                        actual: object.size,
                    },
                    _ => Finding::Interrupted,
                }),
            })),
            Err(error) => Err(error),
        }
    }

    /// Whether this object has the metadata of another one that is there: two objects of one id cannot both be its attachment,
    /// and the right one is under the key that the metadata lead to.
    async fn is_copy(&self, object: &ObjectInfo) -> Result<bool> {
        let Some(facts) = restorable(object) else {
            return Ok(false);
        };
        let extension = facts.filename.extension();
        let original = ObjectKey::new(&facts.id, facts.owner.is_some(), extension.as_deref());
        if original == object.key {
            return Ok(false);
        }
        match self.look(&original).await {
            Ok(found) => Ok(found.is_some_and(|found| restorable(&found).is_some())),
            // Something is there of which nothing can be known: nothing is restored beside it.
            Err(error) => self.goes_on_after(&error, &original).map(|_| true),
        }
    }

    /// Brings back the row of an object that nothing names; `None` if something names it after all.
    async fn restore(&self, object: &ObjectInfo) -> Result<Option<Finding>> {
        let Some(facts) = restorable(object) else {
            return Ok(Some(Finding::Unknown { restorable: false }));
        };
        // A file that was cut is not what its facts tell of.
        if let Some(expected) = object.facts_size
            && expected != object.size
        {
            let actual = object.size;
            return Ok(Some(Finding::WrongSize { expected, actual }));
        }
        let mut sha256 = object.sha256;
        // What is archived cannot be read, and its facts are as good as the others'.
        if sha256.is_none() || (self.options.deep && !object.archived) {
            match (self.read(&object.key).await?, sha256) {
                (Bytes::Absent, _) => return Ok(None),
                // The listing may not know of it yet.
                (Bytes::Unreadable(code), Some(_)) if code == ErrorKind::Archived.code() => {}
                (Bytes::Unreadable(code), _) => return Ok(Some(Finding::Unreadable { code })),
                (Bytes::Read(actual), expected) => {
                    if let Some(wrong) =
                        expected.and_then(|expected| wrong_digest(expected, Some(actual)))
                    {
                        return Ok(Some(wrong));
                    }
                    sha256 = Some(actual);
                }
            }
        }
        let Some(sha256) = sha256 else {
            return Err(Error::internal("the bytes were read, but not hashed"));
        };
        let attachment = Attachment {
            id: facts.id.clone(),
            key: object.key.clone(),
            owner: facts.owner.clone(),
            filename: facts.filename.clone(),
            content_type: facts.content_type.clone(),
            size: object.size,
            sha256,
            crc64: object.crc64,
            md5: object.md5,
            store_tag: object.store_tag.clone(),
            created_at: facts.created_at,
            created_by: facts.created_by.clone(),
        };
        match self.catalog.restore(&attachment).await {
            Ok(()) => Ok(Some(Finding::Restored)),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                // Two objects of one id: only one of them can be its attachment.
                let named = self.catalog.is_referenced(&object.key).await?;
                Ok((!named).then_some(Finding::Unknown { restorable: false }))
            }
            Err(error) => Err(error.during("verify", object.key.as_str())),
        }
    }

    async fn is_ready(&self, row: &Attachment) -> Result<bool> {
        match self.catalog.find_uncached(&row.id).await {
            Ok(now) => Ok(now == *row),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What lies under `key` now.
    async fn look(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        self.storage.head(key).await
    }

    /// The code of an error that says something of one object alone. An outage of the whole store would only repeat itself,
    /// and ends the walk.
    fn goes_on_after(&self, error: &Error, key: &ObjectKey) -> Result<&'static str> {
        match error.kind() {
            ErrorKind::Internal
            | ErrorKind::Archived
            | ErrorKind::CustomerKey
            | ErrorKind::Retained
            // It was overwritten while it was read.
            | ErrorKind::PreconditionFailed
            | ErrorKind::NotFound => {
                tracing::warn!(%key, error = error.report(), "verify: this object is left as it is");
                Ok(error.kind().code())
            }
            _ => Err(error.to_shared().during("verify", key.as_str())),
        }
    }

    /// Reads all bytes and hashes them.
    async fn read(&self, key: &ObjectKey) -> Result<Bytes> {
        let _permit = self.budget.acquire(RELAY_BYTES).await?;
        let outcome = async {
            let mut body = self.storage.get(key, None).await?.body.hashed(false);
            while body.try_next().await?.is_some() {}
            let digests = body.digests().and_then(|digests| digests.sha256);
            digests.ok_or_else(|| Error::internal("the body ended without digests"))
        };
        match outcome.await {
            Ok(sha256) => Ok(Bytes::Read(sha256)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Bytes::Absent),
            Err(error) => self.goes_on_after(&error, key).map(Bytes::Unreadable),
        }
    }
}

/// What came of reading an object.
enum Bytes {
    Absent,
    Unreadable(&'static str),
    Read(Hex<32>),
}

/// The facts, if they are those of this very object, and no copy's.
fn restorable(object: &ObjectInfo) -> Option<&crate::storage::Facts> {
    let facts = object.facts.as_ref();
    facts.filter(|facts| object.key.names(&facts.id))
}

/// Whether the object is another version than the one that was committed. Tools that copy a whole store keep the MD5 and
/// change the versions; tools that change only what is beside the bytes do, too.
fn is_replaced(row: &Attachment, object: &ObjectInfo) -> bool {
    match (row.md5, object.md5) {
        (Some(before), Some(now)) => before != now,
        _ => match (&row.store_tag, &object.store_tag) {
            (Some(before), Some(now)) => before != now,
            _ => false,
        },
    }
}
