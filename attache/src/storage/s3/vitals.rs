//! What the parts say about themselves, for the status page.

use std::sync::atomic::Ordering;

use super::authority::Authority;
use super::inner::Inner;
use crate::storage::{LeaseVitals, Vitals};

pub(super) fn vitals(inner: &Inner) -> Vitals {
    let counts = inner.client.counts();
    let open = counts.open.load(Ordering::Relaxed);
    let busy = counts.in_flight.load(Ordering::Relaxed);
    let source = || inner.place.credential.to_owned();
    let lease = match &inner.authority {
        Authority::Key(_) => None,
        Authority::Keys(lease) => Some(LeaseVitals::of(lease, source())),
        Authority::Token(lease) => Some(LeaseVitals::of(lease, source())),
    };
    let retries = &inner.retries;
    Vitals {
        leases: lease.into_iter().collect(),
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
