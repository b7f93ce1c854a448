//! What the parts say about themselves, for the status page.

use super::authority::Authority;
use super::inner::Inner;
use crate::storage::{LeaseVitals, Vitals};

pub(super) fn vitals(inner: &Inner) -> Vitals {
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
    Vitals::of(leases, inner.transport.counts(), &inner.retries)
}
