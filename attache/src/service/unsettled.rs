//! Uploads whose rows may be pending still although nobody works on them any more.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachment::AttachmentId;

/// Uploads of this process that ended and whose rows may be pending still, because the catalog failed. No other process
/// takes them while this one lives, so its own sweep does.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<HashSet<AttachmentId>>);

impl Unsettled {
    fn ids(&self) -> MutexGuard<'_, HashSet<AttachmentId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that a sweep should look at now.
    pub(super) fn all(&self) -> Vec<AttachmentId> {
        self.ids().iter().cloned().collect()
    }

    /// This one is done with.
    pub(super) fn remove(&self, id: &AttachmentId) {
        self.ids().remove(id);
    }

    /// An upload that is about to have a row.
    pub(super) fn pending(&self, id: &AttachmentId) -> Pending<'_> {
        Pending {
            unsettled: self,
            id: Some(id.clone()),
        }
    }
}

/// An upload whose row may be pending. Unless it is settled, its end, a panic included, leaves it to the next sweep.
pub(super) struct Pending<'a> {
    unsettled: &'a Unsettled,
    id: Option<AttachmentId>,
}

impl Pending<'_> {
    /// There is no pending row any more.
    pub(super) fn settled(mut self) {
        self.id = None;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.unsettled.ids().insert(id);
        }
    }
}
