//! An upload all of whose bytes are there becomes an attachment, once, whichever process does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::super::{Attache, Parts};
use super::{facts, store};
use crate::attachment::{Attachment, AttachmentId};
use crate::catalog::partial::{PartialUpload, Upload};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::trace;
use crate::service::unsettled::Leftover;
use crate::storage::{Content, Stored};
use crate::transfer::body::Expected;
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::digests::Digests;
use crate::transfer::running::Running;

/// How often it is looked whether somebody else has made the attachment.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it is tried again to let go of an upload while the catalog fails.
const LET_GO_EVERY: Duration = Duration::from_secs(1);

impl Attache {
    /// Makes an attachment of an upload all of whose bytes are there; waits for whoever does that already. Once it has succeeded it
    /// succeeds again. Runs to its end in a task of its own, also if this future is dropped.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such upload; [`Refused`](ErrorKind::Refused) by a hook, which removes it;
    /// those of storage, catalog and hooks, after which it can be tried again.
    pub(in crate::service) async fn finish_upload(&self, id: &AttachmentId) -> Result<Attachment> {
        loop {
            match self.0.catalog.find_uncached(id).await {
                Ok(attachment) => return Ok(attachment),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match self.partials()?.resume(id).await {
                Ok(partial) => return self.finish_ours(partial).await,
                // Somebody does it, or has just done it.
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return self.0.catalog.find_uncached(id).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the attachment of a row that is this process's now.
    async fn finish_ours(&self, partial: PartialUpload) -> Result<Attachment> {
        let (this, parts) = (self.clone(), self.parts());
        let task = self.0.tasks.spawn(trace::carried(async move {
            let started = this.start("upload");
            let made = this.make(&parts, &partial).await;
            this.count("upload", &parts, started, &made);
            match made {
                Ok(attachment) => {
                    let remember = parts.config.upload.remember_completed;
                    this.remember(&partial.id, remember).await;
                    Ok(attachment)
                }
                Err(error) => {
                    match error.kind() {
                        ErrorKind::Refused | ErrorKind::TooLarge => {
                            let pending = this.0.unsettled.pending(&partial.id, Leftover::Row);
                            this.undo(&parts, &partial.id, pending, Some(&partial.key))
                                .await;
                        }
                        _ => this.let_go(partial.clone(), &parts),
                    }
                    Err(error.during("upload", partial.id.as_str()))
                }
            }
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn make(&self, parts: &Arc<Parts>, partial: &PartialUpload) -> Result<Attachment> {
        let partials = self.partials()?;
        let upload = partials
            .look(&partial.id, OffsetDateTime::now_utc())
            .await?;
        if !upload.is_whole() {
            return Err(Error::bad_request("not all bytes of this upload are there"));
        }
        let receipts = partials.receipts(&partial.id).await?;
        let digests = digests(&upload)?;
        let facts = facts(&upload, partial.content_type.clone());
        let content = parts.content(facts, Some(upload.offset));
        let completed = store(parts)?.complete(&partial.upload, &content, &receipts, &digests);
        let stored = completed.await?;
        if (stored.size, stored.crc64) != (digests.size, digests.crc64) {
            return Err(Error::internal(
                "the parts of an upload are not the bytes that came",
            ));
        }
        if !parts.inspectors.is_empty() {
            self.inspect_stored(parts, partial, &content, &stored)
                .await?;
        }
        self.commit(&partial.id, &stored).await
    }

    /// Shows all bytes to those who look at uploads. They see a file as one stream, so it is read once more when all of it is there;
    /// nobody else can read it yet.
    pub(super) async fn inspect_stored(
        &self,
        parts: &Parts,
        partial: &PartialUpload,
        content: &Content,
        stored: &Stored,
    ) -> Result<()> {
        let inspected = parts.inspectors.begin(&content.facts, &self.0.metrics);
        let mut inspected = inspected.await?;
        let _permit = parts.budget.acquire(RELAY_BYTES).await?;
        let object = parts.storage.get(&partial.key, None).await?;
        let mut body = object.body.expecting(Expected {
            size: Some(stored.size),
            crc64: stored.crc64,
            ..Expected::default()
        });
        while let Some(chunk) = body.next().await {
            inspected.chunk(&chunk?).await?;
        }
        inspected.end().await
    }

    /// Notes that an upload is complete, and how long its URL shall say so.
    pub(super) async fn remember(&self, id: &AttachmentId, time: Duration) {
        let until = OffsetDateTime::now_utc() + time;
        let noted = match self.partials() {
            Ok(partials) => partials.completed(id, until).await,
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            // It is remembered for longer then, which does no harm.
            tracing::debug!(%id, error = error.report(), "not noted as completed");
        }
    }

    /// Lets go of an upload that could not be finished, so that any process can try again: as soon as the catalog takes it.
    pub(super) fn let_go(&self, partial: PartialUpload, parts: &Parts) {
        let (this, lifetime) = (self.clone(), parts.config.upload.partial_lifetime);
        self.0.tasks.spawn(trace::carried(async move {
            let began = Instant::now();
            loop {
                let Ok(partials) = this.partials() else {
                    return;
                };
                let suspend = partials.suspend(&partial.id, &partial.upload, partial.expires_at);
                match suspend.await {
                    Ok(()) => return,
                    // It is over, one way or the other.
                    Err(error) if error.kind() == ErrorKind::NotFound => return,
                    Err(error) => {
                        tracing::debug!(id = %partial.id, error = error.report(), "an upload is let go of later");
                    }
                }
                tokio::select! {
                    () = this.0.cut.cancelled() => return,
                    () = tokio::time::sleep(LET_GO_EVERY) => {}
                }
                if began.elapsed() > lifetime {
                    return;
                }
            }
        }));
    }
}

/// What is known of all bytes.
fn digests(upload: &Upload) -> Result<Digests> {
    let running = Running::from_bytes(&upload.digests)?;
    match running.size() == upload.offset {
        true => Ok(running.finish()),
        false => Err(Error::internal(
            "the digests of an upload are those of other bytes",
        )),
    }
}
