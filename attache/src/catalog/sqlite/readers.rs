//! Connections for reading, each for one reader at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::failure::{Failure, closed};
use super::schema::connect;
use crate::error::Result;

/// Connections for looking up rows, which takes microseconds.
pub(super) const READERS: usize = 4;

/// Connections for reading many rows: listings, verifications, sweeps. However many of these run, a look-up does not wait
/// for them.
pub(super) const LISTERS: usize = 2;

/// How many of SQLite's instructions pass between two looks whether a read shall end. About 0.1 ms.
pub(super) const LOOK_EVERY: std::ffi::c_int = 10_000;

/// Connections for reading, each for one reader at a time.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    pub(super) turns: Arc<Semaphore>,
    size: usize,
}

impl Readers {
    pub(super) fn open(path: &Path, size: usize) -> rusqlite::Result<Self> {
        let idle = (0..size).map(|_| connect(path));
        Ok(Self {
            idle: Mutex::new(idle.collect::<rusqlite::Result<Vec<_>>>()?),
            turns: Arc::new(Semaphore::new(size)),
            size,
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only for somebody who holds a turn.
    pub(super) fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.idle().pop().ok_or_else(closed)?;
        let outcome = work(&mut connection);
        self.idle().push(connection);
        outcome.map_err(|failure| failure.into_error(operation))
    }

    /// Waits for reads that run; those that wait for a turn, and all later ones, are refused.
    pub(super) async fn close(&self) -> Vec<Connection> {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let _turns = self.turns.acquire_many(all).await;
        self.turns.close();
        std::mem::take(&mut *self.idle())
    }
}
