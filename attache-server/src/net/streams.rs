//! Which HTTP/2 connections still want something of us.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

/// The streams of an HTTP/2 connection. One that answers pings and asks for nothing would otherwise never end: pings show
/// that a client is there, and not that it wants something.
#[derive(Debug)]
pub(super) struct Streams {
    open: watch::Sender<usize>,
}

/// A request from its head to the end of its response.
pub(super) struct Open(Arc<Streams>);

/// A response whose stream is open until its last byte is on its way.
pub(super) struct Responding {
    body: Body,
    _open: Open,
}

impl Responding {
    pub(super) fn new(body: Body, open: Open) -> Self {
        Self { body, _open: open }
    }
}

impl http_body::Body for Responding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(0),
        }
    }
}

impl Streams {
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }

    /// Waits until no stream was open for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is ours, so it is there.
            let _ = open.wait_for(|open| *open == 0).await;
            match tokio::time::timeout(limit, open.changed()).await {
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
