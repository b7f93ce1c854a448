//! What a store's own parts say of themselves, as the status page shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::Counts;
use crate::lease::Lease;
use crate::observe::latency::LatencyCounts;

/// What a store's parts say about themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Tokens and keys that are renewed ahead of time.
    pub leases: Vec<LeaseVitals>,
    /// Connections that are open to the store.
    pub connections_open: u64,
    /// Of these, how many serve no request.
    pub connections_idle: u64,
    /// Requests that were sent again, by reason.
    pub retries: Vec<(&'static str, u64)>,
    /// How far the store's clock is ahead of ours, in seconds, if it told.
    pub clock_skew_s: Option<f64>,
    /// How long requests to the store waited for the first byte of their answer; `None` for a store without a network.
    pub first_byte: Option<LatencyCounts>,
}

/// One lease, seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseVitals {
    /// `entra_token`, `delegation_key`, `s3_credential` or `gcs_token`.
    pub name: &'static str,
    /// Where the value comes from, for people.
    pub source: String,
    /// How long the value at hand is good for, in seconds.
    pub remaining_s: Option<f64>,
    /// Why the last fetch failed, until one succeeds.
    pub last_error: Option<String>,
    /// Answers from the value at hand.
    pub hits: u64,
    /// Answers that waited for a fetch.
    pub waited: u64,
    /// Callers that got an error.
    pub failed: u64,
    /// Fetches that brought a value.
    pub fetches_ok: u64,
    /// Fetches that failed.
    pub fetches_failed: u64,
}

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

/// Attempts of requests to a store that failed in a way that is tried again, by reason.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub(super) throttled: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) disconnected: AtomicU64,
    pub(super) resumed: AtomicU64,
}

impl Vitals {
    /// Of a store on a network.
    pub(super) fn of(leases: Vec<LeaseVitals>, counts: &Counts, retries: &Retries) -> Self {
        let open = counts.open.load(Ordering::Relaxed);
        let busy = counts.in_flight.load(Ordering::Relaxed);
        Self {
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
}
