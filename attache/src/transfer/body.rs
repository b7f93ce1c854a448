//! A stream of bytes that counts, hashes and checks itself.
//!
//! Verification works by *poisoning the end*: a body that is too long, too short or has another digest
//! than was promised yields an error instead of its end. Whoever stores a body commits only after its end,
//! so no storage can commit a bad object, and none has to know what was promised. Where the length is known, the
//! digests are checked before the last chunk is let go: a client that counts bytes cannot take a bad body for complete.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::transfer::checksum::{ChecksumKind, Promise};
use crate::transfer::deadline::Pace;
use crate::transfer::digests::{Meter, mismatch};

pub use crate::transfer::deadline::Allowance;
pub(crate) use crate::transfer::deadline::{sender_late, store_late};
pub use crate::transfer::digests::{Digests, Expected, crc64};

/// What a body reads that can let go of what it holds open, and go on later.
pub(crate) trait Suspend: Stream<Item = Result<Bytes>> + Send + Unpin {
    /// Lets go of it; whether there was something to let go of. When it is polled again it opens it again, at the byte that it had come to.
    fn suspend(&mut self) -> bool;
}

/// A stream of bytes, pulled by its reader: nothing is read ahead, dropping it ends its source.
///
/// After the first error, or after the end, it yields nothing more.
pub struct Body {
    chunks: Chunks,
    meter: Meter,
    expected: Option<Box<Expected>>,
    pace: Option<Box<Pace>>,
    state: State,
    /// The length that was promised is reached, and everything holds; only the end itself is to come.
    sealed: Option<Box<Digests>>,
    resumed: Option<Arc<AtomicBool>>,
}

enum Chunks {
    Plain(BoxStream<'static, Result<Bytes>>),
    Suspending(Box<dyn Suspend>),
}

impl Chunks {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self {
            Self::Plain(chunks) => chunks.poll_next_unpin(cx),
            Self::Suspending(chunks) => chunks.poll_next_unpin(cx),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Ended,
    Failed,
}

impl Body {
    /// A body that yields `chunks`. An error among them ends it.
    pub fn new(chunks: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::of(Chunks::Plain(chunks.boxed()))
    }

    /// A body that yields `chunks`, and that [can be suspended](Self::suspend).
    pub(crate) fn suspending(chunks: impl Suspend + 'static) -> Self {
        Self::of(Chunks::Suspending(Box::new(chunks)))
    }

    fn of(chunks: Chunks) -> Self {
        Self {
            chunks,
            meter: Meter::default(),
            expected: None,
            pace: None,
            state: State::Open,
            sealed: None,
            resumed: None,
        }
    }

    /// Says where it is noted that the body broke on its way and was resumed.
    #[must_use]
    pub fn noting_resumes(mut self, resumed: Arc<AtomicBool>) -> Self {
        self.resumed = Some(resumed);
        self
    }

    /// Whether it broke on its way so far, and was resumed.
    pub fn was_resumed(&self) -> bool {
        let resumed = self.resumed.as_ref();
        resumed.is_some_and(|resumed| resumed.load(Ordering::Relaxed))
    }

    /// Lets go of the connection that it comes over, and of what is in its buffers, for a reader that may not ask for more
    /// soon. When it is asked, it is opened again where it was, the same version, and fails if that is gone. What had come ahead comes again.
    ///
    /// Whether there was something to let go of: an attachment of a store on a network, or one range of it, that is not at its end. A
    /// task that waits for the next chunk is not woken: the body must be polled again.
    pub fn suspend(&mut self) -> bool {
        let Chunks::Suspending(chunks) = &mut self.chunks else {
            return false;
        };
        let suspended = chunks.suspend();
        if let Some(pace) = &mut self.pace
            && suspended
        {
            pace.rest();
        }
        suspended
    }

    /// A body of bytes that are in memory already.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let chunk = (!bytes.is_empty()).then_some(Ok(bytes));
        Self::new(futures::stream::iter(chunk))
    }

    /// Computes SHA-256 and CRC-64 of the bytes as they pass, and MD5 if `md5` is set; and whether they are UTF-8.
    ///
    /// MD5 costs more CPU than the others together (no instruction helps it), so it is a choice.
    #[must_use]
    pub fn hashed(mut self, md5: bool) -> Self {
        self.meter.hash_all(md5);
        self
    }

    /// Computes CRC-64 of the bytes as they pass, whatever else is.
    #[must_use]
    pub fn with_crc64(mut self) -> Self {
        self.meter.hash_crc64();
        self
    }

    /// Computes MD5 of the bytes as they pass, whatever else is.
    #[must_use]
    pub fn with_md5(mut self) -> Self {
        self.meter.hash_md5();
        self
    }

    /// Computes MD5 of the bytes as they pass, if they turn out to be at most `bytes`; of more it is given up where they are seen to be more.
    #[must_use]
    pub fn with_md5_up_to(mut self, bytes: u64) -> Self {
        self.meter.hash_md5_up_to(bytes);
        self
    }

    /// Computes a checksum of the bytes as they pass, which must turn out to be what `promise` says, if there is one. It may be made
    /// as late as before the end of the chunks, unless a [length](Expected::size) is expected: then before the last byte.
    #[must_use]
    pub fn with_checksum(mut self, kind: ChecksumKind, promise: Option<Promise>) -> Self {
        self.meter.hash_checksum(kind, promise);
        self
    }

    /// Checks length and digests; hashes what this needs.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.meter.hash_for(&expected);
        self.expected = Some(Box::new(expected));
        self
    }

    /// Ends the body with the error `late(what)` when no chunk comes for `idle` although one is awaited, or when it
    /// takes longer than `allowance` for `size` bytes (for what has come, if the size is not known). Time in which nobody
    /// asks for a chunk counts for the whole only: a reader that pauses is not a dead source.
    #[must_use]
    pub fn paced(
        mut self,
        idle: Duration,
        allowance: Allowance,
        size: Option<u64>,
        late: fn(&'static str) -> Error,
    ) -> Self {
        self.pace = Some(Box::new(Pace::new(idle, allowance, size, late)));
        self
    }

    /// Ends a [paced](Self::paced) body whose bytes come too slowly, too: `bytes` must come in each two idle limits of
    /// waiting. A limit of the whole time alone believes whatever length was announced.
    #[must_use]
    pub fn no_slower_than(mut self, bytes: u64) -> Self {
        if let Some(pace) = &mut self.pace {
            pace.no_slower_than(bytes);
        }
        self
    }

    /// The next chunk; `None` once the end was reached and everything that was expected holds.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        StreamExt::next(self).await
    }

    /// Bytes that were yielded so far.
    pub fn received(&self) -> u64 {
        self.meter.size
    }

    /// Length and digests, once the end was reached; `None` before, and after an error.
    pub fn digests(&self) -> Option<Digests> {
        self.meter.digests.as_deref().copied()
    }

    /// Reads everything into memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] as soon as more than `limit` bytes came, and every error of the body.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("more than {limit} bytes"),
                ));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    fn finish(&mut self) -> Result<Box<Digests>> {
        if let Some(digests) = self.sealed.take() {
            return Ok(digests);
        }
        let digests = self.meter.finish()?;
        if let Some(expected) = &self.expected {
            expected.check(&digests)?;
        }
        Ok(Box::new(digests))
    }

    fn admit(&mut self, chunk: &Bytes) -> Result<()> {
        let size = self.meter.size + chunk.len() as u64;
        let (mut max, mut exact) = (None, None);
        if let Some(expected) = &self.expected {
            (max, exact) = (expected.max_size, expected.size);
        }
        if let Some(max) = max.filter(|max| size > *max) {
            return Err(too_large(max));
        }
        if let Some(exact) = exact.filter(|exact| size > *exact) {
            return Err(mismatch("length", exact, format!("more than {exact}")));
        }
        self.meter.update(chunk);
        if exact == Some(size) {
            self.sealed = Some(self.finish()?);
        }
        Ok(())
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.state != State::Open {
                return Poll::Ready(None);
            }
            let outcome = match this.chunks.poll_next(cx) {
                Poll::Pending => match this
                    .pace
                    .as_mut()
                    .map(|pace| pace.poll_late(this.meter.size, cx))
                {
                    Some(Poll::Ready(late)) => Err(late),
                    _ => return Poll::Pending,
                },
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Poll::Ready(Some(Ok(chunk))) => this.admit(&chunk).map(|()| Some(chunk)),
                Poll::Ready(Some(Err(error))) => Err(error),
                Poll::Ready(None) => this.finish().map(|digests| {
                    this.meter.digests = Some(digests);
                    None
                }),
            };
            if let Some(pace) = &mut this.pace {
                pace.came();
            }
            return Poll::Ready(match outcome {
                Ok(Some(chunk)) => Some(Ok(chunk)),
                Ok(None) => {
                    this.state = State::Ended;
                    None
                }
                Err(error) => {
                    this.state = State::Failed;
                    Some(Err(error))
                }
            });
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("received", &self.meter.size)
            .finish_non_exhaustive()
    }
}

/// The error for an upload of more than `max` bytes.
pub(crate) fn too_large(max: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the file is larger than the {max} bytes that are allowed"),
    )
}

#[cfg(test)]
mod tests;
