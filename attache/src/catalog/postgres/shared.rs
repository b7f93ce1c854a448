//! What everything that asks the database needs.

use super::pool::Pool;
use super::worker::Worker;

/// The connections, and who asks.
pub(super) struct Shared {
    pub(super) pool: Pool,
    pub(super) worker: Worker,
}

impl Shared {
    /// What rows call this process.
    pub(super) fn me(&self) -> &str {
        &self.worker.id
    }
}
