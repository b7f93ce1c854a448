//! A catalog copied into another one: attachments and uploads in parts, tokens, access keys, ended sessions, sealed keys as they are sealed,
//! and how far a move of the bytes is.
//!
//! A copy is a comparison that corrects: both sides are walked in the order of their ids, and what differs is written. So it needs
//! no notes of how far it came. Cut at any moment and begun again, it skips what is there and goes on.
//!
//! It is never in doubt what a copy may change in its target. Rows that it writes are marked ([`COPIED`](super::bulk::COPIED)), and
//! the mark goes with whatever a server does to them; and the target has the source's key of links, which is written before all rows.
//! A target that holds anything else is refused before anything is written.

mod access;
mod inventory;
mod pass;
mod progress;
mod walk;

use std::time::Duration;

use tokio::time::Instant;

use super::bulk::Bulk;
use super::moves::MoveNote;
use crate::error::{Error, ErrorKind, Result};

pub use inventory::Inventory;
pub use progress::{Changes, Progress};

/// Whether servers may write to the source meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No: refused while a process has it open. Both sides are read again in the end, and must be the same.
    Still,
    /// Yes: the source is followed until the copy has caught up. What is written after that comes with a copy of the other kind.
    Live,
}

/// What a copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How often both sides were walked.
    pub passes: u32,
    /// What was changed at the target, in all passes.
    pub changes: Changes,
    /// What was changed by the last pass alone.
    pub last: Changes,
    /// How long the last pass took.
    pub last_took: Duration,
    /// What is in both, read again; `None` if servers may write to the source.
    pub compared: Option<Inventory>,
}

/// Copies all of `source` into `target`. May be repeated, also after it was cut at any moment, and then goes on where it was; what
/// the source has changed or removed since is changed or removed at the target, too. Reads and writes pages of 500 rows, and holds
/// a few of them; all tokens, access keys and ended sessions at a time.
///
/// Not copied: uploads and deletions that a process works on. A target that a server has worked on must not be copied into again:
/// what was uploaded there is noticed and refused, what was deleted there alone would come back.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict), before anything is written: another process has the target open, or, in [`Mode::Still`], the
/// source; the target holds something else than a copy of this source; in [`Mode::Still`], the source has uploads or deletions that
/// were interrupted. After that: if the two differ in the end, saying in what. Those of both catalogs.
pub async fn copy(
    source: &dyn Bulk,
    target: &dyn Bulk,
    mode: Mode,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report> {
    if !is_alone(target, progress).await? {
        return Err(conflict(
            "another process has the target open: a server, another copy, or this is the source under another name; stop it, or \
             name another target",
        ));
    }
    if mode == Mode::Still {
        if !is_alone(source, progress).await? {
            return Err(conflict(WRITTEN));
        }
        let interrupted = source.in_progress().await?;
        if interrupted > 0 {
            return Err(conflict(format!(
                "the source has {interrupted} uploads or deletions that were interrupted and would not be copied; run `attache \
                 sweep`, and repeat the copy"
            )));
        }
    }
    access::refuse_foreign(source, target).await?;
    source.take_stock().await?;

    let mut report = Report {
        passes: 0,
        changes: Changes::default(),
        last: Changes::default(),
        last_took: Duration::ZERO,
        compared: None,
    };
    loop {
        report.passes += 1;
        let began = Instant::now();
        let before = report.last;
        report.last = pass::pass(source, target, report.passes, progress).await?;
        report.last_took = began.elapsed();
        report.changes += report.last;
        progress(Progress::Passed {
            pass: report.passes,
            changes: report.last,
        });
        if mode == Mode::Still || has_caught_up(report.passes, before, report.last) {
            break;
        }
    }
    if let (Some(source), Some(target)) = (source.moves(), target.moves())
        && let Some(note) = source.noted_move().await?
    {
        // It may have gone back.
        let note = MoveNote {
            is_whole: true,
            ..note
        };
        target.note_move(&note).await?;
    }
    if report.changes.rows() > 0 {
        target.take_stock().await?;
    }
    if mode == Mode::Still {
        report.compared = Some(inventory::compare(source, target, progress).await?);
        if !source.replicas().await?.iter().all(|one| one.is_this) {
            return Err(conflict(format!("during the copy, {WRITTEN}")));
        }
    }
    Ok(report)
}

const WRITTEN: &str = "another process has the source open and may write to it; stop all servers, or copy with --live while they run \
                       and once more without it when they are stopped";

/// Rows that a pass may change for the copy to have caught up: those of a moment.
const MOMENT: u64 = 100;

/// Whether another pass would bring the copy closer. Each changes what was written during the one before; where that is not less
/// than half of it, the source changes as fast as it is read.
fn has_caught_up(passes: u32, before: Changes, last: Changes) -> bool {
    last.rows() <= MOMENT || passes > 2 && last.rows() > before.rows() / 2
}

/// Whether this process alone has a catalog open. Waits while that may be one which was killed.
async fn is_alone(catalog: &dyn Bulk, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<bool> {
    let end = Instant::now() + catalog.mourning();
    loop {
        if catalog.replicas().await?.iter().all(|one| one.is_this) {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        progress(Progress::Waiting);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn conflict(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_caught_up_when_little_changed_or_no_pass_brings_it_closer() {
        let changes = |put| Changes { put, removed: 0 };
        for (passes, before, last, caught_up) in [
            (1, 0, 0, true),
            (1, 0, 100, true),
            (1, 0, 1_000_000, false),
            (2, 1_000_000, 900_000, false),
            (3, 10_000, 5_000, false),
            (3, 10_000, 5_001, true),
            (9, 101, 100, true),
        ] {
            assert_eq!(
                has_caught_up(passes, changes(before), changes(last)),
                caught_up,
                "{passes} {before} {last}"
            );
        }
    }
}
