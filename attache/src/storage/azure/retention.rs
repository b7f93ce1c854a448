//! Whether the container keeps what was stored in it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether blobs that are made in the container can be deleted, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Retention(Mutex<Option<Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    at: Instant,
    keeps: bool,
}

/// How long it is believed. Policies are set by people.
const MAX_STALENESS: Duration = Duration::from_secs(5 * 60);

impl Retention {
    pub(super) fn known(&self) -> Option<bool> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .filter(|known| known.at.elapsed() < MAX_STALENESS)
            .map(|known| known.keeps)
    }

    pub(super) fn note(&self, keeps: bool) {
        let known = Known {
            at: Instant::now(),
            keeps,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}
