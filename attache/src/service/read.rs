//! Opens the bytes of an attachment, for a client or for a look: they are what the catalog says, or end with an error.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::relay::{Relay, Resources};
use super::{Attache, Parts};
use futures::FutureExt as _;

use crate::attachment::{Attachment, AttachmentId, ByteRange};
use crate::bounded::Bounded;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::Direction;
use crate::storage::{FileVersion, Opened};
use crate::transfer::body::{self, Body, Expected};
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::gather::Gather;
use crate::transfer::handover::Handover;
use crate::transfer::ranges::Part;

impl Attache {
    /// Opens the bytes of an attachment for a client: they are checked, limited in time, hold a permit and are counted.
    pub(super) async fn relay(
        &self,
        parts: &Arc<Parts>,
        attachment: &Attachment,
        part: Part,
        handover: Option<&Arc<Handover>>,
        started: Instant,
    ) -> Result<Body> {
        let permit = parts.budget.acquire(RELAY_BYTES).await?;
        let mut stream = self.0.metrics.stream(Direction::Out);
        let opened = self.open_part(parts, attachment, part, handover).await;
        let (size, opened) = opened.inspect_err(|error| stream.failed(error))?;
        let limits = &parts.config.download;
        let body = opened.body.paced(
            limits.idle_timeout,
            limits.timeout,
            Some(size),
            body::store_late,
        );
        let held = Resources {
            service: self.clone(),
            parts: parts.clone(),
            verifies: opened.verifies,
            stays: true,
            _permit: permit,
        };
        let gather = match opened.comes_in_pieces {
            true => Gather::new(size, &parts.budget),
            false => None,
        };
        let relay = Relay::new(body, size, gather, stream, held, started);
        Ok(Body::suspending(relay.begun().await?))
    }

    /// The body of an answer, and its length.
    async fn open_part(
        &self,
        parts: &Arc<Parts>,
        attachment: &Attachment,
        part: Part,
        handover: Option<&Arc<Handover>>,
    ) -> Result<(u64, Reading)> {
        let range = match part {
            Part::Whole => None,
            Part::One(range) => Some(range),
            Part::Several(multipart) => {
                let source = Arc::new((self.clone(), parts.clone(), attachment.clone()));
                let open = move |range| {
                    let source = source.clone();
                    let opened = async move {
                        let (this, parts, attachment) = &*source;
                        this.read(parts, attachment, Some(range)).await
                    };
                    opened.boxed()
                };
                // Boxed, so that what is rare takes no room in every delivery's future.
                let length = multipart.length();
                let body = multipart.body(open).boxed().await?;
                return Ok((
                    length,
                    Reading {
                        body,
                        comes_in_pieces: false,
                        verifies: None,
                    },
                ));
            }
        };
        let length = range.map_or(attachment.size, |range| range.len());
        Ok((
            length,
            self.open_bytes(parts, attachment, range, handover).await?,
        ))
    }

    /// The bytes as they come from the store; they are what the catalog says, or end with an error.
    pub(super) async fn read(
        &self,
        parts: &Parts,
        attachment: &Attachment,
        range: Option<ByteRange>,
    ) -> Result<Body> {
        let opened = self.open_bytes(parts, attachment, range, None).await;
        Ok(opened?.body)
    }

    async fn open_bytes(
        &self,
        parts: &Parts,
        attachment: &Attachment,
        range: Option<ByteRange>,
        handover: Option<&Arc<Handover>>,
    ) -> Result<Reading> {
        let found = self.find_object(parts, attachment, range).await;
        match &found {
            Ok(_) => self.unreadable().remove(&attachment.id),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BytesMissing | ErrorKind::Archived | ErrorKind::CustomerKey
                ) =>
            {
                self.unreadable().insert(attachment.id.clone(), ());
            }
            Err(_) => {}
        }
        let promised = attachment.crc64.filter(|_| parts.config.download.verify);
        // A checksum is of the whole.
        let mut crc64 = promised.filter(|_| range.is_none());
        let mut verifies = None;
        let found = found?;
        let comes_in_pieces = matches!(found, Opened::Bytes { .. });
        let body = match found {
            Opened::Bytes { body, .. } => *body,
            Opened::File(file) => {
                let version = file.version();
                let asked = range.unwrap_or(ByteRange {
                    start: 0,
                    end: attachment.size,
                });
                let checked = crc64.is_none() || self.0.checked.is(&attachment.id, version);
                match handover.filter(|_| checked) {
                    Some(handover) => {
                        crc64 = None;
                        file.handed_over(asked, handover.clone())
                    }
                    None => {
                        verifies = crc64.map(|_| (attachment.id.clone(), version));
                        file.bytes(asked)
                    }
                }
            }
        };
        let body = body.expecting(Expected {
            size: Some(range.map_or(attachment.size, |range| range.len())),
            crc64,
            ..Expected::default()
        });
        Ok(Reading {
            body,
            comes_in_pieces,
            verifies,
        })
    }

    pub(super) fn unreadable(&self) -> MutexGuard<'_, Bounded<AttachmentId, ()>> {
        self.0
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of an attachment, if it is the one that the catalog knows, as far as the store tells without its bytes.
    async fn find_object(
        &self,
        parts: &Parts,
        attachment: &Attachment,
        range: Option<ByteRange>,
    ) -> Result<Opened> {
        let opened = match parts.storage.open(&attachment.key, range).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Deleted since its row was read, most likely; then it is simply not there.
                self.0.catalog.find_uncached(&attachment.id).await?;
                return Err(lost(error, attachment));
            }
            // The catalog knows that the range lies within the attachment.
            Err(error)
                if error.kind() == ErrorKind::BadRange
                    && range.is_none_or(|range| range.start < attachment.size) =>
            {
                return Err(lost(error, attachment));
            }
            outcome => outcome?,
        };
        let size = match &opened {
            Opened::Bytes { size, .. } => *size,
            Opened::File(file) => file.size(),
        };
        // Known before the first byte leaves, so that it is an answer and not a connection that breaks.
        if size != attachment.size {
            let error = Error::internal("the store has another number of bytes than the catalog");
            return Err(lost(error, attachment));
        }
        Ok(opened)
    }
}

/// Bytes on their way.
struct Reading {
    body: Body,
    /// As a store sends them, which are small.
    comes_in_pieces: bool,
    /// The file that is known to be what the catalog says once the body has come to its end.
    verifies: Option<(AttachmentId, FileVersion)>,
}

/// A ready attachment without bytes is a fault of the store, not an answer to the client.
fn lost(error: Error, attachment: &Attachment) -> Error {
    Error::new(
        ErrorKind::BytesMissing,
        "this attachment's data is missing or incomplete in the store; `attache verify` lists what else is",
    )
    .with_source(error)
    .during("deliver", attachment.id.as_str())
}
