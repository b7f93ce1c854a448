//! One object of a store on a network as one stream: a request that breaks is resumed at the byte that was reached, of the same version;
//! and so is one that was let go because nobody read it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{Stream, StreamExt as _};

use crate::attachment::ByteRange;
use crate::error::Result;
use crate::http::{Answer, Broken};
use crate::transfer::body::{Body, Suspend};

/// How often a download that breaks is resumed without having moved by [`PROGRESS`]. One that moves is bounded by
/// `download.timeout` alone.
const RESUMES: u32 = 5;

/// What counts as having moved: more than a connection delivers before it breaks at once.
const PROGRESS: u64 = 64 * 1024;

/// One version of an object, of which more can be asked for.
pub(super) trait Version: Send + 'static {
    /// Asks for these bytes, of this version and no other.
    fn open(&self, rest: ByteRange) -> BoxFuture<'static, Result<Answer>>;

    /// Why there is no more of it.
    fn fail(&self, why: Interrupted) -> crate::Error;

    /// Its name, for the log.
    fn name(&self) -> &str;

    /// Where resumes are counted.
    fn resumes(&self) -> &AtomicU64;
}

/// Why an answer that was read has no end.
#[derive(Debug)]
pub(super) enum Interrupted {
    Broken(Broken),
    /// It ended before its last byte.
    TooShort,
}

/// The bytes of `served`, which `answer` brings, or other answers after it. The first of them are at hand.
pub(super) async fn body(version: impl Version, served: ByteRange, answer: Answer) -> Result<Body> {
    let resumed = Arc::new(AtomicBool::new(false));
    let mut download = Download {
        version: Box::new(version),
        first: None,
        next: served.start,
        end: served.end,
        body: Opening::Open(answer),
        resumes: 0,
        resumed_at: served.start,
        resumed: resumed.clone(),
    };
    download.first = download.next().await.transpose()?;
    Ok(Body::suspending(download).noting_resumes(resumed))
}

/// A download that takes itself up again where it broke, pinned to the version that it began with.
struct Download {
    version: Box<dyn Version>,
    /// What came already.
    first: Option<Bytes>,
    /// Behind it.
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
    /// None, until more is asked for.
    Suspended,
    Resuming(BoxFuture<'static, Result<Answer>>),
    Failed,
}

impl Stream for Download {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            let body = match &mut this.body {
                Opening::Open(body) => body,
                Opening::Suspended => {
                    this.body = Opening::Resuming(this.open_rest());
                    continue;
                }
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
            let why = match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    this.next += chunk.len() as u64;
                    if this.next - this.resumed_at >= PROGRESS {
                        this.resumes = 0;
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Some(Err(broken)) => Interrupted::Broken(broken),
                None => Interrupted::TooShort,
            };
            if this.resumes >= RESUMES {
                this.body = Opening::Failed;
                return Poll::Ready(Some(Err(this.version.fail(why))));
            }
            // The old connection goes before the wait.
            this.body = Opening::Resuming(this.resume(&why));
        }
    }
}

impl Suspend for Download {
    fn suspend(&mut self) -> bool {
        let open = matches!(self.body, Opening::Open(_) | Opening::Resuming(_));
        if !open || self.next >= self.end {
            return false;
        }
        tracing::debug!(
            name = self.version.name(),
            at = self.next,
            "download suspended: nobody reads it"
        );
        self.body = Opening::Suspended;
        true
    }
}

impl Download {
    fn open_rest(&self) -> BoxFuture<'static, Result<Answer>> {
        self.version.open(ByteRange {
            start: self.next,
            end: self.end,
        })
    }

    fn resume(&mut self, why: &Interrupted) -> BoxFuture<'static, Result<Answer>> {
        self.resumes += 1;
        self.resumed_at = self.next;
        self.resumed.store(true, Ordering::Relaxed);
        self.version.resumes().fetch_add(1, Ordering::Relaxed);
        let name = self.version.name();
        tracing::debug!(
            name,
            at = self.next,
            resume = self.resumes,
            ?why,
            "download interrupted; resuming"
        );
        let wait = Duration::from_millis(50 << self.resumes).mul_f64(0.5 + rand::random::<f64>());
        let opened = self.open_rest();
        let resumed = async move {
            tokio::time::sleep(wait).await;
            opened.await
        };
        resumed.boxed()
    }
}
