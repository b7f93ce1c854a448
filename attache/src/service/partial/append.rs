//! One request brings bytes of an upload.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::super::reserving::shutting_down;
use super::super::upload::MIN_SPEED;
use super::super::{Attache, Parts};
use super::chunk::{Chunk, End, Known, Source, too_long};
use super::create::longest;
use super::store;
use crate::attachment::Attachment;
use crate::attachment::media::{self, SNIFF_BYTES};
use crate::catalog::partial::{Step, Upload};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::{Direction, StreamGuard};
use crate::observe::trace;
use crate::storage::multipart::{Part, PartReceipt, UploadRef};
use crate::transfer::body::{self, Body};
use crate::transfer::running::Running;

/// The least that a part is, where the body has more.
const LEAST_PART: u64 = 256 * 1024;

/// How long a running upload waits for the memory of its next part.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What a request says of the bytes that it brings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Append {
    /// Where they begin.
    pub offset: u64,
    /// All bytes that the upload will have, for one that was created without.
    pub length: Option<u64>,
    /// How many the request brings, if it says so.
    pub size: Option<u64>,
}

/// What became of bytes.
#[derive(Clone, Debug)]
pub enum Appended {
    /// All of them are stored.
    Stored(Upload),
    /// They were the last ones: the upload is this attachment.
    Completed(Upload, Box<Attachment>),
    /// The upload ends elsewhere; none of them were read.
    Elsewhere(Upload),
    /// Another request has taken the upload. What had come is stored, if that was still possible; the client must not be told
    /// anything, since it has gone on.
    Taken,
}

impl Attache {
    /// Stores what `body` brings at the end of an upload, in parts of `upload.block_bytes` and what is left when it ends, also when
    /// it breaks off. Ends another request that does the same. If all bytes are there then, the upload becomes an attachment.
    ///
    /// `upload` is as it was found; how far it is now is seen when the request has it. Runs to its end in a task of its own: if this
    /// future is dropped, what was received is stored all the same.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it is gone; [`BadRequest`](ErrorKind::BadRequest) for a length that changes;
    /// [`TooLarge`](ErrorKind::TooLarge) for bytes beyond the length or the limits, and [`QuotaExceeded`](ErrorKind::QuotaExceeded):
    /// what was stored before stays; the errors of `body`, of storage and catalog, of the hooks. [`Refused`](ErrorKind::Refused) by a
    /// hook removes the upload.
    pub async fn append(
        &self,
        upload: Upload,
        append: Append,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Appended> {
        let (this, id, parts) = (self.clone(), upload.id.clone(), self.parts());
        let task = self.0.tasks.spawn(trace::carried(async move {
            let mut stream = this.0.metrics.stream(Direction::In);
            let outcome = this.append_to(&parts, upload, append, body, &stream).await;
            judge(&mut stream, &outcome);
            outcome.map_err(|error| error.during("upload", id.as_str()))
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn append_to(
        &self,
        parts: &Arc<Parts>,
        upload: Upload,
        append: Append,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        stream: &StreamGuard,
    ) -> Result<Appended> {
        self.takes_uploads(parts).await?;
        // Told before anybody is disturbed, where it can be told.
        refuse(parts, &upload, append)?;
        if upload.is_complete {
            return self.append_to_complete(upload, append, body).await;
        }
        let hold = self.hold(&upload.id).await?;
        let parts = &hold.parts.clone();
        let upload = hold.upload.clone();
        let length = match refuse(parts, &upload, append) {
            Ok(length) => length,
            Err(error) => {
                hold.release().await;
                return Err(error);
            }
        };
        if upload.is_complete {
            hold.release().await;
            return self.append_to_complete(upload, append, body).await;
        }
        if upload.offset != append.offset || (upload.is_whole() && append.size == Some(0)) {
            hold.release().await;
            return match upload.offset == append.offset {
                true => self.completed_by(upload).await,
                false => Ok(Appended::Elsewhere(upload)),
            };
        }
        let limits = &parts.config.upload;
        let end = length.unwrap_or(u64::MAX).min(longest(limits));
        let passed = stream.counter();
        let body = body.inspect(move |chunk| passed(chunk.as_ref().map_or(0, Bytes::len)));
        let body = Body::new(body)
            .paced(
                limits.idle_timeout,
                limits.timeout,
                append.size,
                body::sender_late,
            )
            .no_slower_than(MIN_SPEED);
        let source = Source {
            body,
            left: end.saturating_sub(upload.offset),
            carry: None,
            let_go: hold.is_wanted(),
            cut: self.0.cut.clone(),
        };
        let mut flow = Flow {
            service: self,
            parts: parts.clone(),
            upload,
            length,
        };
        let ended = flow.run(source, append.size).await;
        let upload = flow.upload;
        if !matches!(&ended, Err(Stop::Lost)) {
            hold.release().await;
        }
        match ended {
            Ok(()) if upload.is_whole() => self.completed_by(upload).await,
            Ok(()) => Ok(Appended::Stored(upload)),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::LetGo) if self.0.cut.is_cancelled() => Err(shutting_down()),
            Err(Stop::LetGo) => Ok(Appended::Taken),
            Err(Stop::Lost) => {
                self.forget_stray(parts, &upload).await;
                Ok(Appended::Taken)
            }
        }
    }

    /// tuspy sends an empty body to what is complete, and wants to hear that it is.
    async fn append_to_complete(
        &self,
        upload: Upload,
        append: Append,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Appended> {
        if upload.offset != append.offset {
            return Ok(Appended::Elsewhere(upload));
        }
        let mut body = Body::new(body);
        match body.next().await {
            None => self.completed_by(upload).await,
            Some(Ok(_)) => Err(too_long()),
            Some(Err(error)) => Err(error),
        }
    }

    async fn completed_by(&self, upload: Upload) -> Result<Appended> {
        let attachment = self.finish_upload(&upload.id).await?;
        let upload = Upload {
            is_complete: true,
            ..upload
        };
        Ok(Appended::Completed(upload, Box::new(attachment)))
    }

    /// Another request took the upload while this one stored a part. If it has ended the upload meanwhile, nobody else knows of that
    /// part.
    async fn forget_stray(&self, parts: &Parts, upload: &Upload) {
        let is_over = match self.find_upload(&upload.id).await {
            Ok(now) => now.is_complete,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        let (Some(name), Ok(store), true) = (&upload.upload, store(parts), is_over) else {
            return;
        };
        if let Err(error) = store.abort(name).await {
            tracing::warn!(id = %upload.id, error = error.report(), "a part that came too late is left at the store");
        }
    }
}

/// What can be refused before a byte is read; the length of the upload, as far as it is known.
fn refuse(parts: &Parts, upload: &Upload, append: Append) -> Result<Option<u64>> {
    if upload.direct {
        // To whoever brings bytes here it is not there.
        return Err(Error::not_found(upload.id.as_str()));
    }
    let length = match (upload.length, append.length) {
        (Some(known), Some(said)) if known != said => {
            return Err(Error::bad_request(format!(
                "the upload has {known} bytes, and cannot change to {said}"
            )));
        }
        (known, said) => known.or(said),
    };
    if let Some(length) = length {
        if length < upload.offset {
            return Err(Error::bad_request(format!(
                "an upload of which {} bytes came cannot have {length}",
                upload.offset
            )));
        }
        let limit = longest(&parts.config.upload);
        if length > limit {
            return Err(body::too_large(limit));
        }
        if append.offset == upload.offset
            && append
                .size
                .is_some_and(|size| size > length - upload.offset)
        {
            return Err(too_long());
        }
    }
    Ok(length)
}

/// Why a request ends before its body.
enum Stop {
    Failed(Error),
    /// Somebody else waits; all that came is recorded.
    LetGo,
    /// Somebody else has the upload; what came last is not recorded.
    Lost,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The way of bytes into parts: one is stored while the next one is collected.
struct Flow<'a> {
    service: &'a Attache,
    parts: Arc<Parts>,
    /// As it is recorded.
    upload: Upload,
    length: Option<u64>,
}

/// A part on its way to the store, and what is known up to its end.
struct Sent {
    put: JoinHandle<Result<PartReceipt>>,
    known: Known,
}

impl Flow<'_> {
    async fn run(&mut self, mut source: Source, size: Option<u64>) -> Result<(), Stop> {
        let name = self.upload.upload.clone().ok_or_else(gone)?;
        let (least, most) = self.part_bytes()?;
        let budget = self.parts.budget.clone();
        let mut known = Known {
            digests: Running::from_bytes(&self.upload.digests)?,
            first: self.upload.first.clone(),
        };
        let (mut sent, mut number) = (None::<Sent>, self.upload.parts);
        let end = size.map_or(u64::MAX, |size| self.upload.offset.saturating_add(size));
        let mut wait = crate::transfer::budget::MAX_WAIT;
        loop {
            let wanted = end.saturating_sub(known.digests.size());
            let part_bytes = budget.share(least, most);
            let room = part_bytes.min(wanted.min(source.room())).max(1);
            // The part on its way needs nothing more, so whoever waits here waits for others, never for itself.
            let permit = budget.acquire_within(room, wait).await;
            wait = PATIENCE;
            let (chunk, end) = match permit {
                Ok(permit) => source.chunk(permit, &mut known).await,
                Err(error) => {
                    self.record(sent.take()).await?;
                    return Err(error.into());
                }
            };
            self.record(sent.take()).await?;
            if !chunk.bytes.is_empty() {
                number += 1;
                sent = Some(self.send(&name, number, chunk, known.clone())?);
            }
            match end {
                End::Full => {}
                End::Body => {
                    self.record(sent).await?;
                    return self.note_length(known).await;
                }
                End::Failed(error) => {
                    self.record(sent).await?;
                    return Err(error.into());
                }
                End::LetGo => {
                    self.record(sent).await?;
                    return Err(Stop::LetGo);
                }
            }
        }
    }

    /// How large parts are, at least and at most: as blocks are or less, and larger only if the whole would have too many otherwise.
    fn part_bytes(&self) -> Result<(u64, u64)> {
        let limits = store(&self.parts)?.limits();
        // Half of them are for bodies that end or break off before a part is full.
        let fit = u64::from(limits.max_parts / 2).max(1);
        let needed = self.length.map_or(0, |length| length.div_ceil(fit));
        let fits = |bytes: u64| {
            bytes
                .min(limits.max_bytes)
                .min(self.parts.budget.largest_block())
        };
        let most = fits(self.parts.config.upload.block_bytes.max(needed));
        Ok((fits(LEAST_PART.max(needed)).min(most), most))
    }

    fn send(&self, name: &UploadRef, number: u32, chunk: Chunk, known: Known) -> Result<Sent> {
        let limits = store(&self.parts)?.limits();
        if number > limits.max_parts {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the upload came in more than {} pieces; send larger ones",
                    limits.max_parts
                ),
            ));
        }
        let part = Part {
            number,
            offset: known.digests.size() - chunk.bytes.len() as u64,
            size: chunk.bytes.len() as u64,
        };
        let (parts, name) = (self.parts.clone(), name.clone());
        let put = self.service.0.tasks.spawn(trace::carried(async move {
            let Chunk { bytes, permit } = chunk;
            let put = store(&parts)?.put_bytes(&name, part, bytes).await;
            drop(permit);
            put
        }));
        Ok(Sent { put, known })
    }

    /// Waits until a part is stored, and records it.
    async fn record(&mut self, sent: Option<Sent>) -> Result<(), Stop> {
        let Some(Sent { put, mut known }) = sent else {
            return Ok(());
        };
        let put = put
            .await
            .map_err(|error| Error::internal("storing a part failed").with_source(error))?;
        let receipt = put?;
        let before = Running::from_bytes(&self.upload.digests)?;
        known.digests.piece(&before, receipt.crc64);
        self.advance(known, Some(receipt)).await
    }

    /// Records a length that became known after the last byte.
    async fn note_length(&mut self, mut known: Known) -> Result<(), Stop> {
        if self.length == self.upload.length {
            return Ok(());
        }
        known.digests = Running::from_bytes(&self.upload.digests)?;
        self.advance(known, None).await
    }

    async fn advance(&mut self, known: Known, receipt: Option<PartReceipt>) -> Result<(), Stop> {
        let limits = &self.parts.config.upload;
        let offset = known.digests.size();
        // The type is told once: by the part that brings the last byte that has a say in it.
        let told = offset >= SNIFF_BYTES as u64 || self.length == Some(offset);
        let open = self.upload.offset < SNIFF_BYTES as u64;
        let content_type = (told && open).then(|| {
            let (claim, filename) = (self.upload.claim.as_deref(), &self.upload.filename);
            media::decide(claim, &known.first, Some(filename))
        });
        let step = Step {
            epoch: self.upload.epoch,
            from: self.upload.offset,
            offset,
            length: self.length,
            receipt,
            first: if told { Vec::new() } else { known.first },
            digests: known.digests.to_bytes(),
            content_type,
            expires_at: OffsetDateTime::now_utc() + limits.partial_lifetime,
            quota: limits.total_bytes,
        };
        let partials = self.service.partials()?;
        match partials.advance(&self.upload.id, &step).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                return Err(Stop::Lost);
            }
            Err(error) => return Err(error.into()),
        }
        self.upload.parts += u32::from(step.receipt.is_some());
        self.upload.offset = offset;
        self.upload.length = self.length;
        self.upload.first = step.first;
        self.upload.digests = step.digests;
        self.upload.expires_at = step.expires_at;
        Ok(())
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "this upload is complete")
}

fn judge(stream: &mut StreamGuard, outcome: &Result<Appended>) {
    match outcome {
        Ok(Appended::Taken) => stream.failed(&Error::new(ErrorKind::ClientGone, "it went on")),
        Ok(_) => stream.complete(),
        Err(error) => stream.failed(error),
    }
}
