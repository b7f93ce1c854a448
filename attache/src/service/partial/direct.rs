//! Uploads whose bytes the client sends to the store by itself, by one PUT: they count when attache has read them.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use time::OffsetDateTime;

use super::super::beginning::{Beginning, beginning};
use super::super::upload::MIN_SPEED;
use super::super::{Attache, Parts};
use super::create::NewPartial;
use super::facts;
use super::hold::Hold;
use crate::attachment::{Attachment, AttachmentId, Hex, NewAttachment, media};
use crate::catalog::partial::{Step, Upload};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::Direction;
use crate::observe::trace;
use crate::secret::SignedUrl;
use crate::storage::{Content, PutGrant, PutOffer, Stored};
use crate::transfer::body::{self, Body, Expected};
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::digests::mismatch;

/// How long a client has to begin its PUT. One that has begun may take as long as the store allows.
pub(super) const PUT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// What clocks may differ by, and a PUT be on its way before the store looks at its URL.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// What a proof of [`DirectPut::Here`] is about.
const PURPOSE: &str = "upload v1";

/// Where a client sends the bytes of a direct upload.
#[derive(Clone, Debug)]
pub enum DirectPut {
    /// To the store itself.
    Store(PutOffer),
    /// To attache, because the store can give nobody else the right: [`Attache::put_direct`].
    Here {
        /// What the PUT must show.
        proof: SignedUrl,
        /// When it stops working.
        expires_at: OffsetDateTime,
    },
}

impl Attache {
    /// Begins an upload whose bytes the client sends to the store by itself. All of its share of the quota is reserved.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](ErrorKind::BadRequest) without a size; [`TooLarge`](ErrorKind::TooLarge), also for more bytes than the store
    /// takes in one PUT; [`QuotaExceeded`](ErrorKind::QuotaExceeded); those of storage and catalog.
    pub async fn create_direct(
        &self,
        new: NewAttachment,
        caller: String,
    ) -> Result<(Upload, DirectPut)> {
        let parts = self.parts();
        self.takes_uploads(&parts).await?;
        let size = new.size.ok_or_else(|| {
            Error::bad_request("\"size\" is missing: how many bytes the file has")
        })?;
        let md5 = new.md5;
        let partial = NewPartial {
            new,
            metadata: md5.map(crate::base64::encode).unwrap_or_default(),
            caller,
        };
        let id = self.record_upload(&parts, partial, true).await?;
        let upload = self.find_upload(&id).await?;
        let content = as_claimed(&parts, &upload);
        let grant = PutGrant {
            lifetime: PUT_LIFETIME,
            size,
            content_type: content.content_type,
            md5,
        };
        let put = match parts.storage.offer_put(&upload.key, &grant).await {
            Ok(Some(offer)) => DirectPut::Store(offer),
            Ok(None) => self.own_link(&id),
            Err(error) => {
                // Nobody has the right to put anything there yet.
                if let Err(left) = self.cancel_upload(&id).await {
                    tracing::debug!(%id, error = left.report(), "left until it expires");
                }
                return Err(error);
            }
        };
        Ok((upload, put))
    }

    fn own_link(&self, id: &AttachmentId) -> DirectPut {
        let expires_at = OffsetDateTime::now_utc() + PUT_LIFETIME;
        let expires = expires_at.unix_timestamp();
        let sig = self.0.links.prove(PURPOSE, &format!("{id}\n{expires}"));
        DirectPut::Here {
            proof: SignedUrl::new(format!("expires={expires}&sig={sig}")),
            expires_at,
        }
    }

    /// Stores the bytes of a direct upload at attache itself, for whoever shows the proof. They count when it is
    /// [completed](Self::complete_direct).
    ///
    /// # Errors
    ///
    /// [`Forbidden`](ErrorKind::Forbidden) for a proof that expired or is of something else; [`NotFound`](ErrorKind::NotFound);
    /// [`Conflict`](ErrorKind::Conflict) if bytes are there already; [`DigestMismatch`](ErrorKind::DigestMismatch) and the errors of
    /// `body`, after which nothing is there. Runs to its end in a task of its own.
    pub async fn put_direct(
        &self,
        id: &AttachmentId,
        (expires, sig): (i64, &str),
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Hex<16>> {
        let proven = self
            .0
            .links
            .proves(PURPOSE, &format!("{id}\n{expires}"), sig);
        if !proven || expires <= OffsetDateTime::now_utc().unix_timestamp() {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "this link has expired or was changed; ask for a new one",
            ));
        }
        let (this, id, parts) = (self.clone(), id.clone(), self.parts());
        let task = self.0.tasks.spawn(trace::carried(async move {
            let mut stream = this.0.metrics.stream(Direction::In);
            let passed = stream.counter();
            let body = body.inspect(move |chunk| passed(chunk.as_ref().map_or(0, Bytes::len)));
            let stored = this.store_direct(&parts, &id, body).await;
            match &stored {
                Ok(_) => stream.complete(),
                Err(error) => stream.failed(error),
            }
            stored.map_err(|error| error.during("upload", id.as_str()))
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn store_direct(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Hex<16>> {
        self.takes_uploads(parts).await?;
        let upload = self.find_upload(id).await?;
        if !upload.direct {
            return Err(Error::not_found(id.as_str()));
        }
        if upload.is_complete {
            return Err(Error::new(ErrorKind::Conflict, "this upload is complete"));
        }
        let limits = &parts.config.upload;
        let content = as_claimed(parts, &upload);
        let cut = self.0.cut.clone();
        // The length is known, so a body that is cut is no whole one.
        let body = Body::new(body.take_until(async move { cut.cancelled().await }))
            .paced(
                limits.idle_timeout,
                limits.timeout,
                upload.length,
                body::sender_late,
            )
            .no_slower_than(MIN_SPEED)
            .hashed(true)
            .expecting(Expected {
                size: upload.length,
                md5: promised_md5(&upload),
                ..Expected::default()
            });
        let stored = parts.storage.put(&upload.key, &content, body).await?;
        // It may have been deleted meanwhile. Whoever deletes it after this look finds the object.
        if let Err(error) = self.find_upload(id).await {
            if error.kind() == ErrorKind::NotFound {
                parts.storage.discard(&upload.key).await?;
            }
            return Err(error);
        }
        let md5 = stored
            .md5
            .ok_or_else(|| Error::internal("an MD5 is missing"))?;
        Ok(md5)
    }

    /// Makes an attachment of a direct upload: reads all of its bytes once, for their type, their digests and the hooks; and only then
    /// is it there. Once it has succeeded it succeeds again. A second call ends the first one and begins anew. Runs to its end in a
    /// task of its own.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if no bytes are there; [`DigestMismatch`](ErrorKind::DigestMismatch) if they are not as many as
    /// was said, or have another digest than was promised: they are removed, and other ones may be put there until the right to do so
    /// ends; [`Refused`](ErrorKind::Refused) by a hook, which removes them, too; [`NotFound`](ErrorKind::NotFound);
    /// [`Busy`](ErrorKind::Busy) if another call takes over; those of storage and catalog.
    pub async fn complete_direct(
        &self,
        id: &AttachmentId,
        sha256: Option<[u8; 32]>,
    ) -> Result<Attachment> {
        let (this, id) = (self.clone(), id.clone());
        let task = self.0.tasks.spawn(trace::carried(async move {
            let upload = this.find_upload(&id).await?;
            if !upload.direct {
                return Err(Error::not_found(id.as_str()));
            }
            let attachment = match upload.is_complete {
                true => this.0.catalog.find_uncached(&id).await?,
                false => this.read_and_commit(&id, sha256).await?,
            };
            match sha256.is_none_or(|promised| promised == attachment.sha256.0) {
                true => Ok(attachment),
                false => Err(mismatch(
                    "SHA-256",
                    Hex(sha256.unwrap_or_default()),
                    attachment.sha256,
                )),
            }
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn read_and_commit(
        &self,
        id: &AttachmentId,
        sha256: Option<[u8; 32]>,
    ) -> Result<Attachment> {
        let hold = self.hold(id).await?;
        let parts = &hold.parts.clone();
        if hold.upload.is_complete {
            hold.release().await;
            return self.0.catalog.find_uncached(id).await;
        }
        let read = self.look_through(parts, &hold, sha256).await;
        let recorded = match read {
            Ok((step, stored)) => {
                let advanced = self.partials()?.advance(id, &step).await;
                advanced.map(|()| stored)
            }
            Err(error) => Err(error),
        };
        let upload = hold.upload.clone();
        match recorded {
            Ok(stored) => {
                let made = self.commit_direct(parts, id, &stored).await;
                hold.release().await;
                made
            }
            Err(error) => {
                let is_wrong = matches!(
                    error.kind(),
                    ErrorKind::DigestMismatch | ErrorKind::Refused | ErrorKind::TooLarge
                );
                let gone = match is_wrong {
                    true => parts.storage.discard(&upload.key).await,
                    false => Ok(()),
                };
                hold.release().await;
                gone?;
                Err(error.during("upload", id.as_str()))
            }
        }
    }

    /// Reads what the client has sent; what is to be recorded of it.
    async fn look_through(
        &self,
        parts: &Parts,
        hold: &Hold,
        sha256: Option<[u8; 32]>,
    ) -> Result<(Step, Stored)> {
        let upload = &hold.upload;
        let size = upload.length.unwrap_or_default();
        let _permit = parts.budget.acquire(RELAY_BYTES).await?;
        let object = match parts.storage.get(&upload.key, None).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the store has no bytes of this upload; send them first, then complete it",
                ));
            }
            outcome => outcome?,
        };
        if object.info.size != size {
            return Err(mismatch("length", size, object.info.size));
        }
        let limits = &parts.config.upload;
        let mut body = object.body.hashed(true).expecting(Expected {
            size: Some(size),
            sha256,
            md5: promised_md5(upload),
            ..Expected::default()
        });
        let wanted = hold.is_wanted();
        let reading = async {
            let Beginning { head, mut read } = beginning(&mut body).await?;
            let claim = upload.claim.as_deref();
            let content_type = media::decide(claim, &head, Some(&upload.filename));
            drop(head);
            let facts = facts(upload, content_type.clone());
            let inspected = parts.inspectors.begin(&facts, &self.0.metrics);
            let mut inspected = inspected.await?;
            loop {
                let chunk = match read.pop_front() {
                    Some(chunk) => chunk,
                    None => match body.next().await {
                        Some(chunk) => chunk?,
                        None => break,
                    },
                };
                inspected.chunk(&chunk).await?;
            }
            inspected.end().await?;
            Ok::<_, Error>((facts, content_type))
        };
        let read = wanted.run_until_cancelled(reading).await;
        let (facts, content_type) = read.ok_or_else(taken)??;
        let digests = body
            .digests()
            .ok_or_else(|| Error::internal("the body ended without digests"))?;
        let mut stored = Stored::from(digests);
        let content = parts.content(facts, Some(size)).settled(stored.utf8);
        let noted = parts.storage.write_facts(&upload.key, &content, &stored);
        stored.store_tag = noted.await.map_err(|error| match error.kind() {
            // The client sent it to the store that was the only one then.
            ErrorKind::Retained if parts.storage.moving().is_some() => Error::new(
                ErrorKind::Conflict,
                "files go to another store since this upload was begun; begin it again",
            ),
            _ => error,
        })?;
        let step = Step {
            epoch: upload.epoch,
            from: upload.offset,
            offset: size,
            length: None,
            receipt: None,
            first: Vec::new(),
            digests: Vec::new(),
            content_type: Some(content_type),
            expires_at: OffsetDateTime::now_utc() + limits.partial_lifetime,
            quota: limits.total_bytes,
        };
        Ok((step, stored))
    }

    async fn commit_direct(
        &self,
        parts: &Arc<Parts>,
        id: &AttachmentId,
        stored: &Stored,
    ) -> Result<Attachment> {
        let started = self.start("upload");
        let partials = self.partials()?;
        let partial = partials.resume(id).await?;
        let committed = self.commit(id, stored).await;
        self.count("upload", parts, started, &committed);
        match committed {
            Ok(attachment) => {
                // For as long as its URL works it must be known that there is one.
                let remember = parts.config.upload.remember_completed;
                self.remember(id, remember.max(PUT_LIFETIME + MARGIN)).await;
                Ok(attachment)
            }
            Err(error) => {
                self.let_go(partial, parts);
                Err(error)
            }
        }
    }
}

impl Attache {
    /// Whether somebody may still put an object there who was given the right to, whatever its row says: the store looks at nothing
    /// but the URL.
    pub(in crate::service) async fn may_still_come(&self, id: &AttachmentId) -> Result<bool> {
        let window = PUT_LIFETIME + MARGIN;
        let (Ok(partials), Some(made)) = (self.partials(), id.made_at()) else {
            return Ok(false);
        };
        // No more than a few are so young, and asked for.
        if made + window < OffsetDateTime::now_utc() {
            return Ok(false);
        }
        let begun = partials.direct_since(id).await?;
        Ok(begun.is_some_and(|begun| begun + window > OffsetDateTime::now_utc()))
    }
}

/// What the client promised when it asked for the upload.
fn promised_md5(upload: &Upload) -> Option<[u8; 16]> {
    let md5 = crate::base64::decode(&upload.metadata)?;
    md5.try_into().ok()
}

/// What is stored with the bytes before attache has read them: by claim and name alone.
fn as_claimed(parts: &Parts, upload: &Upload) -> Content {
    let claim = media::decide(upload.claim.as_deref(), &[], Some(&upload.filename));
    parts.content(facts(upload, claim), upload.length)
}

fn taken() -> Error {
    Error::new(ErrorKind::Busy, "another request completes this upload")
        .retry_after(std::time::Duration::from_secs(1))
}
