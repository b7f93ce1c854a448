//! Walks the store and the catalog together, and tells where they disagree.
//!
//! Both are read in ascending order of object keys, like two sorted lists that are merged, so that memory does not grow
//! with their length. Uploads and deletions go on meanwhile: what looks wrong is looked at again, in an order in which
//! nothing that merely appeared or disappeared on the way can be taken for a fault.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use futures::{FutureExt, SinkExt};
use serde::{Serialize, Serializer};

use crate::attachment::{Attachment, Hex, ObjectKey};
use crate::budget::{Budget, RELAY_BYTES};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ObjectInfo, Storage};

/// Rows that are read at a time.
const PAGE: u32 = 1000;

/// How thorough a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Read all bytes and hash them, instead of believing what the store says of them.
    pub deep: bool,
    /// Bring back rows that the catalog lost, from the facts that lie with the objects. Nothing is ever deleted.
    pub repair: bool,
}

/// What was looked at: an attachment, an object, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Under which key.
    pub key: ObjectKey,
    /// Its length in bytes, as the store has it, or the catalog if the store has nothing.
    pub size: u64,
    /// What is wrong with it.
    pub finding: Option<Finding>,
}

/// How store and catalog disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// An attachment without bytes: they were lost, or removed past attache.
    Missing,
    /// Bytes that no row names.
    Unknown {
        /// Whether facts lie with them, from which the row can be restored.
        restorable: bool,
    },
    /// There were bytes that no row named; their row is back.
    Restored,
    /// The bytes have another length than the catalog says.
    WrongSize {
        /// The catalog's.
        expected: u64,
        /// The store's.
        actual: u64,
    },
    /// The bytes have another SHA-256 than the catalog says, or for bytes without a row, than their facts say.
    WrongDigest {
        /// What it should be.
        #[serde(serialize_with = "as_text")]
        expected: Hex<32>,
        /// What the store says, or what the bytes that were read have.
        #[serde(serialize_with = "as_text")]
        actual: Hex<32>,
    },
    /// The bytes cannot be read to their end.
    Unreadable {
        /// The [code](ErrorKind::code) of the error.
        code: &'static str,
    },
}

impl Finding {
    /// Whether somebody has to do something about it.
    pub fn remains(&self) -> bool {
        *self != Self::Restored
    }
}

/// One item for every key that the store or the catalog knows, in ascending order.
pub(crate) fn run(
    catalog: Arc<dyn Catalog>,
    storage: Arc<dyn Storage>,
    budget: Budget,
    options: VerifyOptions,
) -> BoxStream<'static, Result<Verified>> {
    // The walk borrows the store that it owns, so it is one future; what it finds comes through a queue of one.
    let (found, findings) = mpsc::channel(0);
    let walk = async move {
        let walk = Walk {
            catalog: &*catalog,
            storage: &*storage,
            budget: &budget,
            options,
        };
        walk.run(found).await
    };
    let end = walk.into_stream().filter_map(async |outcome| outcome.err());
    stream::select(findings.map(Ok), end.map(Err)).boxed()
}

struct Walk<'a> {
    catalog: &'a dyn Catalog,
    storage: &'a dyn Storage,
    budget: &'a Budget,
    options: VerifyOptions,
}

impl Walk<'_> {
    async fn run(&self, mut found: mpsc::Sender<Verified>) -> Result<()> {
        // A damaged index would show rows to be missing that are there.
        self.catalog.check().await?;
        let mut rows = std::pin::pin!(self.rows().peekable());
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

    fn rows(&self) -> impl Stream<Item = Result<Attachment>> + '_ {
        let start = (VecDeque::new(), None, false);
        stream::try_unfold(start, async |(mut page, mut after, mut last)| {
            if page.is_empty() && !last {
                page = self.catalog.walk(after.as_ref(), PAGE).await?.into();
                last = page.len() < PAGE as usize;
            }
            let Some(row): Option<Attachment> = page.pop_front() else {
                return Ok(None);
            };
            after = Some(row.key.clone());
            Ok(Some((row, (page, after, last))))
        })
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
        };
        if finding.is_none() && self.options.deep {
            finding = match self.read(&row.key).await? {
                Bytes::Absent => return self.without_bytes(row).await,
                Bytes::Unreadable(code) => Some(Finding::Unreadable { code }),
                Bytes::Read(actual) => wrong_digest(row.sha256, Some(actual)),
            };
        }
        // Bytes never change while their row is ready. The store was looked at before, so if the row still is, they are
        // wrong; if it is not, they were on their way out.
        if finding.is_some() && !self.is_ready(row).await? {
            return Ok(None);
        }
        Ok(Some(Verified {
            key: row.key.clone(),
            size: object.size,
            finding,
        }))
    }

    /// A ready row whose object was not listed.
    async fn without_bytes(&self, row: &Attachment) -> Result<Option<Verified>> {
        // It may have come after the listing had passed its place.
        if let Some(object) = self.look(&row.key).await? {
            return Box::pin(self.compare(row, &object)).await;
        }
        // A deletion retires the row before the bytes go, so bytes that are gone under a row that is still ready are lost.
        if !self.is_ready(row).await? {
            return Ok(None);
        }
        Ok(Some(Verified {
            key: row.key.clone(),
            size: row.size,
            finding: Some(Finding::Missing),
        }))
    }

    /// An object for which no ready row was read.
    async fn without_row(&self, object: &ObjectInfo) -> Result<Option<Verified>> {
        // Bytes come after their row and go before it, so the row is looked for first: if there is none and the bytes are
        // there even afterwards, nothing names them.
        if self.catalog.names(&object.key).await? {
            return match self.catalog.find_now(&object.key.id()).await {
                Ok(row) if row.key == object.key => Box::pin(self.compare(&row, object)).await,
                // An upload or a deletion that runs, or that a sweep will finish.
                Ok(_) => Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        let Some(object) = self.look(&object.key).await? else {
            return Ok(None);
        };
        let finding = match self.options.repair {
            true => self.restore(&object).await?,
            false => Some(Finding::Unknown {
                restorable: restorable(&object).is_some(),
            }),
        };
        Ok(finding.map(|finding| Verified {
            key: object.key,
            size: object.size,
            finding: Some(finding),
        }))
    }

    /// Brings back the row of an object that nothing names; `None` if something names it after all.
    async fn restore(&self, object: &ObjectInfo) -> Result<Option<Finding>> {
        let Some(facts) = restorable(object) else {
            return Ok(Some(Finding::Unknown { restorable: false }));
        };
        let mut sha256 = object.sha256;
        if sha256.is_none() || self.options.deep {
            let actual = match self.read(&object.key).await? {
                Bytes::Absent => return Ok(None),
                Bytes::Unreadable(code) => return Ok(Some(Finding::Unreadable { code })),
                Bytes::Read(actual) => actual,
            };
            if let Some(expected) = sha256
                && let Some(wrong) = wrong_digest(expected, Some(actual))
            {
                return Ok(Some(wrong));
            }
            sha256 = Some(actual);
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
            created_at: facts.created_at,
            created_by: facts.created_by.clone(),
        };
        match self.catalog.restore(&attachment).await {
            Ok(()) => Ok(Some(Finding::Restored)),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                // Two objects of one id: only one of them can be its attachment.
                let named = self.catalog.names(&object.key).await?;
                Ok((!named).then_some(Finding::Unknown { restorable: false }))
            }
            Err(error) => Err(error.during("verify", object.key.as_str())),
        }
    }

    async fn is_ready(&self, row: &Attachment) -> Result<bool> {
        match self.catalog.find_now(&row.id).await {
            Ok(now) => Ok(now == *row),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What lies under `key` now.
    async fn look(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.storage.get(key, None).await {
            Ok(object) => Ok(Some(object.info)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
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
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(Bytes::Absent),
                // A disk that has lost a part of a file; an outage of the whole store would only repeat itself.
                ErrorKind::Internal => {
                    tracing::warn!(%key, error = error.report(), "verify: cannot be read");
                    Ok(Bytes::Unreadable(error.kind().code()))
                }
                _ => Err(error.during("verify", key.as_str())),
            },
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
    facts.filter(|facts| facts.id == object.key.id())
}

fn wrong_digest(expected: Hex<32>, actual: Option<Hex<32>>) -> Option<Finding> {
    let actual = actual.filter(|actual| *actual != expected)?;
    Some(Finding::WrongDigest { expected, actual })
}

fn as_text<S: Serializer>(hex: &Hex<32>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(hex)
}
