//! The body of a relay on its way to a client: its length is exact, an error in it aborts, and nobody can hold it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use attache::transfer::body::Body;
use attache::{Error, ErrorKind};
use bytes::Bytes;
use futures::Stream as _;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::valve::{PARTS, Source, Valve, end_of};

/// How we learn that the client stopped reading.
#[derive(Clone, Debug)]
pub(crate) enum Backpressure {
    /// By the connection, which in HTTP/1 is that of one response: while its socket takes nothing, nothing is fetched, and
    /// `stall.rs` cuts who takes nothing for too long.
    Socket(Arc<Valve>),
    /// By what it asks for of this stream. In HTTP/2 a client can stop one by giving it no window, and keep the connection
    /// alive; the body is then suspended, and lets go of its memory after `patience`.
    Stream { patience: Duration },
}

/// A body whose length is known. An error in it aborts the connection (the stream, in HTTP/2): a truncated response never
/// looks complete.
pub(crate) struct Outgoing {
    state: Arc<Mutex<State>>,
    left: u64,
    watchdog: Option<AbortHandle>,
    valve: Option<Arc<Valve>>,
}

struct State {
    /// `None` once the client took too long.
    chunks: Option<Box<Body>>,
    /// Since when the client has what it asked for, and asks for nothing.
    idle_since: Option<Instant>,
    /// After how many [parts](PARTS) it is suspended: twice as many each time, so that a reader that is slow, and to whom the kernel gives much
    /// at a time, is soon let alone.
    suspends_after: u32,
}

impl Outgoing {
    pub(crate) fn new(chunks: Box<Body>, length: u64, backpressure: Backpressure) -> Self {
        let state = Arc::new(Mutex::new(State {
            chunks: Some(chunks),
            idle_since: None,
            suspends_after: 1,
        }));
        let (watchdog, valve) = match backpressure {
            Backpressure::Socket(valve) => {
                let source: Weak<Mutex<State>> = Arc::downgrade(&state);
                valve.attach(source);
                (None, Some(valve))
            }
            Backpressure::Stream { patience } => {
                let idle = let_go_of_idle(state.clone(), patience);
                (Some(tokio::spawn(idle).abort_handle()), None)
            }
        };
        Self {
            state,
            left: length,
            watchdog,
            valve,
        }
    }
}

impl State {
    fn stands_still(&mut self, parts: u32) {
        if let Some(chunks) = &mut self.chunks
            && parts >= self.suspends_after
            && chunks.suspend()
        {
            self.suspends_after *= 2;
        }
    }
}

impl Source for Mutex<State> {
    fn stands_still(&self, parts: u32) {
        lock(self).stands_still(parts);
    }
}

/// Suspends the source once its client was idle for a while, and drops it when that was as long as `patience`.
async fn let_go_of_idle(state: Arc<Mutex<State>>, patience: Duration) {
    let mut due = end_of(1, Instant::now(), patience);
    loop {
        tokio::time::sleep_until(due).await;
        let mut state = lock(&state);
        let now = Instant::now();
        let since = state.idle_since.unwrap_or(now);
        let ended = (now - since).as_nanos() * u128::from(PARTS) / patience.as_nanos().max(1);
        let ended = u32::try_from(ended).unwrap_or(PARTS);
        if ended >= PARTS {
            tracing::debug!("timed out: a client stopped reading a stream; its source is closed");
            state.chunks = None;
            return;
        }
        state.stands_still(ended);
        due = end_of(ended + 1, since, patience);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(valve) = &this.valve {
            ready!(valve.poll_open(cx));
        }
        let mut state = lock(&this.state);
        state.idle_since = None;
        let Some(chunks) = &mut state.chunks else {
            return Poll::Ready(Some(Err(Error::new(
                ErrorKind::ClientTimeout,
                "timed out: the client stopped reading",
            ))));
        };
        let polled = Pin::new(&mut **chunks).poll_next(cx);
        if polled.is_ready() {
            state.idle_since = Some(Instant::now());
        }
        drop(state);
        polled.map(|chunk| {
            chunk.map(|chunk| {
                chunk
                    .inspect(|chunk| this.left = this.left.saturating_sub(chunk.len() as u64))
                    .inspect_err(|error| {
                        tracing::warn!(
                            error = error.report(),
                            "a download failed; its connection is aborted"
                        );
                    })
                    .map(Frame::data)
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dropped(Arc<Mutex<bool>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_takes_lets_go_of_its_source_and_one_that_waits_for_it_does_not() {
        let gone = Arc::new(Mutex::new(false));
        let source = Dropped(gone.clone());
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let chunks = futures::stream::unfold((receiver, source), |(mut receiver, source)| async {
            receiver
                .recv()
                .await
                .map(|chunk| (chunk, (receiver, source)))
        });
        let patience = Duration::from_secs(60);
        let mut body = Outgoing::new(
            Box::new(Body::new(chunks)),
            10,
            Backpressure::Stream { patience },
        );
        let is_gone = || *gone.lock().unwrap_or_else(PoisonError::into_inner);
        let next = async |body: &mut Outgoing| {
            http_body_util::BodyExt::frame(body)
                .await
                .map(|f| f.is_ok())
        };

        // The store is slow, the client waits: that is no fault of the client's.
        let late = tokio::time::timeout(patience * 5, next(&mut body)).await;
        assert!(late.is_err());
        assert!(!is_gone());
        sender.send(Ok(Bytes::from_static(b"hello"))).expect("open");
        assert_eq!(next(&mut body).await, Some(true));
        // Now the client has something, and asks for no more.
        tokio::time::sleep(patience / 2).await;
        assert!(!is_gone());
        tokio::time::sleep(patience).await;
        assert!(is_gone());
        assert_eq!(next(&mut body).await, Some(false), "never a clean end");
    }
}
