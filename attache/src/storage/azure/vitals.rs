//! What the parts say about themselves, for the status page.

use std::sync::atomic::Ordering;

use super::authority::Authority;
use super::inner::Inner;
use crate::storage::{LeaseVitals, Vitals};

pub(super) fn vitals(inner: &Inner) -> Vitals {
    let counts = inner.transport.counts();
    let open = counts.open.load(Ordering::Relaxed);
    let busy = counts.in_flight.load(Ordering::Relaxed);
    let mut leases = Vec::new();
    if let Authority::Token(bearer) = &inner.authority {
        leases.push(LeaseVitals::of(
            bearer.token(),
            inner.target.credential.to_string(),
        ));
    }
    if let Some(key) = inner.signer.lease() {
        leases.push(LeaseVitals::of(key, inner.target.account.clone()));
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
