//! The body of an answer, as it comes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::counts::Flight;
use super::pool::Lent;

/// The body of an answer. Dropping it before its end closes the connection at once.
pub struct Answer {
    incoming: Incoming,
    idle: Duration,
    /// Runs while a frame is awaited; time in which nobody asks does not count.
    timer: Option<Pin<Box<Sleep>>>,
    /// The connection that it comes over.
    link: Option<Box<dyn Lent>>,
    _flight: Flight,
}

/// Why the body of an answer has no end.
#[derive(Debug)]
pub enum Broken {
    /// The connection broke.
    Failed(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for too long.
    Stalled,
    /// It is longer than was asked for.
    TooLong,
}

impl Answer {
    pub(super) fn new(
        incoming: Incoming,
        idle: Duration,
        flight: Flight,
        link: Box<dyn Lent>,
    ) -> Self {
        Self {
            incoming,
            idle,
            timer: None,
            link: Some(link),
            _flight: flight,
        }
    }

    /// All of it, if that is at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// Why it has no end, or [`Broken::TooLong`].
    pub async fn whole(mut self, limit: usize) -> Result<Bytes, Broken> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if chunk.len() > limit - whole.len() {
                return Err(Broken::TooLong);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Where there is more to come, the connection goes with it.
        if self.incoming.is_end_stream()
            && let Some(link) = self.link.take()
        {
            link.give_back();
        }
    }
}

impl Stream for Answer {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => {
                    this.timer = None;
                    match frame {
                        None => {
                            if let Some(link) = this.link.take() {
                                link.give_back();
                            }
                            return Poll::Ready(None);
                        }
                        Some(Err(error)) => {
                            return Poll::Ready(Some(Err(Broken::Failed(error.into()))));
                        }
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => return Poll::Ready(Some(Ok(data))),
                            // Trailers carry nothing that we use.
                            Err(_) => continue,
                        },
                    }
                }
                Poll::Pending => {
                    let idle = this.idle;
                    let timer = this
                        .timer
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                    return timer.as_mut().poll(cx).map(|()| Some(Err(Broken::Stalled)));
                }
            }
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Stalled => f.write_str("timed out: its response stopped"),
            Self::TooLong => f.write_str("its response is too long"),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Stalled | Self::TooLong => None,
        }
    }
}
