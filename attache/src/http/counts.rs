//! What a client has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use time::OffsetDateTime;

use crate::observe::latency::Latency;

/// Counts of one client.
#[derive(Debug)]
pub struct Counts {
    /// Connections that are open.
    pub open: AtomicU64,
    /// Connections that were made.
    pub made: AtomicU64,
    /// Requests between their start and the end of their answer's body.
    pub in_flight: AtomicU64,
    /// From the start of a request to the head of its answer.
    pub first_byte: Latency,
    /// How far the service's clock is ahead, in milliseconds, from its last `Date` header; `i64::MIN` before the first.
    skew_ms: AtomicI64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            open: AtomicU64::default(),
            made: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            first_byte: Latency::default(),
            skew_ms: i64::MIN.into(),
        }
    }
}

impl Counts {
    /// How far the service's clock is ahead of ours, to the second. `None` before the first answer.
    pub fn skew(&self) -> Option<time::Duration> {
        match self.skew_ms.load(Ordering::Relaxed) {
            i64::MIN => None,
            ms => Some(time::Duration::milliseconds(ms)),
        }
    }

    pub(super) fn note_date(&self, date: &http::HeaderValue) {
        if let Some(skew) = measure_skew(date) {
            self.skew_ms.store(skew, Ordering::Relaxed);
        }
    }
}

/// The difference of clocks in milliseconds. `Date` has whole seconds, so less than one is no difference.
fn measure_skew(date: &http::HeaderValue) -> Option<i64> {
    let theirs = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
    let ahead = OffsetDateTime::from(theirs) - OffsetDateTime::now_utc();
    if ahead.abs() < time::Duration::seconds(2) {
        return Some(0);
    }
    i64::try_from(ahead.whole_milliseconds()).ok()
}

/// A request that counts as in flight until it is dropped.
pub(super) struct Flight(Arc<Counts>);

impl Flight {
    pub(super) fn start(counts: &Arc<Counts>) -> Self {
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
