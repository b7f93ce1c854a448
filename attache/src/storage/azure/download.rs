//! One blob as one stream: a request that breaks is resumed at the byte that was reached, of the same version.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{Stream, StreamExt as _};
use http::HeaderValue;

use super::inner::Inner;
use super::open::Opened;
use super::refusal::is_transient;
use super::transport::broken;
use crate::attachment::ByteRange;
use crate::error::{Error, Result};
use crate::http::Answer;

/// How often a download that breaks is resumed without having moved by [`PROGRESS`]. One that moves is bounded by
/// `download.timeout` alone.
const RESUMES: u32 = 5;

/// What counts as having moved: more than a connection delivers before it breaks at once.
const PROGRESS: u64 = 64 * 1024;

/// A download that takes itself up again where it broke, pinned to the version that it began with.
pub(super) struct Download {
    inner: Arc<Inner>,
    name: String,
    version: Option<HeaderValue>,
    next: u64,
    end: u64,
    body: Opening,
    resumes: u32,
    /// Where the last connection began.
    resumed_at: u64,
    /// Whether there was more than one.
    resumed: Arc<AtomicBool>,
}

/// The answer that is read, or the one that is awaited in its place.
enum Opening {
    Open(Answer),
    Resuming(BoxFuture<'static, Result<Answer>>),
    Failed,
}

impl Stream for Download {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let body = match &mut this.body {
                Opening::Open(body) => body,
                Opening::Resuming(resuming) => match ready!(resuming.as_mut().poll(cx)) {
                    Ok(body) => {
                        this.body = Opening::Open(body);
                        continue;
                    }
                    Err(error) => {
                        this.body = Opening::Failed;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Opening::Failed => return Poll::Ready(None),
            };
            if this.next >= this.end {
                return Poll::Ready(None);
            }
            let error = match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    this.next += chunk.len() as u64;
                    if this.next - this.resumed_at >= PROGRESS {
                        this.resumes = 0;
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Err(error)) => broken(error),
                None => azure_core::Error::with_message(
                    azure_core::error::ErrorKind::Io,
                    "the response ended before its last byte",
                ),
            };
            if this.resumes >= RESUMES || !is_transient(&error) {
                let error = this.inner.fail(error, "get", &this.name);
                return Poll::Ready(Some(Err(error)));
            }
            // The old connection goes before the wait.
            this.body = Opening::Resuming(this.resume(&error));
        }
    }
}

impl Download {
    /// Of `opened`, which serves the bytes of `served`. `resumed` tells whether it broke on its way.
    pub(super) fn new(
        inner: Arc<Inner>,
        name: String,
        served: ByteRange,
        opened: Opened,
        resumed: Arc<AtomicBool>,
    ) -> Self {
        Self {
            version: opened.version(),
            inner,
            name,
            next: served.start,
            end: served.end,
            body: Opening::Open(opened.body),
            resumes: 0,
            resumed_at: served.start,
            resumed,
        }
    }

    fn resume(&mut self, cause: &azure_core::Error) -> BoxFuture<'static, Result<Answer>> {
        self.resumes += 1;
        self.resumed_at = self.next;
        self.resumed.store(true, Ordering::Relaxed);
        self.inner.retries.resumed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(name = self.name, at = self.next, resume = self.resumes, error = %cause, "download interrupted; resuming");
        let wait = Duration::from_millis(50 << self.resumes).mul_f64(0.5 + rand::random::<f64>());
        let rest = ByteRange {
            start: self.next,
            end: self.end,
        };
        let (inner, name, version) = (self.inner.clone(), self.name.clone(), self.version.clone());
        let resumed = async move {
            tokio::time::sleep(wait).await;
            match inner.open(&name, Some(rest), version.as_ref()).await {
                Ok(opened) if opened.range() == Some(rest) => Ok(opened.body),
                Ok(_) => Err(Error::internal(
                    "azure: the resumed response has another range",
                )),
                Err(error) => Err(inner.fail(error, "get", &name)),
            }
        };
        resumed.boxed()
    }
}
