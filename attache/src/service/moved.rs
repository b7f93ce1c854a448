//! What came of the attachments of a move, and how far it is: counted as it goes, and noted in the catalog every few seconds, where
//! servers read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::attachment::Attachment;
use crate::catalog::Catalog;
use crate::catalog::moves::MoveNote;

/// How often a mover notes how far it is. It is the least that a killed one takes with it.
const EVERY: Duration = Duration::from_secs(2);

/// An attachment, and where its bytes are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The attachment.
    pub attachment: Attachment,
    /// What became of its bytes.
    pub outcome: MoveOutcome,
}

/// What became of the bytes of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveOutcome {
    /// They were brought into the new store, and are the ones that were uploaded.
    Moved,
    /// They are there already.
    There,
    /// The attachment was deleted meanwhile.
    Deleted,
    /// They are in the old store alone, and nothing was asked to bring them.
    NotMoved,
    /// Neither store has them.
    Missing,
    /// What the old store has, or the new one, is not what was uploaded. It was left as it is.
    Differs,
    /// They cannot be read, or not be written, for a reason of this one object. The code of the error.
    Failed(&'static str),
}

impl MoveOutcome {
    /// The word for it in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::There => "there",
            Self::Deleted => "deleted",
            Self::NotMoved => "not_moved",
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the new store lacks an attachment.
    pub fn is_left(self) -> bool {
        !matches!(self, Self::Moved | Self::There | Self::Deleted)
    }
}

/// What one mover has seen.
pub(super) struct Account {
    catalog: Arc<dyn Catalog>,
    from: String,
    to: String,
    counted: Mutex<Counted>,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    objects: u64,
    bytes: u64,
    left_objects: u64,
    left_bytes: u64,
    noted: Option<Instant>,
    /// It did not come to its end.
    is_broken: bool,
}

impl Account {
    pub(super) fn new(catalog: Arc<dyn Catalog>, (from, to): (String, String)) -> Self {
        Self {
            catalog,
            from,
            to,
            counted: Mutex::default(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attachment of so many bytes is in the new store, or is not.
    pub(super) async fn add(&self, bytes: u64, is_left: bool) {
        let is_time = {
            let mut counted = self.counted();
            match is_left {
                true => {
                    counted.left_objects += 1;
                    counted.left_bytes += bytes;
                }
                false => {
                    counted.objects += 1;
                    counted.bytes += bytes;
                }
            }
            counted.noted.is_none_or(|noted| noted.elapsed() >= EVERY)
        };
        if is_time {
            self.note(false).await;
        }
    }

    /// It goes on no further.
    pub(super) async fn break_off(&self) {
        self.counted().is_broken = true;
        self.note(false).await;
    }

    /// It has looked at everything, unless it broke off.
    pub(super) async fn end(&self) {
        if !self.counted().is_broken {
            self.note(true).await;
        }
    }

    async fn note(&self, is_whole: bool) {
        let Some(moves) = self.catalog.moves() else {
            return;
        };
        self.counted().noted = Some(Instant::now());
        let noted = async {
            let totals = self.catalog.totals().await?;
            let counted = *self.counted();
            let seen = (
                counted.objects + counted.left_objects,
                counted.bytes + counted.left_bytes,
            );
            // What was uploaded behind a move went to the new store.
            let (total_objects, total_bytes) = match is_whole {
                true => seen,
                false => (totals.attachments.max(seen.0), totals.bytes.max(seen.1)),
            };
            let note = MoveNote {
                from: self.from.clone(),
                to: self.to.clone(),
                objects: counted.objects,
                bytes: counted.bytes,
                total_objects,
                total_bytes,
                noted_at: OffsetDateTime::now_utc(),
                is_whole,
            };
            moves.note_move(&note).await
        };
        // It goes on all the same: what it does counts, and not what is told of it.
        if let Err(error) = noted.await {
            tracing::warn!(
                error = error.report(),
                "move: how far it is could not be noted"
            );
        }
    }
}
