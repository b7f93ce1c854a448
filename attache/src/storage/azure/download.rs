//! One blob as one stream: a request that breaks is taken up again from the byte that was reached, of the same version.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use azure_core::http::Etag;
use azure_storage_blob::models::BlobClientDownloadResult;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

use super::Inner;
use super::error::is_transient;
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, Result};

/// How often a download that breaks is taken up again without having moved by [`PROGRESS`]. One that moves is bounded by
/// `download.timeout` alone.
const RESUMES: u32 = 5;

/// What counts as having moved: more than a connection delivers before it breaks at once.
const PROGRESS: u64 = 64 * 1024;

/// A download that takes itself up again where it broke, pinned to the version that it began with.
pub(super) struct Download {
    inner: Arc<Inner>,
    key: ObjectKey,
    version: Option<Etag>,
    next: u64,
    end: u64,
    body: Opening,
    resumes: u32,
    /// Where the last connection began.
    resumed_at: u64,
    /// Whether there was more than one.
    resumed: Arc<AtomicBool>,
}

type Answered = BoxStream<'static, azure_core::Result<Bytes>>;

/// The answer that is read, or the one that is awaited in its place.
enum Opening {
    Open(Answered),
    Resuming(BoxFuture<'static, Result<Answered>>),
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
                        this.body = Opening::Open(stream::empty().boxed());
                        return Poll::Ready(Some(Err(error)));
                    }
                },
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
                Some(Err(error)) => error,
                None => azure_core::Error::with_message(
                    azure_core::error::ErrorKind::Io,
                    "the answer ended before its last byte",
                ),
            };
            if this.resumes >= RESUMES || !is_transient(&error) {
                let error = this.inner.fail(error, "get", this.key.as_str());
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
        key: ObjectKey,
        served: ByteRange,
        opened: BlobClientDownloadResult,
        resumed: Arc<AtomicBool>,
    ) -> Self {
        Self {
            version: opened.properties.etag,
            inner,
            key,
            next: served.start,
            end: served.end,
            body: Opening::Open(opened.body.boxed()),
            resumes: 0,
            resumed_at: served.start,
            resumed,
        }
    }

    fn resume(&mut self, cause: &azure_core::Error) -> BoxFuture<'static, Result<Answered>> {
        self.resumes += 1;
        self.resumed_at = self.next;
        self.resumed.store(true, Ordering::Relaxed);
        self.inner.retries.resumed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(key = %self.key, at = self.next, resume = self.resumes, error = %cause, "download broke; resuming");
        let wait = Duration::from_millis(50 << self.resumes).mul_f64(0.5 + rand::random::<f64>());
        let rest = ByteRange {
            start: self.next,
            end: self.end,
        };
        let (inner, key, version) = (self.inner.clone(), self.key.clone(), self.version.clone());
        let resumed = async move {
            tokio::time::sleep(wait).await;
            match inner.open(&key, Some(rest), version).await {
                Ok(opened) if served_range(&opened).is_some_and(|(range, _)| range == rest) => {
                    Ok(opened.body.boxed())
                }
                Ok(_) => Err(Error::internal("azure: a resumed answer has another range")),
                Err(error) => Err(inner.fail(error, "get", key.as_str())),
            }
        };
        resumed.boxed()
    }
}

/// Which part of which whole an answer holds: `Content-Range: bytes 0-9/100`, or all of it.
pub(super) fn served_range(opened: &BlobClientDownloadResult) -> Option<(ByteRange, u64)> {
    let name = azure_core::http::headers::HeaderName::from_static("content-range");
    let Some(text) = opened.headers.get_optional_str(&name) else {
        let size = opened.properties.content_length?;
        return Some((
            ByteRange {
                start: 0,
                end: size,
            },
            size,
        ));
    };
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((
        ByteRange {
            start: first,
            end: last.checked_add(1)?,
        },
        size.parse().ok()?,
    ))
}
