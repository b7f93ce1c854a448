//! What a move has brought is noted in the catalog many at a time: one write for each takes a fifth of the CPU of a move of small files.

use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt as _;
use futures::channel::mpsc;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::moved::{MoveOutcome, Moved};
use super::walk::walked;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// How many are noted at a time.
const AT_A_TIME: usize = 64;

/// How long the first of them waits for the others. What a killed mover has not noted, the next one does, if the attachment is still there.
const WAIT: Duration = Duration::from_millis(100);

/// What came of an attachment.
pub(super) struct Seen {
    pub(super) moved: Moved,
    /// Of an object in the new store of which the catalog does not know yet that it is there.
    pub(super) version: Option<Version>,
}

/// What a store calls the version of an object, if it has a word for it.
pub(super) struct Version(pub(super) Option<String>);

/// All that was seen, each when what is to be noted of it has been. What was brought of an attachment that was deleted meanwhile is
/// taken out of the new store: the deletion may have looked before it came. Dropped, it notes what waits in a task of `tasks`.
pub(super) fn settled(
    catalog: Arc<dyn Catalog>,
    to: Arc<dyn Storage>,
    tasks: TaskTracker,
    seen: impl Stream<Item = Result<Seen>> + Send + 'static,
) -> BoxStream<'static, Result<Moved>> {
    walked(|told| async move {
        let mut seen = std::pin::pin!(seen);
        let mut arrivals = Arrivals {
            notes: Notes { catalog, to },
            tasks,
            told,
            waiting: Vec::new(),
            due: None,
        };
        loop {
            let next = match arrivals.due {
                None => seen.next().await,
                Some(due) => match timeout_at(due, seen.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        arrivals.note().await?;
                        continue;
                    }
                },
            };
            match next {
                Some(Ok(Seen { moved, version })) => match version {
                    None => arrivals.tell(moved).await,
                    Some(version) => arrivals.add(moved, version).await?,
                },
                Some(Err(error)) => {
                    // What else fails is logged.
                    let _ = arrivals.note().await;
                    return Err(error);
                }
                None => return arrivals.note().await,
            }
        }
    })
}

/// Those that wait to be noted.
struct Arrivals {
    notes: Notes,
    tasks: TaskTracker,
    told: mpsc::Sender<Moved>,
    waiting: Vec<(Moved, Version)>,
    /// When the first of them has waited long enough.
    due: Option<Instant>,
}

impl Arrivals {
    async fn add(&mut self, moved: Moved, version: Version) -> Result<()> {
        self.due.get_or_insert_with(|| Instant::now() + WAIT);
        self.waiting.push((moved, version));
        match self.waiting.len() {
            AT_A_TIME => self.note().await,
            _ => Ok(()),
        }
    }

    async fn note(&mut self) -> Result<()> {
        self.due = None;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        // A task, which goes on when nobody waits for it any more.
        let noted = self.tasks.spawn(self.notes.clone().note(waiting));
        let (noted, outcome) = noted
            .await
            .map_err(|error| Error::internal("a task of the move failed").with_source(error))?;
        for moved in noted {
            self.tell(moved).await;
        }
        outcome
    }

    async fn tell(&mut self, moved: Moved) {
        // Whoever listens no more has dropped this, too.
        let _ = self.told.send(moved).await;
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if let (false, Ok(runtime)) = (waiting.is_empty(), Handle::try_current()) {
            let noted = self.notes.clone().note(waiting);
            drop(self.tasks.spawn_on(noted, &runtime));
        }
    }
}

/// Where what came is noted, and what came too late is taken away.
#[derive(Clone)]
struct Notes {
    catalog: Arc<dyn Catalog>,
    to: Arc<dyn Storage>,
}

impl Notes {
    /// What has come of each, and the first error.
    async fn note(self, waiting: Vec<(Moved, Version)>) -> (Vec<Moved>, Result<()>) {
        let (mut all, tags): (Vec<Moved>, Vec<_>) = waiting
            .into_iter()
            .map(|(moved, Version(tag))| {
                let id = moved.attachment.id.clone();
                (moved, (id, tag))
            })
            .unzip();
        let are_ready = match self.catalog.note_store_tags(tags).await {
            Ok(are_ready) => are_ready,
            Err(error) => {
                tracing::warn!(error = error.report(), "move: what came was not noted");
                return (Vec::new(), Err(error));
            }
        };
        let mut outcome = Ok(());
        for (moved, is_ready) in all.iter_mut().zip(are_ready) {
            if is_ready {
                continue;
            }
            let was_brought = moved.outcome == MoveOutcome::Moved;
            moved.outcome = MoveOutcome::Deleted;
            let key = &moved.attachment.key;
            if was_brought && let Err(error) = self.to.delete(key).await {
                tracing::warn!(%key, error = error.report(), "move: deleted meanwhile, and it stays in the new store");
                outcome = outcome.and(Err(error));
            }
        }
        (all, outcome)
    }
}
