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
pub(crate) const GATHER_BYTES: u64 = 2 * GATHERED as u64;

/// Bodies up to this size come as one piece, or as two of which one is small.
const SMALL: u64 = 16 * 1024;

/// How often the other tasks of the thread are let run, and the kernel is asked what has come, before what is there goes on without what is
/// not: so many rounds at most for each piece, which take microseconds where there is little else to do.
pub(crate) const PATIENCE: u8 = 3;

/// What was gathered of a body so far. Its order and its bytes stay as they are; an error comes after the bytes that came before it.
pub(crate) struct Gather {
    held: BytesMut,
    /// What would have been too much for the piece before.
    next: Option<Bytes>,
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
            next: None,
            left: size,
            patience: PATIENCE,
            failed: None,
            _permit: budget.spare(GATHER_BYTES)?,
        })
    }

    /// The error that would come next.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// What `next` yields, in larger pieces; what is large as it is stays as it is.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes>>>,
    ) -> Poll<Option<Result<Bytes>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let polled = match self.next.take() {
                Some(chunk) => Poll::Ready(Some(Ok(chunk))),
                None => {
                    let polled = next(cx);
                    if let Poll::Ready(Some(Ok(chunk))) = &polled {
                        self.left = self.left.saturating_sub(chunk.len() as u64);
                    }
                    polled
                }
            };
            match polled {
                Poll::Ready(Some(Ok(chunk)))
                    if self.held.is_empty() && chunk.len() >= GATHERED / 2 =>
                {
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    if self.held.len() + chunk.len() > GATHERED {
                        self.next = Some(chunk);
                        break;
                    }
                    self.add(&chunk);
                    if self.left == 0 || self.held.len() == GATHERED {
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

    fn add(&mut self, chunk: &[u8]) {
        if self.held.is_empty() {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.held
                .reserve(GATHERED.min(left.saturating_add(chunk.len())));
        }
        self.held.extend_from_slice(chunk);
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
        // What is large is not copied, and what would be too much begins the next one.
        let steps = [40, 16, 16, 20, 20, 1].map(|k| piece(k * K)).into();
        let seen = gathered(113 * 1024, steps).await;
        assert_eq!(seen, [Ok(40 * K), Ok(52 * K), Ok(21 * K)]);
        // One whose head took the place of its first bytes.
        let steps = [15, 16, 16, 16, 1].map(|k| piece(k * K)).into();
        assert_eq!(gathered(64 * 1024, steps).await, [Ok(64 * K)]);
    }

    #[tokio::test]
    async fn what_has_come_goes_on_when_no_more_comes_for_a_few_turns_and_an_error_comes_behind_it()
    {
        let mut steps = vec![piece(16 * K), Poll::Pending, piece(16 * K)];
        steps.extend((0..PATIENCE).map(|_| Poll::Pending));
        steps.extend([Poll::Pending, piece(5 * K), failed()]);
        let mut expected = vec![Ok(0); PATIENCE.into()];
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
        assert_eq!(budget.held(), GATHER_BYTES);
        let _held = budget.acquire(MIN_BUDGET).await.expect("free");
        assert!(Gather::new(SMALL + 1, &budget).is_none());
        drop(one);
        assert_eq!(budget.held(), MIN_BUDGET);
    }
}
