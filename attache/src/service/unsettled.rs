//! Work of this process that ended while the catalog failed, so that it may be undone, or done, by half.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachment::{AttachmentId, ObjectKey};

/// Uploads and removals of this process that ended and whose rows may be unfinished still, because the catalog failed. No other
/// process takes them while this one lives, so it looks at them itself.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<HashMap<AttachmentId, Leftover>>);

/// What there may be of an id besides its row.
#[derive(Clone)]
pub(super) enum Leftover {
    /// What an upload of this process has sent under this key, also if its row has gone; `None` if it has sent nothing.
    Upload(Option<ObjectKey>),
    /// What its row says.
    Row,
}

impl Unsettled {
    fn ids(&self) -> MutexGuard<'_, HashMap<AttachmentId, Leftover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that should be looked at now.
    pub(super) fn all(&self) -> Vec<(AttachmentId, Leftover)> {
        let ids = self.ids();
        let all = ids.iter().map(|(id, left)| (id.clone(), left.clone()));
        all.collect()
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.ids().is_empty()
    }

    /// This one is done with.
    pub(super) fn remove(&self, id: &AttachmentId) {
        self.ids().remove(id);
    }

    /// The catalog failed while this one was removed.
    pub(super) fn note(&self, id: &AttachmentId) {
        self.ids().insert(id.clone(), Leftover::Row);
    }

    /// Work on an id whose row is about to be this process's. What it may leave is said when it is known.
    pub(super) fn pending(&self, id: &AttachmentId, left: Leftover) -> Pending<'_> {
        Pending {
            unsettled: self,
            id: Some(id.clone()),
            left,
        }
    }
}

/// Work whose row may be unfinished. Unless it is settled, its end, a panic included, leaves it to the next look.
pub(super) struct Pending<'a> {
    unsettled: &'a Unsettled,
    id: Option<AttachmentId>,
    left: Leftover,
}

impl Pending<'_> {
    /// Bytes may be in the store.
    pub(super) fn sends(&mut self, key: &ObjectKey) {
        self.left = Leftover::Upload(Some(key.clone()));
    }

    /// There is no unfinished row any more.
    pub(super) fn settled(mut self) {
        self.id = None;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.unsettled.ids().insert(id, self.left.clone());
        }
    }
}
