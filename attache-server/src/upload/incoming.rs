//! The body of an upload on its way in, and what becomes of the rest of one that is refused.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use attache::{Error, ErrorKind, Result};
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::EXPECT;
use tokio::sync::oneshot;

/// How much of a refused upload is read and thrown away, and for how long, so that its sender reads the response instead
/// of a connection reset (RFC 9112 section 9.6).
const LINGER_BYTES: u64 = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(10);

/// The body of a request, as it comes. If it is dropped before its end, what remains goes to a [`Rest`].
pub(crate) struct Incoming {
    body: Option<Body>,
    polled: bool,
    rest: Option<oneshot::Sender<(Body, bool)>>,
    /// What came after the last byte.
    pub(super) trailers: Arc<OnceLock<HeaderMap>>,
}

/// What remains of a body that was not read to its end.
pub(crate) struct Rest {
    rest: oneshot::Receiver<(Body, bool)>,
    /// The sender waits for our leave; as long as we read nothing, it sends nothing.
    awaits_leave: bool,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> (Self, Rest) {
        let (sender, receiver) = oneshot::channel();
        let incoming = Self {
            body: Some(body),
            polled: false,
            rest: Some(sender),
            trailers: Arc::default(),
        };
        let rest = Rest {
            rest: receiver,
            awaits_leave: headers.get(EXPECT).is_some(),
        };
        (incoming, rest)
    }
}

impl Rest {
    /// Reads and throws away what the sender still sends, in the background and within limits.
    pub(crate) fn linger(self) {
        tokio::spawn(tokio::time::timeout(LINGER_TIME, async move {
            // The upload's own task may still hold the body for a moment.
            let Ok((body, polled)) = self.rest.await else {
                return;
            };
            if self.awaits_leave && !polled {
                return;
            }
            let mut stream = body.into_data_stream();
            let mut left = LINGER_BYTES;
            while let Some(Ok(chunk)) = stream.next().await {
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    return;
                }
            }
        }));
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.polled = true;
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => Some(Ok(chunk)),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = this.trailers.set(trailers);
                        }
                        continue;
                    }
                },
                Some(Err(error)) => {
                    this.body = None;
                    Some(Err(Error::new(
                        ErrorKind::ClientGone,
                        "the upload broke off",
                    )
                    .with_source(error)))
                }
                None => {
                    this.body = None;
                    None
                }
            });
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take()) {
            // Nobody waits for it unless the upload was refused.
            let _ = rest.send((body, self.polled));
        }
    }
}
