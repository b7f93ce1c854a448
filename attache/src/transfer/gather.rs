//! Small pieces of a body are gathered into larger ones on their way to a client: a write to a socket costs as much as the bytes of several
//! pieces do, and stores send a record of TLS (16 KiB) at a time.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::transfer::budget::{Budget, Permit};

/// What is gathered, at most: what nginx is given to relay with as little CPU as it can (`proxy_buffers 8 64k`). With it a relay of 64 KiB
/// is one write to its client in place of five.
const GATHERED: usize = 64 * 1024;

/// What a body that is gathered holds in addition: what fills, and what is on its way to the client.
const HELD: u64 = 2 * GATHERED as u64;

/// Bodies up to this size come as one piece, or as two of which one is small.
const SMALL: u64 = 16 * 1024;

/// How often the other tasks of the thread are let run, and the kernel is asked what has come, before what is there goes on without what is
/// not. It takes microseconds, and a store that is slow delays nothing by more than that.
pub(crate) const PATIENCE: u8 = 3;

/// What was gathered of a body so far. Its order and its bytes stay as they are; an error comes after the bytes that came before it.
pub(crate) struct Gather {
    held: BytesMut,
    /// What the body has yet to yield.
    left: u64,
    patience: u8,
    failed: Option<Error>,
    _permit: Permit,
}

/// Lets what else there is to do on this thread be done, and the kernel tell what has come, before the task is polled again.
pub(crate) fn let_others_run(cx: &mut Context<'_>) {
    // It is ready when it is polled again, which nobody does: the task is woken all the same.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

impl Gather {
    /// For a body of `size` bytes; `None` where it would not pay, or where there is not much memory to spare.
    pub(crate) fn new(size: u64, budget: &Budget) -> Option<Self> {
        if size <= SMALL {
            return None;
        }
        Some(Self {
            held: BytesMut::new(),
            left: size,
            patience: PATIENCE,
            failed: None,
            _permit: budget.spare(HELD)?,
        })
    }

    /// Whether an error comes next.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// What `next` yields, in larger pieces.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes>>>,
    ) -> Poll<Option<Result<Bytes>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.patience = PATIENCE;
                    self.left = self.left.saturating_sub(chunk.len() as u64);
                    if self.add(chunk) {
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) if !self.held.is_empty() => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) if !self.held.is_empty() => break,
                Poll::Pending if !self.held.is_empty() => {
                    if self.patience == 0 {
                        break;
                    }
                    self.patience -= 1;
                    let_others_run(cx);
                    return Poll::Pending;
                }
                other => return other,
            }
        }
        self.patience = PATIENCE;
        Poll::Ready(Some(Ok(self.held.split().freeze())))
    }

    /// Whether what is held goes on now: it is the end, or another chunk such as this one would be too much.
    fn add(&mut self, chunk: Bytes) -> bool {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        if self.held.is_empty() {
            self.held
                .reserve(GATHERED.min(left.saturating_add(chunk.len())));
        }
        self.held.extend_from_slice(&chunk);
        left == 0 || self.held.len() + left.min(chunk.len()) > GATHERED
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;
    use crate::error::ErrorKind;
    use crate::transfer::budget::MIN_BUDGET;

    type Step = Poll<Option<Result<Bytes>>>;

    fn piece(bytes: usize) -> Step {
        Poll::Ready(Some(Ok(vec![7; bytes].into())))
    }

    fn failed() -> Step {
        Poll::Ready(Some(Err(Error::new(
            ErrorKind::UpstreamTimeout,
            "on order",
        ))))
    }

    /// The lengths that a body of these steps comes in; 0 for each time that it waits, `Err` for an error.
    async fn gathered(size: u64, steps: Vec<Step>) -> Vec<Result<usize, ErrorKind>> {
        let budget = Budget::new(16 * MIN_BUDGET);
        let mut gather = Gather::new(size, &budget).expect("there is memory");
        let mut steps = VecDeque::from(steps);
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        loop {
            let polled =
                gather.poll_next(&mut cx, |_| steps.pop_front().unwrap_or(Poll::Ready(None)));
            match polled {
                Poll::Pending => seen.push(Ok(0)),
                Poll::Ready(None) => return seen,
                Poll::Ready(Some(chunk)) => {
                    seen.push(chunk.map(|c| c.len()).map_err(|error| error.kind()));
                }
            }
        }
    }

    const K: usize = 1024;

    #[tokio::test]
    async fn records_of_tls_become_pieces_of_64_kib_and_the_last_is_what_is_left() {
        let steps = (0..9).map(|_| piece(16 * K)).chain([piece(3)]).collect();
        let seen = gathered(9 * 16 * 1024 + 3, steps).await;
        assert_eq!(seen, [Ok(64 * K), Ok(64 * K), Ok(16 * K + 3)]);
        // One whose head took the place of its first bytes.
        let steps = [15, 16, 16, 16, 1].map(|k| piece(k * K)).into();
        assert_eq!(gathered(64 * 1024, steps).await, [Ok(64 * K)]);
    }

    #[tokio::test]
    async fn what_has_come_goes_on_when_no_more_comes_for_a_few_turns_and_an_error_comes_behind_it()
    {
        let mut steps = vec![piece(16 * K), Poll::Pending, piece(16 * K)];
        steps.extend((0..=PATIENCE).map(|_| Poll::Pending));
        steps.extend([Poll::Pending, piece(5 * K), failed()]);
        let mut expected = vec![Ok(0)];
        expected.extend((0..PATIENCE).map(|_| Ok(0)));
        expected.extend([
            Ok(32 * K),
            // Nothing is held: it waits as long as it takes.
            Ok(0),
            Ok(5 * K),
            Err(ErrorKind::UpstreamTimeout),
        ]);
        assert_eq!(gathered(1 << 30, steps).await, expected);
    }

    #[tokio::test]
    async fn nothing_is_gathered_of_what_is_small_nor_where_a_sixteenth_of_the_memory_is_in_use() {
        let budget = Budget::new(16 * MIN_BUDGET);
        assert!(Gather::new(SMALL, &budget).is_none());
        let one = Gather::new(SMALL + 1, &budget).expect("there is memory");
        assert_eq!(budget.held(), HELD);
        let _held = budget.acquire(MIN_BUDGET).await.expect("free");
        assert!(Gather::new(SMALL + 1, &budget).is_none());
        drop(one);
        assert_eq!(budget.held(), MIN_BUDGET);
    }
}
