//! One stream becomes an object of a bucket, or a part of one.

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::BucketHandle;
use crate::attachment::AttachmentId;
use crate::attachment::filename::Filename;
use crate::error::{Error, Result};
use crate::inspect::Inspected;
use crate::observe::metrics::Direction;
use crate::observe::trace;
use crate::service::reserving::shutting_down;
use crate::service::upload::MIN_SPEED;
use crate::storage::Facts;
use crate::storage::bucket::{Condition, Entry, Key, NewObject, Properties};
use crate::transfer::body::{self, Body, Expected};
use crate::transfer::checksum::{ChecksumKind, Promise};

/// What a client sends, and what it says of it.
#[derive(Clone, Debug, Default)]
pub struct PutObject {
    /// What is kept beside the bytes.
    pub properties: Properties,
    /// The length, if it is known beforehand.
    pub size: Option<u64>,
    /// What the bytes must turn out to be.
    pub digests: ObjectDigests,
    /// What must hold for it to be made.
    pub condition: Condition,
}

/// What bytes must turn out to be.
#[derive(Clone, Debug, Default)]
pub struct ObjectDigests {
    /// Their MD5.
    pub md5: Option<[u8; 16]>,
    /// Their SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// A checksum that is computed, kept, and must be what is promised, if anything is.
    pub checksum: Option<(ChecksumKind, Option<Promise>)>,
}

impl BucketHandle {
    /// Stores an object. It is complete, and on disk or in the cloud, when this returns.
    ///
    /// Runs to its end in a task of its own: if this future is dropped, what was received completely is stored all the same, and
    /// anything else leaves nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge), [`DigestMismatch`](crate::ErrorKind::DigestMismatch),
    /// [`ClientTimeout`](crate::ErrorKind::ClientTimeout), [`Busy`](crate::ErrorKind::Busy), [`Refused`](crate::ErrorKind::Refused) by a
    /// hook, the errors of `body`, and those of [`Bucket::put`](crate::storage::bucket::Bucket::put). Nothing is kept after any.
    pub async fn put(
        &self,
        key: &Key,
        put: PutObject,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Entry> {
        let key = key.clone();
        self.received(
            move |this, passed| async move { this.run_put(&key, put, body, passed).await },
        )
        .await
    }

    async fn run_put(
        &self,
        key: &Key,
        put: PutObject,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        passed: Passed,
    ) -> Result<Entry> {
        let PutObject {
            properties,
            size,
            digests,
            condition,
        } = put;
        let inner = self.inner(key)?;
        let facts = facts(key, &properties);
        let inspected = self.parts.inspectors.begin(&facts, &self.service.0.metrics);
        let incoming = Incoming {
            size,
            digests,
            inspected: Some(inspected.await?),
        };
        let body = self.incoming(body, incoming, passed)?;
        let new = NewObject {
            properties,
            size,
            blocks: self.parts.blocks(),
            condition,
        };
        let entry = self.store.put(&inner, &new, body).await?;
        Ok(self.outer(entry))
    }

    /// Runs to its end, whoever waits for it.
    pub(super) async fn spawned<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.service.0.tasks.spawn(trace::carried(work));
        task.await
            .map_err(|error| Error::internal("the task of a transfer failed").with_source(error))?
    }

    /// Receives bytes to their end, whoever waits for it, and counts the transfer.
    pub(super) async fn received<T: Send + 'static, W>(
        &self,
        work: impl FnOnce(Self, Passed) -> W + Send + 'static,
    ) -> Result<T>
    where
        W: Future<Output = Result<T>> + Send,
    {
        let this = self.clone();
        self.spawned(async move {
            let started = this.service.start("upload");
            let mut stream = this.service.0.metrics.stream(Direction::In);
            let outcome = work(this.clone(), Box::new(stream.counter())).await;
            match &outcome {
                Ok(_) => stream.complete(),
                Err(error) => stream.failed(error),
            }
            this.service.count("upload", &this.parts, started, &outcome);
            outcome
        })
        .await
    }

    /// The bytes as they go into the store: in time, not too many, what was promised, and seen by the hooks.
    pub(super) fn incoming(
        &self,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        incoming: Incoming,
        passed: Passed,
    ) -> Result<Body> {
        let Incoming {
            size,
            digests,
            inspected,
        } = incoming;
        let limits = &self.parts.config.upload;
        if let (Some(size), Some(max)) = (size, limits.max_file_bytes)
            && size > max
        {
            return Err(body::too_large(max));
        }
        let cut = self.service.0.cut.clone();
        let ends = cut.clone();
        let body = body
            .inspect(move |chunk| passed(chunk.as_ref().map_or(0, Bytes::len)))
            .take_until(async move { ends.cancelled().await });
        let body = Body::new(body)
            .paced(limits.idle_timeout, limits.timeout, size, body::sender_late)
            .no_slower_than(MIN_SPEED);
        let watched = Watched {
            body,
            cut,
            inspected,
        };
        let mut body = Body::new(stream::unfold(watched, Watched::step))
            .with_md5()
            .with_crc64();
        // What comes behind the bytes is not known when the last of them does.
        let is_late =
            matches!(&digests.checksum, Some((_, Some(promise))) if promise.get().is_none());
        if let Some((kind, promise)) = digests.checksum {
            body = body.with_checksum(kind, promise);
        }
        Ok(body.expecting(Expected {
            size: size.filter(|_| !is_late),
            max_size: limits.max_file_bytes,
            sha256: digests.sha256,
            md5: digests.md5,
            crc64: None,
        }))
    }
}

/// Counts bytes that pass.
pub(super) type Passed = Box<dyn Fn(usize) + Send>;

/// What is known of bytes before they come, and who looks at them.
pub(super) struct Incoming {
    pub(super) size: Option<u64>,
    pub(super) digests: ObjectDigests,
    pub(super) inspected: Option<Inspected>,
}

/// Bytes that hooks see, and whose end is one.
struct Watched {
    body: Body,
    cut: CancellationToken,
    inspected: Option<Inspected>,
}

impl Watched {
    async fn step(mut self) -> Option<(Result<Bytes>, Self)> {
        let outcome = match (self.body.next().await, &mut self.inspected) {
            (Some(Ok(chunk)), Some(inspected)) => inspected.chunk(&chunk).await.map(|()| chunk),
            (Some(outcome), _) => outcome,
            // The stream that is cut ends; an upload that is cut must not.
            (None, _) if self.cut.is_cancelled() => Err(shutting_down()),
            // The end reaches the store only if nobody objects.
            (None, Some(inspected)) => match inspected.end().await {
                Ok(()) => return None,
                Err(error) => Err(error),
            },
            (None, None) => return None,
        };
        Some((outcome, self))
    }
}

/// What hooks are told of an object.
pub(super) fn facts(key: &Key, properties: &Properties) -> Facts {
    let name = key.file_name();
    Facts {
        id: AttachmentId::generate(),
        owner: None,
        filename: match name.is_empty() {
            true => Filename::unnamed(None),
            false => Filename::from(name.to_owned()),
        },
        content_type: properties
            .content_type
            .clone()
            .unwrap_or_else(|| "application/octet-stream".to_owned()),
        created_at: OffsetDateTime::now_utc(),
        created_by: None,
    }
}
