//! How long a transfer may take: without a byte, as a whole, and at which rate at least.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::config::value::{bytes, duration, show_bytes, show_duration};
use crate::error::{Error, ErrorKind};

/// How long a transfer may take: a base, and time for every byte at the slowest rate that is tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The base.
    pub base: Duration,
    /// Bytes per second.
    pub rate: u64,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} + size at {}/s",
            show_duration(self.base),
            show_bytes(self.rate)
        )
    }
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("is \"{text}\"; write a base and a rate, such as \"5m + size at 64KiB/s\"");
        let (base, rate) = text.split_once('+').ok_or_else(wrong)?;
        let rate = rate.trim().trim_start_matches("size at").trim();
        let rate = rate.strip_suffix("/s").ok_or_else(wrong)?;
        Ok(Self {
            base: duration(base.trim())?,
            rate: bytes(rate.trim())
                .ok()
                .filter(|rate| *rate > 0)
                .ok_or_else(wrong)?,
        })
    }
}

impl Allowance {
    /// The time for `size` bytes.
    pub fn of(&self, size: u64) -> Duration {
        self.base + Duration::from_secs(size / self.rate.max(1))
    }
}

/// The clocks of one transfer, for whoever polls it. Time in which nobody asks for bytes counts for the whole only.
pub(super) struct Pace {
    idle: Duration,
    started: Instant,
    allowance: Allowance,
    /// The length, if it is known; otherwise the allowance grows with what has come.
    size: u64,
    /// The nearer of the two limits, armed while a chunk is awaited.
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    floor: Option<Floor>,
    late: fn(&'static str) -> Error,
}

/// What must come in a stretch of waiting.
struct Floor {
    bytes: u64,
    stretch: Duration,
    /// How long this stretch has been waited for bytes. Time in which nobody asked for any does not count.
    waited: Duration,
    /// What had come when it began.
    from: u64,
}

impl Pace {
    /// Starts now. `size` is the length, if it is known; `late` makes the error of what takes too long.
    pub(super) fn new(
        idle: Duration,
        allowance: Allowance,
        size: Option<u64>,
        late: fn(&'static str) -> Error,
    ) -> Self {
        let started = Instant::now();
        Self {
            idle,
            started,
            allowance,
            size: size.unwrap_or(0),
            timer: Box::pin(tokio::time::sleep_until(started + idle)),
            armed: None,
            floor: None,
            late,
        }
    }

    /// `bytes` must come in each two idle limits of waiting.
    pub(super) fn no_slower_than(&mut self, bytes: u64) {
        self.floor = Some(Floor {
            bytes,
            stretch: self.idle * 2,
            waited: Duration::ZERO,
            from: 0,
        });
    }

    /// The wait is over.
    pub(super) fn came(&mut self) {
        if let (Some(since), Some(floor)) = (self.armed.take(), &mut self.floor) {
            floor.waited += since.elapsed();
        }
    }

    /// Nothing is awaited any more, and what was waited so far does not count.
    pub(super) fn rest(&mut self) {
        self.armed = None;
    }

    /// Whether what is awaited is late, of which `received` bytes have come.
    pub(super) fn poll_late(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Error> {
        let deadline = self.started + self.allowance.of(self.size.max(received));
        loop {
            let since = match self.armed {
                Some(since) => since,
                None => {
                    let now = Instant::now();
                    let mut limit = (now + self.idle).min(deadline);
                    if let Some(floor) = &self.floor {
                        limit = limit.min(now + floor.stretch.saturating_sub(floor.waited));
                    }
                    self.timer.as_mut().reset(limit);
                    *self.armed.insert(now)
                }
            };
            if std::future::Future::poll(self.timer.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready((self.late)(
                    "timed out: the transfer took longer than its limit",
                ));
            }
            if now >= since + self.idle {
                return Poll::Ready((self.late)(
                    "timed out: no bytes for longer than the idle limit",
                ));
            }
            // The end of a stretch.
            self.came();
            if let Some(floor) = &mut self.floor {
                if received - floor.from < floor.bytes {
                    return Poll::Ready((self.late)("the transfer is too slow"));
                }
                (floor.from, floor.waited) = (received, Duration::ZERO);
            }
        }
    }
}

/// The error for an upload that stalls.
pub(crate) fn sender_late(what: &'static str) -> Error {
    Error::new(ErrorKind::ClientTimeout, format!("upload aborted: {what}"))
}

/// The error for a store that stalls in the middle of a download.
pub(crate) fn store_late(what: &'static str) -> Error {
    Error::new(
        ErrorKind::UpstreamTimeout,
        format!("download aborted: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::body::Body;
    use bytes::Bytes;
    use futures::StreamExt as _;

    fn allowance(seconds: u64) -> Allowance {
        Allowance {
            base: Duration::from_secs(seconds),
            rate: 1024,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_paced_body_but_a_pausing_reader_does_not() {
        let (idle, total) = (Duration::from_secs(60), allowance(3600));
        let chunks =
            futures::stream::iter([Ok(Bytes::from_static(b"a"))]).chain(futures::stream::pending());
        let mut body = Body::new(chunks).paced(idle, total, None, sender_late);
        // The reader pauses far longer than the idle limit.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(body.next().await.expect("a chunk").is_ok());
        let before = Instant::now();
        let error = body.next().await.expect("an error").expect_err("late");
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        assert_eq!(before.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_is_given_up_and_one_that_is_slow_is_not() {
        let dripping = |bytes: usize, every: Duration| {
            let drip = futures::stream::unfold((), move |()| async move {
                tokio::time::sleep(every).await;
                Some((Ok(Bytes::from(vec![0; bytes])), ()))
            });
            let (idle, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
            let allowance = Allowance { base: day, rate: 1 };
            Body::new(drip.take(1000))
                .paced(idle, allowance, Some(1 << 30), sender_late)
                .no_slower_than(64 * 1024)
        };
        // What a limit of the whole time, which believes the announced gigabyte, would let go on for a day.
        let start = Instant::now();
        let mut body = dripping(1, Duration::from_secs(1));
        let error = loop {
            match body.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it came to its end"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        let after = start.elapsed().as_secs();
        assert!((119..=121).contains(&after), "{after}");
        // Half a minute of silence now and then is a network, not an attack.
        let mut body = dripping(64 * 1024, Duration::from_secs(50));
        for _ in 0..1000 {
            body.next().await.expect("a chunk").expect("in time");
        }
        // Nor does it count how long nobody asked.
        let mut body = dripping(1024, Duration::from_secs(1));
        for _ in 0..100 {
            body.next().await.expect("a chunk").expect("in time");
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_at_the_total_limit() {
        let chunks = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            Some((Ok(Bytes::from_static(b"a")), ()))
        });
        let start = Instant::now();
        let mut body =
            Body::new(chunks).paced(Duration::from_secs(60), allowance(300), None, sender_late);
        let error = loop {
            match body.next().await.expect("an error ends it") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        assert_eq!(start.elapsed().as_secs(), 300);
    }
}
