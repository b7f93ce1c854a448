//! One removal of an attachment at a time.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::{Mutex, MutexGuard};

use crate::attachment::AttachmentId;

/// Removals of one process that do not wait for each other. Two ids that share a place wait, which costs a moment.
const PLACES: usize = 256;

/// Lock striping by id: whoever removes the bytes of an id holds the lock at its place, so that a sweep and a deletion never
/// work on the same object: the one would forget the row while the other still writes under its key.
pub(super) struct RemovalLocks([Mutex<()>; PLACES]);

/// The right to remove the bytes of one id.
pub(super) struct RemovalLock<'a> {
    _guard: MutexGuard<'a, ()>,
}

impl Default for RemovalLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl RemovalLocks {
    /// Waits until nobody else in this process removes the bytes of `id`.
    pub(super) async fn lock(&self, id: &AttachmentId) -> RemovalLock<'_> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % PLACES as u64).unwrap_or_default();
        RemovalLock {
            _guard: self.0[place].lock().await,
        }
    }

    /// Waits until what was at work when this was called has ended, id by id; what begins meanwhile is waited for only where it comes
    /// to a place that was not looked at yet.
    pub(super) async fn settled(&self) {
        for place in &self.0 {
            drop(place.lock().await);
        }
    }
}
