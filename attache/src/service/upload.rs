//! One stream becomes an attachment: its type, its row, its bytes, and the row again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use time::OffsetDateTime;

use super::beginning::{Beginning, beginning};
use super::reserving::{RESERVE_STEP, Reserving};
use super::unsettled::Leftover;
use super::{Attache, Parts};
use crate::attachment::filename::Filename;
use crate::attachment::media;
use crate::attachment::{Attachment, AttachmentId, NewAttachment, ObjectKey};
use crate::catalog::{Begun, Draft};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::{Direction, StreamGuard};
use crate::observe::trace;
use crate::storage::{Facts, Stored};
use crate::transfer::body::{self, Body, Expected};

/// What must come of an upload within two idle limits: 546 bytes a second by default, less than the slowest of mobile networks.
pub(super) const MIN_SPEED: u64 = 64 * 1024;

/// An attachment that was uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Uploaded {
    /// The attachment.
    pub attachment: Attachment,
    /// It is the result of an earlier try with the same idempotency key.
    pub repeated: bool,
}

impl Attache {
    /// Stores a file. It is complete and on disk, or in the cloud, when this returns.
    ///
    /// Runs to its end in a task of its own: if this future is dropped, what was received completely is stored all the
    /// same, and anything else leaves nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) and [`QuotaExceeded`](ErrorKind::QuotaExceeded) as soon as it is known;
    /// [`DigestMismatch`](ErrorKind::DigestMismatch); [`ClientTimeout`](ErrorKind::ClientTimeout); the errors of `body`;
    /// [`Busy`](ErrorKind::Busy) if there is no memory; the errors of storage and catalog. Nothing is kept after any; where
    /// the catalog itself failed, [`take_over`](Self::take_over) removes what it left.
    pub async fn upload(
        &self,
        new: NewAttachment,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Uploaded> {
        let this = self.clone();
        let parts = self.parts();
        let task = self.0.tasks.spawn(trace::carried(async move {
            let started = this.start("upload");
            let mut stream = this.0.metrics.stream(Direction::In);
            let outcome = this.run_upload(&parts, new, body, &mut stream).await;
            match &outcome {
                Ok(_) => stream.complete(),
                Err(error) => stream.failed(error),
            }
            this.count("upload", &parts, started, &outcome);
            outcome
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn run_upload(
        &self,
        parts: &Arc<Parts>,
        new: NewAttachment,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        stream: &mut StreamGuard,
    ) -> Result<Uploaded> {
        self.takes_uploads(parts).await?;
        let limits = &parts.config.upload;
        if let (Some(size), Some(max)) = (new.size, limits.max_file_bytes)
            && size > max
        {
            return Err(body::too_large(max));
        }
        let cut = self.0.cut.clone();
        // As they come, and not when all of it is stored: a large upload would be a peak at its end.
        let passed = stream.counter();
        let body = body
            .inspect(move |chunk| passed(chunk.as_ref().map_or(0, Bytes::len)))
            .take_until(async move { cut.cancelled().await });
        let mut body = Body::new(body)
            .paced(
                limits.idle_timeout,
                limits.timeout,
                new.size,
                body::sender_late,
            )
            .no_slower_than(MIN_SPEED);
        let Beginning { head, read } = beginning(&mut body).await?;
        let claim = new.content_type.as_deref();
        let content_type = media::decide(claim, &head, new.filename.as_ref());
        drop(head);
        let filename = new
            .filename
            .unwrap_or_else(|| Filename::unnamed(media::extension(&content_type)));
        let id = AttachmentId::generate();
        let key = ObjectKey::new(&id, new.owner.is_some(), filename.extension().as_deref());
        let quota = limits.total_bytes;
        let draft = Draft {
            id: id.clone(),
            key: key.clone(),
            owner: new.owner,
            filename,
            content_type,
            created_by: new.created_by,
            created_at: whole_millis(OffsetDateTime::now_utc()),
            size: new.size,
            reserve: new.size.unwrap_or(0).min(RESERVE_STEP),
            quota,
            idempotency_key: new.idempotency_key,
        };
        let mut pending = self.0.unsettled.pending(&id, Leftover::Upload(None));
        match self.0.catalog.begin(&draft).await {
            Ok(Begun::New) => {}
            Ok(Begun::Repeated(attachment)) => {
                pending.settled();
                return Ok(Uploaded {
                    attachment: *attachment,
                    repeated: true,
                });
            }
            Err(error) if error.kind().is_expected() && error.kind() != ErrorKind::Busy => {
                // A refusal leaves no row. A catalog that had no time may have made one before.
                pending.settled();
                return Err(error);
            }
            Err(error) => {
                // A failure may have happened after the row was written, with its share of the quota.
                self.undo_later(parts, &id, pending);
                return Err(error.during("upload", id.as_str()));
            }
        }
        // From here on it is seen to be in progress. A client that kept its first bytes back for so long that the configuration changed goes
        // to the store of the new one: nobody looks for it in the old one.
        let now = self.parts();
        if !Arc::ptr_eq(parts, &now)
            && let Err(error) = self.takes_uploads(&now).await
        {
            self.undo(&now, &id, pending, None).await;
            return Err(error.during("upload", id.as_str()));
        }
        let parts = &now;
        let asked = Arc::new(AtomicBool::new(false));
        let content = parts.content(facts(&draft), new.size);
        let inspected = parts.inspectors.begin(&content.facts, &self.0.metrics);
        let inspected = match inspected.await {
            Ok(inspected) => inspected,
            Err(error) => {
                self.undo(parts, &id, pending, None).await;
                return Err(error.during("upload", id.as_str()));
            }
        };
        let reserving = Reserving {
            body,
            first: read,
            catalog: self.0.catalog.clone(),
            cut: self.0.cut.clone(),
            id: id.clone(),
            quota,
            size: new.size,
            taken: 0,
            reserved: draft.reserve,
            asked: asked.clone(),
            inspected,
        };
        // Of what is known to be longer, nothing is begun.
        let md5_up_to = limits.md5_up_to(parts.storage.computes_md5());
        let md5_up_to = match new.size {
            Some(size) if size > md5_up_to => 0,
            _ => md5_up_to,
        };
        let body = Body::new(stream::unfold(reserving, Reserving::step))
            .hashed(false)
            .with_md5_up_to(md5_up_to)
            .expecting(Expected {
                size: new.size,
                max_size: limits.max_file_bytes,
                sha256: new.sha256,
                md5: new.md5,
                crc64: None,
            });
        pending.sends(&key);
        let stored = parts.storage.put(&key, &content, body).await;
        let committed = match stored {
            Ok(stored) => self.commit(&id, &stored).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(attachment) => {
                pending.settled();
                Ok(Uploaded {
                    attachment,
                    repeated: false,
                })
            }
            Err(error) => {
                // A conflict is somebody else's object; a storage that asked for no byte has sent none.
                let sent = error.kind() != ErrorKind::Conflict && asked.load(Ordering::Relaxed);
                let key = sent.then_some(&key);
                self.undo(parts, &id, pending, key).await;
                Err(error.during("upload", id.as_str()))
            }
        }
    }

    /// Makes an attachment of a row whose bytes are stored.
    pub(super) async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        match self.0.catalog.commit(id, stored).await {
            // It may have happened all the same, and somebody may have seen it: ask again before it is taken back.
            Err(error) if !error.kind().is_expected() => self.0.catalog.commit(id, stored).await,
            outcome => outcome,
        }
    }
}

/// What the store keeps of a draft.
pub(super) fn facts(draft: &Draft) -> Facts {
    Facts {
        id: draft.id.clone(),
        owner: draft.owner.clone(),
        filename: draft.filename.clone(),
        content_type: draft.content_type.clone(),
        created_at: draft.created_at,
        created_by: draft.created_by.clone(),
    }
}

/// What the catalog keeps.
pub(super) fn whole_millis(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}
