//! Whether a client's socket takes bytes, so that nothing is fetched for one that does not.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

/// Closed while a client's socket takes nothing: what is on its way to the client then need not be fetched yet.
///
/// A server fills its queue for a connection whether the socket takes bytes or not; with this, a client that stands still
/// costs what was in the queue when it stopped, and not a full queue. For the one body of a connection at a time, which is
/// how HTTP/1 responds.
#[derive(Default)]
pub(crate) struct Valve {
    closed: AtomicBool,
    waiting: AtomicWaker,
    source: Mutex<Option<Weak<dyn Source>>>,
}

/// In how many parts the time is looked at after which a client that takes nothing is cut.
pub(super) const PARTS: u32 = 6;

/// When the `part`th of them ends, of `patience` with a client that takes nothing `since` then.
pub(super) fn end_of(part: u32, since: Instant, patience: Duration) -> Instant {
    since + patience * part / PARTS
}

/// What comes through a valve.
pub(super) trait Source: Send + Sync {
    /// Its client has taken nothing for this many parts of the time after which it is cut: lets go of what it holds open, until it
    /// is asked for more, where that pays.
    fn stands_still(&self, parts: u32);
}

impl Valve {
    /// Ready while the socket takes bytes; otherwise the task is woken once it does.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        match self.closed.load(Ordering::Acquire) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// What comes through it from now on.
    pub(super) fn attach(&self, source: Weak<dyn Source>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// The client has taken nothing for this many parts of the time after which it is cut.
    pub(super) fn stands_still(&self, parts: u32) {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = source.as_ref().and_then(Weak::upgrade);
        drop(source);
        if let Some(source) = attached {
            source.stands_still(parts);
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn open(&self) {
        if self.closed.load(Ordering::Relaxed) {
            self.closed.store(false, Ordering::Release);
            self.waiting.wake();
        }
    }
}

impl fmt::Debug for Valve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Valve")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
