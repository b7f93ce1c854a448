//! Which replicas live, by the clock of the database.
//!
//! Each says every [`BEAT`] that it lives; one that has not for [`DEAD_AFTER`] is dead, and its rows may be taken over. That alone
//! harms nobody: what decides is the row, which names its process, and every statement that changes it says so. A process that was
//! stopped and goes on keeps the rows that nobody took, and can do nothing to the others. Names are never used twice.
//!
//! When the database was away, nobody could be seen. Whoever was not seen without a gap for [`DEAD_AFTER`] takes nothing over, so that
//! all others have had the time to say that they live.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::Failure;
use super::pool::Pool;
use super::rows::get;
use crate::attachment::unique;
use crate::catalog::millis;

/// How often a replica says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(3);

/// Five beats, so that neither a pause of a virtual machine nor one slow statement is a death. With a sweep every ten seconds the work
/// of a dead replica is taken over within thirty.
pub(super) const DEAD_AFTER: &str = "interval '15 s'";

/// [`DEAD_AFTER`], and a little for the way of the last beat.
pub(super) const MOURNING: Duration = Duration::from_secs(17);

/// How much the clocks of this machine and of the database may differ before somebody is told.
const SKEW: i64 = 5_000;

/// How long a lost replica is listed in the table. Its rows do not need it.
const BURIED_AFTER: &str = "interval '1 day'";

/// This process, as the others see it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: String,
    alive_since: AtomicI64,
}

impl Worker {
    /// Enters this process.
    pub(super) async fn register(pool: &Pool, end: Instant) -> Result<Self, Failure> {
        let worker = Self {
            id: unique().simple().to_string(),
            alive_since: AtomicI64::new(0),
        };
        let before = millis(OffsetDateTime::now_utc());
        let now = worker.beat(pool, end).await?;
        let here = millis(OffsetDateTime::now_utc());
        // Somewhere between the two.
        let skew = (before - now).max(now - here);
        if skew > SKEW {
            tracing::warn!(
                seconds = skew / 1000,
                "the clock of this machine and that of the database of catalog.url differ: set both by NTP. Replicas go by the \
                 clock of the database; times of attachments and ends of links by that of the machine"
            );
        }
        let bury = Ask::new(format!(
            "DELETE FROM attache.workers WHERE seen_at < clock_timestamp() - {BURIED_AFTER}"
        ));
        pool.ask_until(&bury, end).await?;
        Ok(worker)
    }

    /// Says that this process lives; the database's time in milliseconds since 1970.
    pub(super) async fn beat(&self, pool: &Pool, end: Instant) -> Result<i64, Failure> {
        let beat = Ask::new(format!(
            "INSERT INTO attache.workers AS w (id, started_at, seen_at, alive_since)
             VALUES ($1, clock_timestamp(), clock_timestamp(), clock_timestamp())
             ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), alive_since =
                 CASE WHEN w.seen_at > clock_timestamp() - {DEAD_AFTER} THEN w.alive_since ELSE clock_timestamp() END
             RETURNING (extract(epoch FROM alive_since) * 1000)::int8, (extract(epoch FROM clock_timestamp()) * 1000)::int8"
        ))
        .text(&self.id);
        let rows = pool.ask_until(&beat, end).await?.rows;
        let (since, now) = match rows.first() {
            Some(row) => (get(row, 0)?, get(row, 1)?),
            None => (0, 0),
        };
        let before = self.alive_since.swap(since, Ordering::Relaxed);
        if before != 0 && before != since {
            tracing::warn!(
                "the database of the catalog has not seen this replica for a while: it was stopped, or the database was away. \
                 Others may have taken over uploads that it worked on"
            );
        }
        Ok(now)
    }

    /// Leaves what this process had to others at once.
    pub(super) async fn leave(&self, pool: &Pool) -> Result<(), Failure> {
        let leave = Ask::new("DELETE FROM attache.workers WHERE id = $1").text(&self.id);
        let end = Instant::now() + Duration::from_secs(1);
        pool.ask_until(&leave, end).await?;
        Ok(())
    }
}
