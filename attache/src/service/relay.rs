//! The bytes of a download on their way to a client: counted as a stream and as an operation, for the request that asked.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures::Stream;

use crate::attachment::AttachmentId;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::metrics::StreamGuard;
use crate::observe::trace;
use crate::storage::FileVersion;
use crate::transfer::body::{Body, Suspend};
use crate::transfer::budget::Permit;
use crate::transfer::gather::{Gather, PATIENCE, let_others_run};

use super::{Attache, Parts};

/// A body that tells how it ended. What it holds is free as soon as it fails, or is dropped.
pub(super) struct Relay {
    running: Option<Running>,
    /// What was polled before anybody asked for it.
    first: Option<Option<Result<Bytes>>>,
}

struct Running {
    body: Body,
    /// Bytes that have not passed yet. Nobody asks for the end of a body whose length is known, so the last byte is it.
    left: u64,
    gather: Option<Gather>,
    stream: StreamGuard,
    held: Resources,
    started: Instant,
    counted: bool,
    /// The request that it is for: the body is asked for by whoever serves the connection.
    context: Option<trace::Context>,
}

/// What a download keeps for itself until its end.
pub(super) struct Resources {
    pub(super) service: Attache,
    pub(super) parts: Arc<Parts>,
    /// The file that is known to be what the catalog says once its last byte has passed.
    pub(super) verifies: Option<(AttachmentId, FileVersion)>,
    /// No client overwrites it, so it can be let go of and asked for again.
    pub(super) stays: bool,
    pub(super) _permit: Permit,
}

impl Relay {
    /// `body` has `size` bytes, which come in pieces of the store's.
    pub(super) fn new(
        body: Body,
        size: u64,
        gather: Option<Gather>,
        stream: StreamGuard,
        held: Resources,
        started: Instant,
    ) -> Self {
        let mut running = Running {
            body,
            left: size,
            gather,
            stream,
            held,
            started,
            counted: false,
            context: trace::Context::current(),
        };
        if size == 0 {
            running.complete();
        }
        Self {
            running: Some(running),
            first: None,
        }
    }

    /// With its first bytes, if they are there in a moment: they leave with the head of the response. They count when they do.
    ///
    /// # Errors
    ///
    /// That of the body, if it is among them, which the caller counts: there is still a response to give. [`ErrorKind::BytesMissing`] if
    /// they are others than were uploaded.
    pub(super) async fn begun(mut self) -> Result<Self> {
        let Some(running) = &mut self.running else {
            return Ok(self);
        };
        if running.gather.is_none() {
            return Ok(self);
        }
        let mut patience = 2 * PATIENCE;
        let first = poll_fn(|cx| match running.poll_body(cx) {
            Poll::Ready(first) => Poll::Ready(Some(first)),
            Poll::Pending if patience == 0 => Poll::Ready(None),
            Poll::Pending => {
                patience -= 1;
                let_others_run(cx);
                Poll::Pending
            }
        });
        let mut first = first.await;
        if let Some(error) = running.gather.as_mut().and_then(Gather::take_failure) {
            // Of what came before it nothing has left.
            first = Some(Some(Err(error)));
        }
        if let Some(Some(Err(error))) = first {
            let error = match error.kind() {
                // The client did nothing wrong: not 400.
                ErrorKind::DigestMismatch => Error::new(
                    ErrorKind::BytesMissing,
                    "what the store sent is not what was uploaded",
                )
                .with_source(error),
                _ => error,
            };
            running.stream.failed(&error);
            running.counted = true;
            return Err(error);
        }
        self.first = first;
        Ok(self)
    }
}

impl Stream for Relay {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { running, first } = &mut *self;
        let Some(running) = running else {
            return Poll::Ready(None);
        };
        let next = match first.take() {
            Some(first) => first,
            None => ready!(running.poll_body(cx)),
        };
        match &next {
            Some(Ok(chunk)) => running.passed(chunk.len()),
            Some(Err(error)) => {
                running.stream.failed(error);
                running.count(Err(error));
                self.running = None;
            }
            None => {
                running.complete();
                self.running = None;
            }
        }
        Poll::Ready(next)
    }
}

impl Suspend for Relay {
    fn suspend(&mut self) -> bool {
        match &mut self.running {
            Some(running) => running.held.stays && running.body.suspend(),
            None => false,
        }
    }
}

impl Running {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let (body, context) = (&mut self.body, &self.context);
        let mut next = |cx: &mut Context<'_>| match context.clone() {
            // Polled once and made again: it keeps nothing of its own.
            Some(context) => pin!(context.scope(body.next())).poll(cx),
            None => Pin::new(&mut *body).poll_next(cx),
        };
        match &mut self.gather {
            Some(gather) => gather.poll_next(cx, next),
            None => next(cx),
        }
    }

    fn passed(&mut self, bytes: usize) {
        self.stream.passed(bytes);
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if self.body.was_resumed() {
            self.stream.resumed();
        } else {
            self.stream.complete();
        }
        if let Some((id, version)) = self.held.verifies.take() {
            self.held.service.0.checked.note(id, version);
        }
        self.count(Ok(()));
    }

    /// Once.
    fn count(&mut self, outcome: Result<(), &Error>) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let Resources { service, parts, .. } = &self.held;
        let backend = parts.storage.name();
        let metrics = service.metrics();
        metrics.operation("relay", backend, self.started, outcome);
        let phase = outcome.err().map_or("ok", |error| error.kind().code());
        service.trace_operation("relay", phase);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.counted {
            let gone = Error::new(ErrorKind::ClientGone, "the client left");
            self.count(Err(&gone));
        }
    }
}
