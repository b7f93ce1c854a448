//! Writes of one kind, several in one statement.
//!
//! All writes of a replica that change the counter wait for the same row and for a flush of the log. One statement for what has
//! queued up meanwhile pays for both once: 13 to 16 times as many uploads begin as with a statement for each. A statement is sent
//! from a task of its own, so it is never dropped half way; a write whose caller has gone before it was sent does not happen.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, closed};
use super::pool::TIME;
use super::shared::Shared;
use crate::attachment::AttachmentId;
use crate::error::Result;

/// Writes of one statement at most.
const BATCH: usize = 64;

/// Writes that may wait; whoever comes after them waits to be queued.
const QUEUE: usize = 1024;

/// A kind of write.
#[async_trait]
pub(super) trait Write: Send + Sync + Sized + 'static {
    /// What it brings.
    type Done: Send + 'static;

    /// What errors call it.
    const NAME: &'static str;

    /// The row that it changes: two writes of one row are never in one statement.
    fn id(&self) -> &AttachmentId;

    /// Does all of them, and returns as many outcomes. A failure is that of all of them.
    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<Self::Done>>, Failure>;
}

struct Queued<W: Write> {
    write: W,
    end: Instant,
    answer: oneshot::Sender<Result<W::Done>>,
}

/// The queue of one kind of write, and the task that empties it.
pub(super) struct Lane<W: Write> {
    queue: Mutex<Option<mpsc::Sender<Queued<W>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl<W: Write> Lane<W> {
    pub(super) fn start(database: Arc<Shared>) -> Self {
        let (queue, writes) = mpsc::channel(QUEUE);
        let task = tokio::spawn(empty(database, writes));
        Self {
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
        }
    }

    pub(super) async fn write(&self, write: W) -> Result<W::Done> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        let end = Instant::now() + TIME;
        let (answer, outcome) = oneshot::channel();
        let queued = Queued { write, end, answer };
        match timeout_at(end, queue.send(queued)).await {
            Ok(sent) => sent.map_err(|_| closed())?,
            Err(_) => return Err(late().into_error(W::NAME)),
        }
        outcome.await.map_err(|_| closed())?
    }

    /// Takes no more, and waits for what is queued.
    pub(super) async fn close(&self) {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(queue);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

async fn empty<W: Write>(database: Arc<Shared>, mut queue: mpsc::Receiver<Queued<W>>) {
    let mut waiting: Vec<Queued<W>> = Vec::new();
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, BATCH).await == 0 {
            return;
        }
        // What has come meanwhile goes along, up to the size of a statement.
        while waiting.len() < BATCH {
            match queue.try_recv() {
                Ok(next) => waiting.push(next),
                Err(_) => break,
            }
        }
        let (batch, rest) = one_of_each(waiting);
        waiting = rest;
        let (writes, answers, end) = alive(batch);
        if writes.is_empty() {
            continue;
        }
        match W::all(&database, &writes, end).await {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // Nobody listens if the caller's future was dropped.
                    let _ = answer.send(outcome);
                }
            }
            Err(failure) => {
                let error = failure.into_error(W::NAME);
                for answer in answers {
                    let _ = answer.send(Err(error.to_shared()));
                }
            }
        }
    }
}

/// The first write of each row, and those that have to wait for it.
fn one_of_each<W: Write>(waiting: Vec<Queued<W>>) -> (Vec<Queued<W>>, Vec<Queued<W>>) {
    let mut seen = HashSet::new();
    waiting
        .into_iter()
        .partition(|queued| seen.insert(queued.write.id().clone()))
}

type Alive<W> = (
    Vec<W>,
    Vec<oneshot::Sender<Result<<W as Write>::Done>>>,
    Instant,
);

/// Those that somebody still waits for, and when the first of them has waited long enough.
fn alive<W: Write>(batch: Vec<Queued<W>>) -> Alive<W> {
    let now = Instant::now();
    let (mut writes, mut answers, mut end) = (Vec::new(), Vec::new(), now + TIME);
    for Queued {
        write,
        end: own,
        answer,
    } in batch
    {
        if answer.is_closed() {
            continue;
        }
        if own <= now {
            let _ = answer.send(Err(late().into_error(W::NAME)));
            continue;
        }
        writes.push(write);
        answers.push(answer);
        end = end.min(own);
    }
    (writes, answers, end)
}

fn late() -> Failure {
    Failure::Busy(
        "timed out: too many writes wait for the catalog",
        "the queue is full".into(),
    )
}
