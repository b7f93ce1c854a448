//! The bytes of an upload on their way into the store: its share of the quota is reserved ahead of them, inspectors see them, and
//! what is cut does not look whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::attachment::AttachmentId;
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::Inspected;
use crate::transfer::body::Body;

/// How much of the quota an upload reserves at a time, ahead of the bytes that have come: whoever announces a gigabyte and
/// sends little takes little away from the others.
pub(super) const RESERVE_STEP: u64 = 8 * 1024 * 1024;

/// The bytes of an upload, with its share of the quota reserved ahead of them.
pub(super) struct Reserving {
    pub(super) body: Body,
    pub(super) first: VecDeque<Bytes>,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) cut: CancellationToken,
    pub(super) id: AttachmentId,
    pub(super) quota: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) taken: u64,
    pub(super) reserved: u64,
    /// Whether the storage asked for a byte.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) inspected: Inspected,
}

impl Reserving {
    pub(super) async fn step(mut self) -> Option<(Result<Bytes>, Self)> {
        self.asked.store(true, Ordering::Relaxed);
        let chunk = match self.first.pop_front() {
            Some(chunk) => chunk,
            None => match self.body.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some((Err(error), self)),
                // The stream that is cut ends; an upload that is cut must not.
                None if self.cut.is_cancelled() => return Some((Err(shutting_down()), self)),
                None => {
                    // The end reaches the store only if nobody objects.
                    let outcome = self.inspected.end().await;
                    return outcome.err().map(|error| (Err(error), self));
                }
            },
        };
        let outcome = async {
            self.reserve(chunk.len() as u64).await?;
            self.inspected.chunk(&chunk).await
        };
        let outcome = outcome.await;
        Some((outcome.map(|()| chunk), self))
    }

    /// Only where there is a quota to keep.
    async fn reserve(&mut self, more: u64) -> Result<()> {
        self.taken += more;
        let need = self.taken;
        if self.quota.is_none() || need <= self.reserved {
            return Ok(());
        }
        let ahead = need + RESERVE_STEP;
        let ahead = self.size.map_or(ahead, |size| ahead.min(size.max(need)));
        match self.catalog.reserve(&self.id, ahead, self.quota).await {
            Ok(()) => self.reserved = ahead,
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
                self.catalog.reserve(&self.id, need, self.quota).await?;
                self.reserved = need;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

pub(super) fn shutting_down() -> Error {
    Error::new(
        ErrorKind::Busy,
        "the server is shutting down; send the file again",
    )
    .retry_after(Duration::from_secs(5))
}
