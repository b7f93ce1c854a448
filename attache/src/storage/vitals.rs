//! A lease, as the status page shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::LeaseVitals;
use crate::lease::Lease;

impl LeaseVitals {
    /// Of a lease whose value comes from `source`.
    pub(super) fn of<T: Send + Sync + 'static>(lease: &Lease<T>, source: String) -> Self {
        let counts = lease.counts();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            name: lease.name(),
            source,
            remaining_s: lease.remaining().map(|left| left.as_secs_f64()),
            last_error: lease.last_error(),
            hits: count(&counts.hits),
            waited: count(&counts.waited),
            failed: count(&counts.failed),
            fetches_ok: count(&counts.fetches_ok),
            fetches_failed: count(&counts.fetches_failed),
        }
    }
}
