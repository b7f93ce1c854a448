//! What the parts say about themselves, for the status page.

use super::authority::Authority;
use super::inner::Inner;
use crate::storage::{LeaseVitals, Vitals};

pub(super) fn vitals(inner: &Inner) -> Vitals {
    let source = || inner.place.credential.to_owned();
    let lease = match &inner.authority {
        Authority::Key(_) => None,
        Authority::Keys(lease) => Some(LeaseVitals::of(lease, source())),
        Authority::Token(lease) => Some(LeaseVitals::of(lease, source())),
    };
    let leases = lease.into_iter().collect();
    Vitals::of(leases, inner.client.counts(), &inner.retries)
}
