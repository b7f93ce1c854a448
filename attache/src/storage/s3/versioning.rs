//! Whether a bucket keeps versions of what is deleted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether the bucket keeps versions, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Versioning(Mutex<Option<(Instant, bool)>>);

/// How long it is believed. Settings are made by people.
const MAX_STALENESS: Duration = Duration::from_secs(5 * 60);

impl Versioning {
    pub(super) fn known(&self) -> Option<bool> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .filter(|(at, _)| at.elapsed() < MAX_STALENESS)
            .map(|(_, keeps)| keeps)
    }

    pub(super) fn note(&self, keeps: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), keeps));
    }
}
