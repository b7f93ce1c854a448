//! The catalog in one SQLite file: nothing to install, survives SIGKILL and power failures.
//!
//! One thread writes and commits what is queued together, so that many uploads at once share the price of an
//! `fsync`. Readers have connections of their own; in WAL mode they never wait for the writer
//! (<https://sqlite.org/wal.html>). Several processes on one machine may share the file.

mod access;
mod access_keys;
mod bulk;
mod copy;
mod failure;
mod legacy;
mod listing;
mod moves;
mod partial;
mod place;
mod queries;
mod readers;
mod reserve;
mod rows;
mod schema;
mod tokens;
mod uploads;
mod workers;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use failure::{Failure, closed, too_long};
use place::Place;
use readers::{LISTERS, LOOK_EVERY, READERS, Readers};
use reserve::Reserve;
use schema::{LIST_TIME, MIGRATIONS, MigrateError, connect, is_left_over, migrate};
use workers::FileLocks;
use writer::{QUEUE, Write, savepoint, write_all};

use super::moves::MoveNotes;
use super::partial::PartialUploads;
use super::workers::{Replica, Workers};
use super::{Abandoned, Begun, Catalog, Draft, Page, Totals, Unfinished, unsigned};
use crate::attachment::{Attachment, AttachmentId, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::Stored;

pub use copy::{check, copy, has_sealed_keys, totals};
pub(crate) use legacy::take_over_key;
pub use legacy::{TOKENS_FILE, exists};

/// A catalog in one SQLite file.
pub struct SqliteCatalog {
    shared: Arc<Shared>,
    writes: Mutex<Option<mpsc::Sender<Write>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    workers: Arc<dyn Workers>,
    place: Place,
    reserve: Reserve,
    lookups: Readers,
    lists: Readers,
}

impl SqliteCatalog {
    /// Opens the file, makes it if it does not exist, and applies migrations that are missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the file cannot be made or is not a catalog, or is one of a newer attache.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "cannot open the catalog {}: {what}; fix it or set catalog.url",
                    path.display()
                ),
            )
        };
        private::make_folder(path.parent().unwrap_or(Path::new("")))
            .map_err(|error| wrong(error.to_string()))?;
        private::open_file(path).map_err(|error| wrong(error.to_string()))?;
        // It holds hashes of tokens and sealed keys. SQLite makes its log and its index with the mode of the database.
        for end in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            private::close_to_others(Path::new(&file)).map_err(|error| {
                wrong(format!(
                    "it is readable by others, and that cannot be changed: {error}"
                ))
            })?;
        }
        // Before it is opened, which would go on with what a crash has left.
        let unclean = is_left_over(path);
        let workers = FileLocks::register(path).map_err(|error| wrong(error.to_string()))?;
        let workers: Arc<dyn Workers> = Arc::new(workers);
        let damaged = |damage: String| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the catalog {} is damaged: {damage}. Move it away, with its -wal and -shm, and run `attache \
                     restore` with a backup, or start without it and run `attache verify --repair`",
                    path.display()
                ),
            )
        };
        // Damage of some kinds is in the way of the look for it.
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
            _ => wrong(error.to_string()),
        };
        let mut writer = connect(path).map_err(failed)?;
        if unclean && workers.is_alone() {
            let damage = copy::damage(&writer).map_err(failed)?;
            if let Some(damage) = damage {
                return Err(damaged(damage));
            }
        }
        migrate(&mut writer).map_err(|error| match error {
            MigrateError::Newer(version) => wrong(format!(
                "it has version {version}, but this version of attache supports {}",
                MIGRATIONS.len()
            )),
            MigrateError::Sqlite(error) => failed(error),
        })?;
        legacy::take_over(&mut writer, path.parent().unwrap_or(Path::new("")))?;
        let readers = |size| Readers::open(path, size).map_err(|error| wrong(error.to_string()));
        let (lookups, lists) = (readers(READERS)?, readers(LISTERS)?);
        let place = Place::of(path).map_err(|error| wrong(error.to_string()))?;
        let reserve = Reserve::beside(path);
        let (writes, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("catalog-writer".to_owned())
            .spawn({
                let place = place.clone();
                move || write_all(writer, queue, &place)
            })
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                workers,
                place,
                reserve,
                lookups,
                lists,
            }),
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(thread)),
        })
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let writes = self
            .writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)?;
        let (answer, outcome) = oneshot::channel();
        let write: Write = Box::new(move |transaction| {
            let done = transaction.and_then(|connection| savepoint(connection, work));
            Box::new(move |committed| {
                let done = committed.map_err(Failure::Sqlite).and(done);
                // Nobody listens if the caller's future was dropped.
                let _ = answer.send(done);
            })
        });
        writes.send(write).await.map_err(|_| closed())?;
        outcome
            .await
            .map_err(|_| closed())?
            .map_err(|failure| failure.into_error(operation))
    }

    fn workers(&self) -> Arc<dyn Workers> {
        self.shared.workers.clone()
    }

    /// Looks something up.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let turns = self.shared.lookups.turns.clone();
        let turn = turns.acquire_owned().await.map_err(|_| closed())?;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            // The turn ends with the work, not with the caller: the next one finds a connection.
            let _turn = turn;
            shared
                .lookups
                .with(operation, |connection| work(connection))
        })
        .await
        .unwrap_or_else(|error| Err(Error::internal("a catalog read failed").with_source(error)))
    }

    /// Reads many rows. Ends soon after this future is dropped, and after [`LIST_TIME`].
    async fn read_many<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let turns = self.shared.lists.turns.clone();
        let turn = tokio::time::timeout(LIST_TIME, turns.acquire_owned()).await;
        let turn = turn.map_err(|_| too_long())?.map_err(|_| closed())?;
        let shared = self.shared.clone();
        let wanted = Arc::new(());
        let dropped = Arc::downgrade(&wanted);
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let start = Instant::now();
            let end = move || dropped.strong_count() == 0 || start.elapsed() > LIST_TIME;
            shared.lists.with(operation, |connection| {
                connection.progress_handler(LOOK_EVERY, Some(end))?;
                let outcome = work(connection);
                connection.progress_handler(0, None::<fn() -> bool>)?;
                outcome
            })
        })
        .await
        .unwrap_or_else(|error| Err(Error::internal("a catalog read failed").with_source(error)));
        drop(wanted);
        outcome
    }
}

impl SqliteCatalog {
    /// Runs a step of a deletion, and once more with room made for it if the disk is full.
    async fn on_a_full_disk<T, F: Future<Output = Result<T>>>(
        &self,
        step: impl Fn() -> F,
    ) -> Result<T> {
        match step().await {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                let shared = self.shared.clone();
                let made = tokio::task::spawn_blocking(move || {
                    let given_up = shared.reserve.give_up();
                    // The log keeps growing by what deletions write until it has been copied into the database, which
                    // SQLite does at 1,000 pages: on a full disk it would never come to that.
                    given_up | shared.place.shorten_log()
                });
                match made.await {
                    Ok(true) => step().await,
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn retire_once(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        let id = id.clone();
        let workers = self.workers();
        self.write("retire", move |connection| {
            queries::retire(connection, &id, workers.me())
        })
        .await
    }

    async fn abandon_once(&self, id: &AttachmentId) -> Result<Abandoned> {
        let id = id.clone();
        let workers = self.workers();
        self.write("abandon", move |connection| {
            queries::abandon(connection, &id, workers.me())
        })
        .await
    }

    async fn forget_once(&self, id: &AttachmentId) -> Result<()> {
        let id = id.clone();
        let workers = self.workers();
        self.write("forget", move |connection| {
            queries::forget(connection, &id, workers.me())
        })
        .await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn partial(&self) -> Option<&dyn PartialUploads> {
        Some(self)
    }

    fn moves(&self) -> Option<&dyn MoveNotes> {
        Some(self)
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        let draft = draft.clone();
        let workers = self.workers();
        self.write("begin", move |connection| {
            queries::begin(connection, &draft, workers.me())
        })
        .await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        let id = id.clone();
        let workers = self.workers();
        self.write("reserve", move |connection| {
            queries::reserve(connection, &id, bytes, quota, workers.me())
        })
        .await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        let (id, stored) = (id.clone(), stored.clone());
        let workers = self.workers();
        self.write("commit", move |connection| {
            queries::commit(connection, &id, &stored, workers.me())
        })
        .await
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        let id = id.clone();
        self.read("find", move |connection| rows::ready(connection, &id))
            .await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        let page = page.clone();
        self.read_many("list", move |connection| listing::page(connection, &page))
            .await
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        self.on_a_full_disk(|| self.retire_once(id)).await
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        self.on_a_full_disk(|| self.abandon_once(id)).await
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.on_a_full_disk(|| self.forget_once(id)).await?;
        if !self.shared.reserve.is_there() {
            let shared = self.shared.clone();
            let _ = tokio::task::spawn_blocking(move || shared.reserve.make()).await;
        }
        Ok(())
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let shared = self.shared.clone();
        self.read_many("unfinished", move |connection| {
            queries::unfinished(connection, &after, limit, &*shared.workers)
        })
        .await
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        let id = id.clone();
        let workers = self.workers();
        self.write("take_over", move |connection| {
            queries::take_over(connection, &id, now, &*workers)
        })
        .await
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        let shared = self.shared.clone();
        let alive = tokio::task::spawn_blocking(move || shared.workers.alive()).await;
        let told = alive
            .map_err(|error| Error::internal("listing the processes failed").with_source(error))?;
        told.map_err(|error| {
            Error::internal("cannot tell which processes have the catalog open").with_source(error)
        })
    }

    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        self.read_many("list_by_key", move |connection| {
            queries::list_by_key(connection, &after, limit)
        })
        .await
    }

    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool> {
        let key = key.clone();
        self.read("is_referenced", move |connection| {
            queries::is_referenced(connection, &key)
        })
        .await
    }

    async fn restore(&self, lost: &Attachment) -> Result<()> {
        let lost = lost.clone();
        let workers = self.workers();
        self.write("restore", move |connection| {
            queries::restore(connection, &lost, workers.me())
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        self.read_many("check", |connection| match copy::damage(connection)? {
            None => Ok(()),
            Some(damage) => Err(Error::new(
                ErrorKind::Misconfigured,
                format!("the catalog is damaged: {damage}; `attache restore` restores a backup"),
            )
            .into()),
        })
        .await
    }

    async fn note_store_tags(
        &self,
        tags: Vec<(AttachmentId, Option<String>)>,
    ) -> Result<Vec<bool>> {
        self.write("note_store_tags", move |connection| {
            queries::note_store_tags(connection, &tags)
        })
        .await
    }

    async fn totals(&self) -> Result<Totals> {
        let place = self.shared.place.clone();
        self.read("totals", move |connection| {
            place.check()?;
            let totals = connection
                .prepare_cached("SELECT attachments, ready_bytes, reserved_bytes FROM usage")?
                .query_row([], |row| {
                    Ok(Totals {
                        attachments: unsigned(row.get(0)?),
                        bytes: unsigned(row.get(1)?),
                        reserved_bytes: unsigned(row.get(2)?),
                    })
                })?;
            Ok(totals)
        })
        .await
    }

    async fn probe(&self) -> Result<()> {
        // The lock for writing is taken, but a transaction that changes nothing writes nothing to disk.
        self.write("probe", |connection| {
            connection
                .prepare_cached("SELECT one FROM usage")?
                .query_row([], |_| Ok(()))?;
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        let take = || {
            let writes = self
                .writes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(writes);
            self.writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        };
        if let Some(thread) = take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let shared = &self.shared;
        let mut connections = shared.lookups.close().await;
        connections.extend(shared.lists.close().await);
        let _ = tokio::task::spawn_blocking(move || drop(connections)).await;
    }
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog").finish_non_exhaustive()
    }
}
