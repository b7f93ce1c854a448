//! The bytes that all transfers together may hold in buffers.
//!
//! # The formula
//!
//! Every buffer of every transfer holds a [`Permit`] from one [`Budget`] of `memory.transfer_bytes`:
//!
//! - an upload to Azure holds at most `upload.concurrency` blocks that are on their way and one that fills, each of
//!   `upload.block_bytes` (a file of known length that fits one block holds its length); an upload to local disk
//!   holds two pieces of 64 KiB,
//! - a request of an upload of several requests holds at most two parts, one that fills and one that is on its way, each of
//!   `upload.block_bytes`, and of a sixteenth of what is free where that is less, down to 256 KiB ([`Budget::share`]); between two
//!   requests it holds nothing,
//! - a relayed download holds [`RELAY_BYTES`]; one of more than 16 KiB, unless it is an attachment on local disk, holds 128 KiB more as
//!   long as transfers hold no more than a sixteenth of all: its pieces are gathered, which takes less CPU.
//!
//! So the buffers of all transfers never exceed `memory.transfer_bytes`, however many there are. Whoever finds
//! no permit waits in line, first come first served; the line has at most [`MAX_WAITING`] places, and a wait
//! ends after [`MAX_WAIT`] with [`Busy`](crate::ErrorKind::Busy).
//!
//! One eighth is kept for buffers of at most [`SMALL_BYTES`], so that downloads go on while large uploads
//! hold everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// What one relayed download holds: a chunk on its way to the client and one that was read ahead, and a record of TLS as
/// it came and as it was decrypted; 16 KiB each.
pub const RELAY_BYTES: u64 = 64 * 1024;

/// Buffers up to this size may use the reserve.
pub const SMALL_BYTES: u64 = 128 * 1024;

/// Longest line of waiting transfers.
pub const MAX_WAITING: usize = 4096;

/// Longest wait of a new transfer for its first buffer.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

/// Permits are counted in pages of this size, because a semaphore counts in 32 bits.
const PAGE: u64 = 4096;

/// The smallest budget that can be configured: two blocks of 1 MiB, and a reserve.
pub const MIN_BUDGET: u64 = 4 * 1024 * 1024;

/// A share-out of memory. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    limit: u64,
    common: Arc<Semaphore>,
    common_pages: u32,
    reserve: Arc<Semaphore>,
    reserve_pages: u32,
    waiting: AtomicUsize,
}

/// The right to hold some bytes. Gives them back when dropped.
#[derive(Debug)]
pub struct Permit {
    _pages: OwnedSemaphorePermit,
    bytes: u64,
}

impl Permit {
    /// How many bytes may be held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Budget {
    /// A budget of `limit` bytes, at least [`MIN_BUDGET`].
    pub fn new(limit: u64) -> Self {
        let limit = limit.max(MIN_BUDGET);
        let pages = u32::try_from(limit / PAGE).unwrap_or(u32::MAX);
        let reserve_pages = pages / 8;
        let common_pages = pages - reserve_pages;
        let semaphore = |pages: u32| Arc::new(Semaphore::new(pages as usize));
        Self(Arc::new(Shares {
            limit,
            common: semaphore(common_pages),
            common_pages,
            reserve: semaphore(reserve_pages),
            reserve_pages,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// All bytes there are.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes held right now.
    pub fn held(&self) -> u64 {
        let free = self.0.common.available_permits() + self.0.reserve.available_permits();
        let all = u64::from(self.0.common_pages + self.0.reserve_pages);
        (all - free as u64) * PAGE
    }

    /// The largest block that an upload may ask for, so that at least four fit.
    pub fn largest_block(&self) -> u64 {
        u64::from(self.0.common_pages) * PAGE / 4
    }

    /// How much one of many transfers should take that may take any amount: `most`, but no more than a sixteenth of what is free now,
    /// and never less than `least`. So those that come late find something, however slow the early ones are.
    pub fn share(&self, least: u64, most: u64) -> u64 {
        let free = self.0.common.available_permits() as u64 * PAGE;
        (free / 16).clamp(least.min(most), most)
    }

    /// Whether somebody waits in line.
    pub fn is_contended(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// `bytes` for what is cheaper with them and goes on without: while no more than a sixteenth of all is held, and they are free.
    pub(crate) fn spare(&self, bytes: u64) -> Option<Permit> {
        let shares = &self.0;
        if self.held() + bytes > shares.limit / 16 {
            return None;
        }
        let pages = u32::try_from(bytes.div_ceil(PAGE)).ok()?;
        let pages = shares.common.clone().try_acquire_many_owned(pages).ok()?;
        Some(Permit {
            _pages: pages,
            bytes,
        })
    }

    /// Waits for `bytes`, at most [`MAX_WAIT`]. Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if the line is full or the wait too long.
    pub async fn acquire(&self, bytes: u64) -> Result<Permit> {
        self.acquire_within(bytes, MAX_WAIT).await
    }

    /// Waits for `bytes`, at most `wait`: for transfers that run already and whose own limits decide.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`] if the line is full or the wait too long.
    pub async fn acquire_within(&self, bytes: u64, wait: Duration) -> Result<Permit> {
        let shares = &self.0;
        let pages = u32::try_from(bytes.div_ceil(PAGE)).unwrap_or(u32::MAX);
        let permit = |pages| Permit {
            _pages: pages,
            bytes,
        };
        if pages > shares.common_pages {
            return Err(Error::internal(format!(
                "a buffer of {bytes} bytes can never fit the transfer memory of {} bytes",
                shares.limit
            )));
        }
        if let Ok(pages) = shares.common.clone().try_acquire_many_owned(pages) {
            return Ok(permit(pages));
        }
        if bytes <= SMALL_BYTES
            && let Ok(pages) = shares.reserve.clone().try_acquire_many_owned(pages)
        {
            return Ok(permit(pages));
        }
        let _place = Place::take(&shares.waiting).ok_or_else(busy)?;
        let small = async {
            if bytes <= SMALL_BYTES {
                shares.reserve.clone().acquire_many_owned(pages).await
            } else {
                std::future::pending().await
            }
        };
        let acquired = tokio::time::timeout(wait, async {
            tokio::select! {
                got = shares.common.clone().acquire_many_owned(pages) => got,
                got = small => got,
            }
        });
        match acquired.await {
            Ok(Ok(pages)) => Ok(permit(pages)),
            Ok(Err(_)) => Err(Error::internal("the transfer memory was closed")),
            Err(_) => Err(busy()),
        }
    }
}

/// A place in the line; left when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        (before < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy() -> Error {
    Error::new(
        ErrorKind::Busy,
        "all transfer memory is in use; try again in a moment, or raise memory.transfer_bytes",
    )
    .retry_after(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_bytes_waits_and_is_then_told_busy() {
        let budget = Budget::new(8 * MIB);
        let held = budget.acquire(7 * MIB).await.expect("free");
        let start = tokio::time::Instant::now();
        let error = budget.acquire(MIB).await.expect_err("none left");
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.retry_hint().is_some());
        assert_eq!(start.elapsed(), MAX_WAIT);
        drop(held);
        budget.acquire(MIB).await.expect("given back");
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn the_share_of_those_that_come_late_is_small_and_there_is_one() {
        let budget = Budget::new(32 * MIB);
        let (least, most) = (256 * 1024, MIB);
        let mut held = Vec::new();
        let mut last = most;
        for transfer in 0..40 {
            let share = budget.share(least, most);
            assert!((least..=last).contains(&share), "{share}");
            let free = budget.acquire_within(share, Duration::ZERO).await;
            held.push(free.unwrap_or_else(|error| panic!("{transfer}: {error}")));
            last = share;
        }
        assert_eq!((held[0].bytes(), last), (most, least));
    }

    #[tokio::test]
    async fn large_buffers_do_not_starve_small_ones() {
        let budget = Budget::new(8 * MIB);
        let _held = budget.acquire(7 * MIB).await.expect("free");
        let small = budget.acquire(RELAY_BYTES).await.expect("the reserve");
        assert_eq!(budget.held(), 7 * MIB + RELAY_BYTES);
        drop(small);
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_frees_its_place() {
        let budget = Budget::new(8 * MIB);
        let _held = budget.acquire(7 * MIB).await.expect("free");
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(7 * MIB).await.map(drop) }
        });
        while budget.0.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        waiter.abort();
        let _ = waiter.await;
        assert_eq!(budget.0.waiting.load(Ordering::Relaxed), 0);
    }
}
