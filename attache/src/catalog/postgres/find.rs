//! Attachments by their ids, several in one statement where many ask at the same time.
//!
//! Most of what a look-up costs is the way to the database and back, in this process and in that one. So only a few are on their way at a
//! time, and what is asked for meanwhile goes together with the next: a look-up alone waits for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::ask::Ask;
use super::failure::{Failure, closed};
use super::pool::TIME;
use super::rows::{COLUMNS, attachment};
use super::shared::Shared;
use crate::attachment::{Attachment, AttachmentId};
use crate::error::{Error, Result};

/// Statements that are on their way at a time. More than one, so that a connection that died does not stop all.
const STATEMENTS: usize = 3;

/// Ids of one statement at most.
const BATCH: usize = 64;

/// Those who wait to be asked for.
#[derive(Default)]
pub(super) struct Finds(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    running: usize,
}

/// Somebody who waits: no longer than its future lives.
struct Waiting {
    id: AttachmentId,
    answer: oneshot::Sender<Result<Attachment>>,
}

impl Finds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attachment that is ready.
    pub(super) async fn find(
        self: &Arc<Self>,
        database: &Arc<Shared>,
        id: &AttachmentId,
    ) -> Result<Attachment> {
        if database.pool.is_closed() {
            return Err(closed());
        }
        let (answer, outcome) = oneshot::channel();
        let id = id.clone();
        let starts = {
            let mut state = self.state();
            state.waiting.push(Waiting { id, answer });
            let starts = state.running < STATEMENTS;
            state.running += usize::from(starts);
            starts
        };
        if starts {
            let running = Running {
                finds: self.clone(),
                counts: true,
            };
            tokio::spawn(running.ask_for_all(database.clone()));
        }
        match timeout(TIME, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(Failure::Away("timed out".into()).into_error("find")),
        }
    }
}

/// One of the statements that are on their way.
struct Running {
    finds: Arc<Finds>,
    /// Whether it counts as one that runs.
    counts: bool,
}

impl Running {
    /// Until nobody waits any more.
    async fn ask_for_all(mut self, database: Arc<Shared>) {
        loop {
            let some = self.next();
            if some.is_empty() {
                return;
            }
            let ids: Vec<&AttachmentId> = some.iter().map(|waiting| &waiting.id).collect();
            match look_up(&database, &ids).await {
                Ok(found) => {
                    for Waiting { id, answer } in some {
                        let outcome = found.get(&id).cloned();
                        // Nobody listens if the caller's future was dropped.
                        let _ = answer.send(outcome.ok_or_else(|| Error::not_found(id.as_str())));
                    }
                }
                Err(failure) => {
                    let error = failure.into_error("find");
                    for waiting in some {
                        let _ = waiting.answer.send(Err(error.to_shared()));
                    }
                }
            }
        }
    }

    /// Those who wait the longest. If nobody does, this one has ended, in the same moment: whoever comes then begins another.
    fn next(&mut self) -> Vec<Waiting> {
        let mut state = self.finds.state();
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let count = state.waiting.len().min(BATCH);
        if count == 0 {
            state.running -= 1;
            self.counts = false;
        }
        state.waiting.drain(..count).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a panic, or when the runtime ends.
        if self.counts {
            self.finds.state().running -= 1;
        }
    }
}

async fn look_up(
    database: &Shared,
    ids: &[&AttachmentId],
) -> Result<HashMap<AttachmentId, Attachment>, Failure> {
    let ask = match ids {
        [id] => Ask::new(format!(
            "SELECT {COLUMNS} FROM attache.attachments WHERE id = $1 AND state = 'ready'"
        ))
        .text(id.as_str()),
        several => Ask::new(format!(
            "SELECT {COLUMNS} FROM attache.attachments WHERE id = ANY($1) AND state = 'ready'"
        ))
        .texts(several.iter().map(|id| id.to_string())),
    };
    let rows = database
        .pool
        .ask_until(&ask, Instant::now() + TIME)
        .await?
        .rows;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let attachment = attachment(row)?;
        found.insert(attachment.id.clone(), attachment);
    }
    Ok(found)
}
