//! What the parts say about themselves, for the status page.

use std::sync::atomic::{AtomicU64, Ordering};

use super::authority::Authority;
use super::inner::Inner;
use crate::lease::Lease;
use crate::storage::{LeaseVitals, Vitals};

pub(super) fn vitals(inner: &Inner) -> Vitals {
    let counts = inner.transport.counts();
    let open = counts.open.load(Ordering::Relaxed);
    let busy = counts.in_flight.load(Ordering::Relaxed);
    let mut leases = Vec::new();
    if let Authority::Token(bearer) = &inner.authority {
        leases.push(lease_vitals(
            bearer.token(),
            inner.target.credential.to_string(),
        ));
    }
    if let Some(key) = inner.signer.lease() {
        leases.push(lease_vitals(key, inner.target.account.clone()));
    }
    let retries = &inner.retries;
    Vitals {
        leases,
        connections_open: open,
        connections_idle: open.saturating_sub(busy),
        retries: vec![
            ("throttled", retries.throttled.load(Ordering::Relaxed)),
            ("server_error", retries.failed.load(Ordering::Relaxed)),
            ("disconnected", retries.disconnected.load(Ordering::Relaxed)),
            ("resumed", retries.resumed.load(Ordering::Relaxed)),
        ],
        clock_skew_s: counts.skew().map(|skew| skew.as_seconds_f64()),
        first_byte: Some(counts.first_byte.counts()),
    }
}

fn lease_vitals<T: Send + Sync + 'static>(lease: &Lease<T>, source: String) -> LeaseVitals {
    let counts = lease.counts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    LeaseVitals {
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
