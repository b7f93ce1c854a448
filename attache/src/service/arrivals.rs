//! What a move has brought is noted in the catalog many at a time: one write for each takes a fifth of the CPU of a move of small files.

use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt as _;
use futures::channel::mpsc;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::moved::{MoveOutcome, Moved};
use super::walk::walked;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::storage::Storage;

/// How many are noted at a time.
const AT_A_TIME: usize = 64;

/// How long the first of them waits for the others. What a killed mover has not noted, the next one does.
const WAIT: Duration = Duration::from_millis(100);

/// What came of an attachment.
pub(super) struct Seen {
    pub(super) moved: Moved,
    /// Of an object in the new store of which the catalog does not know yet that it is there.
    pub(super) version: Option<Version>,
}

/// What a store calls the version of an object, if it has a word for it.
pub(super) struct Version(pub(super) Option<String>);

/// All that was seen, each when what is to be noted of it has been. The object of an attachment that was deleted meanwhile is taken
/// out of the new store: the deletion may have looked before it came.
pub(super) fn settled(
    catalog: Arc<dyn Catalog>,
    to: Arc<dyn Storage>,
    seen: impl Stream<Item = Result<Seen>> + Send + 'static,
) -> BoxStream<'static, Result<Moved>> {
    walked(|told| async move {
        let mut seen = std::pin::pin!(seen);
        let mut arrivals = Arrivals {
            catalog,
            to,
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
                    arrivals.note().await?;
                    return Err(error);
                }
                None => return arrivals.note().await,
            }
        }
    })
}

/// Those that wait to be noted.
struct Arrivals {
    catalog: Arc<dyn Catalog>,
    to: Arc<dyn Storage>,
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
        let (all, tags): (Vec<Moved>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|(moved, Version(tag))| {
                let id = moved.attachment.id.clone();
                (moved, (id, tag))
            })
            .unzip();
        let are_ready = self.catalog.note_store_tags(tags).await?;
        for (mut moved, is_ready) in all.into_iter().zip(are_ready) {
            if !is_ready {
                let key = &moved.attachment.key;
                self.to.delete(key).await?;
                moved.outcome = MoveOutcome::Deleted;
            }
            self.tell(moved).await;
        }
        Ok(())
    }

    async fn tell(&mut self, moved: Moved) {
        // Whoever listens no more has dropped this, too.
        let _ = self.told.send(moved).await;
    }
}
