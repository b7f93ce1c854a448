//! The objects of a store are brought into another one, while both are used.
//!
//! What is to be moved is what the catalog names and the new store does not have. Nothing is remembered between two runs: several runs, or
//! several at the same time, differ from one in nothing but time. One that was killed may have brought, in its last moment, the bytes of an
//! attachment that was deleted in the same moment; no row names them, and `verify` does.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use futures::stream::{self, BoxStream, Peekable, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use super::arrivals::{Seen, Version, settled};
use super::moved::Account;
pub use super::moved::{MoveOutcome, Moved};
use super::walk::{ready_rows, walked};
use super::{Attache, Parts};
use crate::attachment::{Attachment, ObjectKey};
use crate::catalog::Catalog;
use crate::catalog::moves::MoveNote;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::config::StorageConfig;
use crate::storage::moving::of_the_old;
use crate::storage::{Blocks, Content, Facts, Moving, ObjectInfo, Stored};
use crate::transfer::body::{Body, Expected, store_late};
use crate::transfer::budget::{Budget, RELAY_BYTES};

/// Objects that are on their way at a time: of small ones most of the time is waiting.
const AT_ONCE: usize = 4;

/// The size of a block, where the store does not need larger ones. An object holds one that fills and one on its way.
const BLOCK: u64 = 4 * 1024 * 1024;

/// How a move goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveOptions {
    /// Bytes a second at most, of all objects together.
    pub rate: Option<u64>,
    /// Moves nothing, and tells what has not been moved.
    pub only_look: bool,
}

impl Attache {
    pub(super) fn mover(&self, parts: Arc<Parts>, options: MoveOptions) -> Mover {
        Mover {
            catalog: self.0.catalog.clone(),
            budget: Budget::new(parts.config.memory.transfer_bytes),
            rate: options.rate.map(Rate::new).map(Arc::new),
            only_look: options.only_look,
            parts,
        }
    }

    /// Brings the bytes of all attachments from `storage.moving_from` to `storage`: one item for each attachment, in no order. Each
    /// is read to its end and hashed on its way; what is not what was uploaded is not stored. Safe at any time and from several
    /// processes. It holds 40 MiB, more where a store takes no more than a number of blocks and the file has more than 40 GB, and never more
    /// than `memory.transfer_bytes`. Dropping the stream ends it, and leaves every object where it was, or in both stores; what it has brought is noted in
    /// a task that [`close`](Self::close) waits for. How far it is,
    /// it notes in the catalog every two seconds, for all who have that open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if nothing is moved; those of the catalog, and of a store that cannot be used, end the stream.
    /// What is wrong with one object is its outcome.
    pub fn move_objects(&self, options: MoveOptions) -> BoxStream<'static, Result<Moved>> {
        let parts = self.parts();
        let Some(places) = places(&parts) else {
            return stream::once(std::future::ready(Err(nothing_to_move()))).boxed();
        };
        let mover = Arc::new(self.mover(parts.clone(), options));
        let this = self.clone();
        let in_place = async move { this.in_place(&parts).await };
        let rows = stream::once(in_place)
            .map_ok({
                let mover = mover.clone();
                move |()| rows(mover.clone())
            })
            .try_flatten();
        let account = Arc::new(Account::new(self.0.catalog.clone(), places));
        let at_the_end = account.clone();
        let end = stream::once(async move { at_the_end.end().await });
        let metrics = self.0.metrics.clone();
        let (catalog, to) = (mover.catalog.clone(), mover.stores().to().clone());
        let tasks = self.0.tasks.clone();
        let seen = rows
            .map_ok(move |row| mover.clone().one(row))
            .try_buffer_unordered(AT_ONCE);
        settled(catalog, to, tasks, seen)
            .inspect_ok(move |moved| {
                metrics.object_moved(moved.outcome.as_str());
                if moved.outcome == MoveOutcome::Moved {
                    tracing::debug!(key = %moved.attachment.key, "moved");
                }
            })
            .then(move |moved| note(account.clone(), moved))
            .chain(end.filter_map(|()| std::future::ready(None)))
            .boxed()
    }

    /// How far the move between the stores of `parts` is, as a mover noted it last.
    pub(super) async fn noted_move(&self, parts: &Parts) -> Option<MoveNote> {
        let (from, to) = places(parts)?;
        let noted = self.0.catalog.moves()?.noted_move().await.ok().flatten();
        // That of an earlier move, or of the way back, says nothing of this one.
        let note = noted.filter(|note| note.from == from && note.to == to)?;
        Some(MoveNote {
            // What was deleted since is in neither store.
            objects: note.objects.min(note.total_objects),
            bytes: note.bytes.min(note.total_bytes),
            ..note
        })
    }
}

pub(super) fn nothing_to_move() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "nothing is to be moved: storage.moving_from is not set; it names the store where the bytes have been until now",
    )
}

/// Notes how far the move is with what has come of one attachment.
async fn note(account: Arc<Account>, moved: Result<Moved>) -> Result<Moved> {
    match &moved {
        Ok(moved) if moved.outcome == MoveOutcome::Deleted => {}
        Ok(moved) => {
            let is_left = moved.outcome.is_left();
            account.add(moved.attachment.size, is_left).await;
        }
        Err(_) => account.break_off().await,
    }
    moved
}

/// Where bytes are moved from, and where to, in words.
pub(super) fn places(parts: &Parts) -> Option<(String, String)> {
    let stores = parts.storage.moving()?;
    Some(match parts.config.storage() {
        StorageConfig::Moving(both) => (both.1.place(), both.0.place()),
        // They were handed in.
        _ => (
            stores.from().name().to_owned(),
            stores.to().name().to_owned(),
        ),
    })
}

pub(super) struct Mover {
    parts: Arc<Parts>,
    catalog: Arc<dyn Catalog>,
    budget: Budget,
    rate: Option<Arc<Rate>>,
    only_look: bool,
}

/// A ready row, and what the listing of the new store said of its object.
struct Row {
    attachment: Attachment,
    listed: Option<ObjectInfo>,
}

/// All ready rows in ascending order of their keys, each beside what the new store has under its key.
fn rows(mover: Arc<Mover>) -> BoxStream<'static, Result<Row>> {
    walked(|mut found| async move {
        let mut objects = std::pin::pin!(mover.stores().to().list(None).peekable());
        let mut rows = std::pin::pin!(ready_rows(&*mover.catalog));
        while let Some(attachment) = rows.try_next().await? {
            let listed = listed(objects.as_mut(), &attachment).await?;
            if found.send(Row { attachment, listed }).await.is_err() {
                break;
            }
        }
        Ok(())
    })
}

/// What a listing has under the key of a row. Objects before it are of no ready row.
async fn listed<S: futures::Stream<Item = Result<ObjectInfo>>>(
    mut objects: std::pin::Pin<&mut Peekable<S>>,
    attachment: &Attachment,
) -> Result<Option<ObjectInfo>> {
    loop {
        let order = match objects.as_mut().peek().await {
            None => return Ok(None),
            Some(Ok(object)) => object.key.cmp(&attachment.key),
            Some(Err(_)) => Ordering::Less,
        };
        match order {
            Ordering::Greater => return Ok(None),
            Ordering::Equal => return objects.next().await.transpose(),
            Ordering::Less => {
                objects.next().await.transpose()?;
            }
        }
    }
}

impl Mover {
    fn stores(&self) -> &Moving {
        let moving = self.parts.storage.moving();
        moving.expect("asked when the move began")
    }

    async fn one(self: Arc<Self>, row: Row) -> Result<Seen> {
        let attachment = row.attachment;
        let (outcome, version) = match row.listed {
            Some(object) => {
                let outcome = self.judged(&attachment, &object).await?;
                let is_news =
                    outcome == MoveOutcome::There && self.is_not_noted(&attachment, &object).await;
                (outcome, is_news.then_some(Version(object.store_tag)))
            }
            None => self.absent(&attachment).await?,
        };
        let moved = Moved {
            attachment,
            outcome,
        };
        Ok(Seen { moved, version })
    }

    /// Where the bytes of an attachment are, for one that only looks.
    pub(super) async fn look(&self, attachment: &Attachment) -> Result<MoveOutcome> {
        let (outcome, _) = self.absent(attachment).await?;
        Ok(outcome)
    }

    /// An attachment that the new store did not list. It may have come since.
    async fn absent(&self, attachment: &Attachment) -> Result<(MoveOutcome, Option<Version>)> {
        let key = &attachment.key;
        // A small one is sent with less than it takes to ask: if it has come, the store refuses another.
        if (self.only_look || attachment.size > BLOCK)
            && let Some(outcome) = self.in_the_new(attachment).await?
        {
            return Ok((outcome, None));
        }
        if self.only_look {
            return Ok((self.looked_for(attachment).await?, None));
        }
        match self.bring(attachment).await {
            Ok(stored) => Ok((MoveOutcome::Moved, Some(Version(stored.store_tag)))),
            // A deletion takes away what it finds: what came behind it goes, too, however that ended.
            Err(_) if !self.is_ready(attachment).await? => {
                self.stores().to().delete(key).await?;
                Ok((MoveOutcome::Deleted, None))
            }
            Err(error) => Ok((self.goes_on_after(error, attachment).await?, None)),
        }
    }

    /// Whether an object is in the new store and its row still names the old store's version: its mover ended before it noted the new one.
    /// An object that somebody changed in the new store is left for `verify` to report.
    async fn is_not_noted(&self, attachment: &Attachment, object: &ObjectInfo) -> bool {
        let is_other = object.store_tag.is_some() && object.store_tag != attachment.store_tag;
        is_other && self.stores().has_just_come(attachment, object).await
    }

    /// What the new store has under the key of an attachment, if it has anything.
    async fn in_the_new(&self, attachment: &Attachment) -> Result<Option<MoveOutcome>> {
        let key = &attachment.key;
        match self.stores().to().head(key).await {
            Ok(None) => Ok(None),
            Ok(Some(object)) => self.judged(attachment, &object).await.map(Some),
            Err(error) => said_of_one(error, key).map(Some),
        }
    }

    /// Where the bytes are that the new store does not have.
    async fn looked_for(&self, attachment: &Attachment) -> Result<MoveOutcome> {
        if !self.is_ready(attachment).await? {
            return Ok(MoveOutcome::Deleted);
        }
        let from = self.stores().from();
        match from.head(&attachment.key).await.map_err(of_the_old) {
            Ok(Some(_)) => Ok(MoveOutcome::NotMoved),
            Ok(None) => Ok(MoveOutcome::Missing),
            Err(error) => said_of_one(error, &attachment.key),
        }
    }

    async fn bring(&self, attachment: &Attachment) -> Result<Stored> {
        let _permit = self.budget.acquire(RELAY_BYTES).await?;
        let from = self.stores().from();
        let object = from.get(&attachment.key, None).await.map_err(of_the_old)?;
        let chunks = self.at_our_rate(object.body, attachment.size);
        let body = Body::new(chunks.map_err(of_the_old))
            .hashed(attachment.md5.is_some())
            .expecting(Expected {
                size: Some(attachment.size),
                sha256: Some(attachment.sha256.0),
                ..Expected::default()
            });
        let content = self.content(attachment);
        let to = self.stores().to();
        to.put(&attachment.key, &content, body).await
    }

    /// A download of a store that may go silent, no faster than was asked for.
    fn at_our_rate(
        &self,
        body: Body,
        size: u64,
    ) -> impl futures::Stream<Item = Result<Bytes>> + Send + use<> {
        let download = &self.parts.config.download;
        let rate = self.rate.clone();
        let mut allowance = download.timeout;
        if let Some(rate) = &rate {
            // All of them share the rate, and a slow move is not a dead store.
            allowance.base += 2 * AT_ONCE as u32 * rate.time_of(size);
        }
        body.paced(download.idle_timeout, allowance, Some(size), store_late)
            .and_then(move |chunk| paid(rate.clone(), chunk))
    }

    /// As it was stored with the bytes when they were uploaded.
    fn content(&self, attachment: &Attachment) -> Content {
        let blocks = Blocks {
            bytes: BLOCK,
            concurrency: 1,
            budget: self.budget.clone(),
        };
        let inline = &self.parts.config.delivery.inline_types;
        Content::new(
            Facts::from(attachment),
            inline,
            Some(attachment.size),
            blocks,
        )
    }

    /// What an object in the new store says of an attachment. One that tells no SHA-256 was put there by another program, and is read.
    async fn judged(&self, attachment: &Attachment, object: &ObjectInfo) -> Result<MoveOutcome> {
        let outcome = there(attachment, object);
        if outcome != MoveOutcome::There || object.sha256.is_some() {
            return Ok(outcome);
        }
        match self.read_back(attachment).await {
            Ok(()) => Ok(MoveOutcome::There),
            // It was deleted meanwhile: with its attachment, or from the new store alone.
            Err(error) if error.kind() == ErrorKind::NotFound => self.looked_for(attachment).await,
            Err(error) => said_of_one(error, &attachment.key),
        }
    }

    /// Reads what the new store has, and compares it with what was uploaded.
    async fn read_back(&self, attachment: &Attachment) -> Result<()> {
        let _permit = self.budget.acquire(RELAY_BYTES).await?;
        let object = self.stores().to().get(&attachment.key, None).await?;
        let mut body =
            Body::new(self.at_our_rate(object.body, attachment.size)).expecting(Expected {
                size: Some(attachment.size),
                sha256: Some(attachment.sha256.0),
                ..Expected::default()
            });
        while body.next().await.transpose()?.is_some() {}
        Ok(())
    }

    /// What an error says of one object. An outage would only repeat itself, and ends the move.
    async fn goes_on_after(&self, error: Error, attachment: &Attachment) -> Result<MoveOutcome> {
        let (key, report) = (&attachment.key, error.report());
        let outcome = said_of_one(error, key)?;
        // Another process may have brought it since it was listed.
        if let Some(outcome) = self.in_the_new(attachment).await? {
            return Ok(outcome);
        }
        if let MoveOutcome::Failed(_) = outcome {
            tracing::warn!(%key, error = report, "move: this object is left where it is");
        }
        Ok(outcome)
    }

    async fn is_ready(&self, attachment: &Attachment) -> Result<bool> {
        match self.catalog.find_uncached(&attachment.id).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What an error says of one object; the error of an outage, which would only repeat itself.
fn said_of_one(error: Error, key: &ObjectKey) -> Result<MoveOutcome> {
    Ok(match error.kind() {
        ErrorKind::NotFound => MoveOutcome::Missing,
        ErrorKind::DigestMismatch => MoveOutcome::Differs,
        ErrorKind::Conflict
        | ErrorKind::Archived
        | ErrorKind::CustomerKey
        | ErrorKind::Retained
        // It was overwritten while it was read.
        | ErrorKind::PreconditionFailed
        | ErrorKind::Internal
        | ErrorKind::TooLarge => MoveOutcome::Failed(error.kind().code()),
        _ => return Err(error.during("move", key.as_str())),
    })
}

/// What an object in the new store tells of an attachment.
fn there(attachment: &Attachment, object: &ObjectInfo) -> MoveOutcome {
    let differs = object.size != attachment.size
        || object.sha256.is_some_and(|told| told != attachment.sha256);
    match differs {
        true => MoveOutcome::Differs,
        false => MoveOutcome::There,
    }
}

/// Bytes a second, shared by all who ask.
struct Rate {
    bytes_a_second: f64,
    /// Until when what was let through takes.
    busy_until: Mutex<Instant>,
}

impl Rate {
    fn new(bytes_a_second: u64) -> Self {
        Self {
            bytes_a_second: bytes_a_second.max(1) as f64,
            busy_until: Mutex::new(Instant::now()),
        }
    }

    /// When so many bytes more may go.
    fn next(&self, bytes: usize) -> Instant {
        let mut busy = self
            .busy_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = (*busy).max(Instant::now());
        *busy = now + self.time_of(bytes as u64);
        now
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_a_second)
    }
}

async fn paid(rate: Option<Arc<Rate>>, chunk: Bytes) -> Result<Bytes> {
    if let Some(rate) = rate {
        tokio::time::sleep_until(rate.next(chunk.len())).await;
    }
    Ok(chunk)
}
