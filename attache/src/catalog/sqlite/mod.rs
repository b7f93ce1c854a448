//! The catalog in one SQLite file: nothing to install, survives SIGKILL and power failures.
//!
//! One thread writes and commits what is queued together, so that many uploads at once share the price of an
//! `fsync`. Readers have connections of their own; in WAL mode they never wait for the writer
//! (<https://sqlite.org/wal.html>). Several processes on one machine may share the file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, oneshot};

use copy::damage;

use super::{Begun, Catalog, Draft, Page, Totals, Unfinished};
use crate::attachment::media;
use crate::attachment::{Attachment, AttachmentId, Hex, ObjectKey, unique};
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::Stored;

mod copy;
mod listing;

pub use copy::{check, copy, totals};

/// Applied in order; the number of applied ones is SQLite's `user_version`.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../../migrations/sqlite/0001_attachments.sql"),
    include_str!("../../../migrations/sqlite/0002_kinds.sql"),
    include_str!("../../../migrations/sqlite/0003_store_tags.sql"),
];

/// Writes that may wait in line. Whoever finds the line full waits for a place.
const QUEUE: usize = 1024;

/// Writes that are committed together.
const BATCH: usize = 64;

/// Connections for looking up rows, which takes microseconds.
const READERS: usize = 4;

/// Connections for reading many rows: listings, verifications, sweeps. However many of these run, a look-up does not wait
/// for them.
const LISTERS: usize = 2;

/// How long reading many rows may take; far longer than any page of a listing.
const LIST_TIME: Duration = Duration::from_secs(10);

/// How many of SQLite's instructions pass between two looks whether a read shall end. About 0.1 ms.
const LOOK_EVERY: std::ffi::c_int = 10_000;

/// How long one process waits for another one's write transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A catalog in one SQLite file.
pub struct SqliteCatalog {
    shared: Arc<Shared>,
    writes: Mutex<Option<mpsc::Sender<Write>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    worker: Worker,
    place: Place,
    reserve: Reserve,
    lookups: Readers,
    lists: Readers,
}

/// Connections for reading, each for one reader at a time.
struct Readers {
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
    size: usize,
}

/// This process, as long as it lives: a file that it holds a lock on. The system frees the lock when the process ends,
/// however it ends, so another process can tell whether a pending row is still worked on.
struct Worker {
    id: String,
    folder: PathBuf,
    path: PathBuf,
    _lock: File,
}

/// Runs inside the transaction, or gets to know why there is none; what it returns is called with the outcome of the commit.
type Write = Box<dyn FnOnce(Result<&Connection, Failure>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(rusqlite::Result<()>) + Send>;

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
        // Before it is opened, which would go on with what a crash has left.
        let unclean = is_left_over(path);
        let worker = Worker::register(path).map_err(|error| wrong(error.to_string()))?;
        let mut writer = connect(path).map_err(|error| wrong(error.to_string()))?;
        if unclean && worker.is_alone() {
            let damage = damage(&writer).map_err(|error| wrong(error.to_string()))?;
            if let Some(damage) = damage {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "the catalog {} is damaged: {damage}. Move it away, with its -wal and -shm, and run `attache \
                         restore` with a backup, or start without it and run `attache verify --repair`",
                        path.display()
                    ),
                ));
            }
        }
        migrate(&mut writer).map_err(|error| match error {
            MigrateError::Newer(version) => wrong(format!(
                "it has version {version}, but this version of attache supports {}",
                MIGRATIONS.len()
            )),
            MigrateError::Sqlite(error) => wrong(error.to_string()),
        })?;
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
                worker,
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

impl Readers {
    fn open(path: &Path, size: usize) -> rusqlite::Result<Self> {
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
    fn with<T>(
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
    async fn close(&self) -> Vec<Connection> {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let _turns = self.turns.acquire_many(all).await;
        self.turns.close();
        std::mem::take(&mut *self.idle())
    }
}

/// The writer thread: ends when the last sender is gone and the queue is empty.
fn write_all(mut connection: Connection, mut queue: mpsc::Receiver<Write>, place: &Place) {
    let mut answers: Vec<Answer> = Vec::with_capacity(BATCH);
    while let Some(first) = queue.blocking_recv() {
        // What is written into a file that has no name any more is gone with the process.
        if let Err(error) = place.check() {
            first(Err(error.into()))(Ok(()));
            continue;
        }
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                answers.push(first(Ok(&transaction)));
                while answers.len() < BATCH {
                    let Ok(next) = queue.try_recv() else { break };
                    answers.push(next(Ok(&transaction)));
                }
                transaction.commit()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot write to the catalog");
                // Everybody who waits has waited for the same thing, and would again.
                answers.push(first(Err(again(&error).into())));
                while let Ok(next) = queue.try_recv() {
                    answers.push(next(Err(again(&error).into())));
                }
                Ok(())
            }
        };
        for answer in answers.drain(..) {
            answer(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error)),
            });
        }
    }
    // Leaves one file instead of three.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// `rusqlite::Error` cannot be cloned; everybody in a failed batch gets the code and the text.
fn again(error: &rusqlite::Error) -> rusqlite::Error {
    let code = error
        .sqlite_error()
        .map_or(rusqlite::ffi::SQLITE_ERROR, |error| error.extended_code);
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
}

/// One write of a batch: what fails is undone alone.
fn savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.execute_batch("SAVEPOINT one")?;
    let outcome = work(connection);
    match &outcome {
        Ok(_) => connection.execute_batch("RELEASE one")?,
        Err(_) => connection.execute_batch("ROLLBACK TO one; RELEASE one")?,
    }
    outcome
}

/// Which file a catalog is, so that one that was removed or replaced is noticed.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl Place {
    fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Self::file(path)?,
        })
    }

    #[cfg(unix)]
    fn file(path: &Path) -> std::io::Result<Option<(u64, u64)>> {
        use std::os::unix::fs::MetadataExt as _;
        let about = std::fs::metadata(path)?;
        Ok(Some((about.dev(), about.ino())))
    }

    #[cfg(not(unix))]
    fn file(_path: &Path) -> std::io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    fn check(&self) -> Result<()> {
        match Self::file(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the file of the catalog was removed or replaced while attache runs; stop attache, put it back (`attache \
                 restore`, or `attache verify --repair`), and start again",
            )),
        }
    }
}

/// Some space on the catalog's disk that is given up when the disk is full, so that something can be deleted: a deletion
/// writes, too.
#[derive(Debug)]
struct Reserve {
    path: PathBuf,
    there: AtomicBool,
}

/// A deletion changes a few pages of 4 KiB, each written to the log; this is enough for some hundred.
const RESERVE_BYTES: usize = 1024 * 1024;

impl Reserve {
    fn beside(catalog: &Path) -> Self {
        let mut path = catalog.as_os_str().to_owned();
        path.push("-reserve");
        let reserve = Self {
            path: path.into(),
            there: AtomicBool::new(false),
        };
        reserve.make();
        reserve
    }

    /// Makes it unless it is there; without room, the next deletion tries again.
    fn make(&self) {
        let made = || -> std::io::Result<()> {
            let mut file = private::open_file(&self.path)?;
            if file.metadata()?.len() < RESERVE_BYTES as u64 {
                // Written, and not a hole, which would hold nothing.
                std::io::Write::write_all(&mut file, &vec![0; RESERVE_BYTES])?;
                file.sync_all()?;
            }
            Ok(())
        };
        match made() {
            Ok(()) => self.there.store(true, Ordering::Relaxed),
            Err(_) => {
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// Whether there was something to give up.
    fn give_up(&self) -> bool {
        self.there.store(false, Ordering::Relaxed);
        std::fs::remove_file(&self.path).is_ok()
    }
}

/// Whether a process that had the catalog open ended without closing it: its log is still there.
fn is_left_over(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // FULL: a commit is on disk when it returns, also if the power fails (<https://sqlite.org/pragma.html#pragma_synchronous>).
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

enum MigrateError {
    Newer(usize),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    // Immediate, so that two processes that start together do not both migrate.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?
        .try_into()
        .unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(MigrateError::Newer(version));
    }
    for (applied, migration) in (1_i64..).zip(MIGRATIONS).skip(version) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", applied)?;
    }
    transaction.commit()?;
    Ok(())
}

impl Worker {
    fn register(catalog: &Path) -> std::io::Result<Self> {
        let mut folder = catalog.as_os_str().to_owned();
        folder.push("-workers");
        let folder = PathBuf::from(folder);
        private::make_folder(&folder)?;
        let id = unique().simple().to_string();
        let path = folder.join(&id);
        // Locked under a name that names no process, then renamed: no moment in which it exists unlocked.
        let draft = folder.join(format!(".{id}"));
        let lock = loop {
            let lock = private::open_file(&draft)?;
            // Another process may take the draft for that of a dead one before it is locked; then once more.
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            match std::fs::rename(&draft, &path) {
                Ok(()) => break lock,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        let worker = Self {
            id,
            folder,
            path,
            _lock: lock,
        };
        worker.bury_the_dead()?;
        Ok(worker)
    }

    /// Removes the files of processes that were killed; most have left no row that would make anybody ask for them.
    fn bury_the_dead(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            // Drafts, too: that of a process that was killed while it registered names nobody.
            if let Some(name) = entry?.file_name().to_str() {
                self.is_alive(name);
            }
        }
        Ok(())
    }

    /// Whether no other process has the catalog open.
    fn is_alone(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return false;
        };
        !entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_none_or(|name| name != self.id && self.is_alive(name))
        })
    }

    /// Whether the process that `id` names is alive. Cleans up after a dead one.
    fn is_alive(&self, id: &str) -> bool {
        if id == self.id {
            return true;
        }
        let path = self.folder.join(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Anything else, such as too many open files, says nothing about that process.
            Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
        };
        // Shared: two that ask at the same time must not take each other for the process.
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
                false
            }
            // Held, or not to be told: leave its rows alone.
            Err(_) => true,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl SqliteCatalog {
    /// Runs a step of a deletion, and once more with what is kept for it if the disk is full.
    async fn on_a_full_disk<T, F: Future<Output = Result<T>>>(
        &self,
        step: impl Fn() -> F,
    ) -> Result<T> {
        match step().await {
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                let shared = self.shared.clone();
                let given_up = tokio::task::spawn_blocking(move || shared.reserve.give_up());
                match given_up.await {
                    Ok(true) => step().await,
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn retire_once(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        let id = id.clone();
        let worker = self.shared.worker.id.clone();
        self.write("retire", move |connection| {
            let row: Option<(String, String, i64)> = connection
                .prepare_cached("SELECT object_key, state, charged_bytes FROM attachments WHERE id = ?1")?
                .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((key, state, charged)) = row else {
                return Ok(None);
            };
            let give_back = match state.as_str() {
                "ready" => Some("UPDATE usage SET attachments = attachments - 1, ready_bytes = ready_bytes - ?1"),
                "pending" => Some("UPDATE usage SET reserved_bytes = reserved_bytes - ?1"),
                _ => None,
            };
            if let Some(give_back) = give_back {
                connection.prepare_cached(give_back)?.execute([charged])?;
            }
            // The idempotency key is free again: the next try with it stores the file anew. Whoever retires a row last
            // is the one who may forget it.
            connection
                .prepare_cached(
                    "UPDATE attachments SET state = 'retired', charged_bytes = 0, idempotency_key = NULL, worker = ?2 \
                     WHERE id = ?1",
                )?
                .execute(params![id.as_str(), worker])?;
            Ok(Some(key.parse()?))
        })
        .await
    }

    async fn forget_once(&self, id: &AttachmentId) -> Result<()> {
        let id = id.clone();
        let worker = self.shared.worker.id.clone();
        self.write("forget", move |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM attachments WHERE id = ?1 AND state = 'retired' AND worker = ?2",
                )?
                .execute(params![id.as_str(), worker])?;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        let draft = draft.clone();
        let worker = self.shared.worker.id.clone();
        self.write("begin", move |connection| {
            if let Some(key) = &draft.idempotency_key
                && let Some(first) = repeated(connection, &draft, key.as_str())?
            {
                return Ok(Begun::Repeated(Box::new(first)));
            }
            fits(connection, 0, draft.size.unwrap_or(0), draft.quota)?;
            charge(connection, 0, draft.reserve, draft.quota)?;
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, \
                     created_by, charged_bytes, worker, idempotency_key) \
                     VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    draft.id.as_str(),
                    draft.key.as_str(),
                    draft.owner.as_ref().map(|owner| owner.as_str()),
                    draft.filename.as_str(),
                    draft.content_type,
                    millis(draft.created_at),
                    draft.created_by.as_ref().map(|author| author.as_str()),
                    signed(draft.reserve)?,
                    worker,
                    draft.idempotency_key.as_ref().map(|key| key.as_str()),
                ])?;
            if inserted == 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("the id \"{}\" is taken", draft.id),
                )
                .into());
            }
            Ok(Begun::New)
        })
        .await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        let id = id.clone();
        self.write("reserve", move |connection| {
            let before = pending_charge(connection, &id)?;
            if bytes > before {
                charge(connection, before, bytes, quota)?;
                connection
                    .prepare_cached("UPDATE attachments SET charged_bytes = ?2 WHERE id = ?1")?
                    .execute(params![id.as_str(), signed(bytes)?])?;
            }
            Ok(())
        })
        .await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        let (id, stored) = (id.clone(), stored.clone());
        self.write("commit", move |connection| {
            let reserved = match pending_charge(connection, &id) {
                Ok(reserved) => reserved,
                // A repeated call whose first answer was lost; its caller would take "not pending" for an order to remove
                // the bytes.
                Err(failure) => {
                    let first = ready(connection, &id).ok().filter(|first| {
                        first.size == stored.size && Some(first.sha256) == stored.sha256
                    });
                    return first.ok_or(failure);
                }
            };
            let size = signed(stored.size)?;
            let decided: String = connection
                .prepare_cached("SELECT content_type FROM attachments WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))?;
            connection
                .prepare_cached(
                    "UPDATE usage SET attachments = attachments + 1, ready_bytes = ready_bytes + ?1, \
                     reserved_bytes = reserved_bytes - ?2",
                )?
                .execute(params![size, signed(reserved)?])?;
            connection
                .prepare_cached(
                    "UPDATE attachments SET state = 'ready', charged_bytes = ?2, size = ?2, sha256 = ?3, md5 = ?4, \
                     crc64 = ?5, content_type = ?6, store_tag = ?7 WHERE id = ?1",
                )?
                .execute(params![
                    id.as_str(),
                    size,
                    stored.sha256.map(|hex| hex.0),
                    stored.md5.map(|hex| hex.0),
                    stored.crc64.map(u64::to_be_bytes),
                    media::settled(&decided, stored.utf8),
                    stored.store_tag,
                ])?;
            ready(connection, &id)
        })
        .await
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        let id = id.clone();
        self.read("find", move |connection| ready(connection, &id))
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

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.on_a_full_disk(|| self.forget_once(id)).await?;
        if !self.shared.reserve.there.load(Ordering::Relaxed) {
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
            let mut statement = connection.prepare_cached(
                "SELECT id, object_key, state, worker FROM attachments WHERE state <> 'ready' AND id > ?1 ORDER BY id",
            )?;
            let mut rows = statement.query([after])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let upload = row.get_ref(2)?.as_str().is_ok_and(|state| state == "pending");
                let worker: String = row.get(3)?;
                // Our own deletions are told apart by their callers; those of another living process are its own.
                let ours = worker == shared.worker.id;
                if (upload || !ours) && shared.worker.is_alive(&worker) {
                    continue;
                }
                found.push(Unfinished {
                    id: row.get::<_, String>(0)?.parse()?,
                    key: row.get::<_, String>(1)?.parse()?,
                    upload,
                });
                if found.len() >= limit as usize {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn walk(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        self.read_many("walk", move |connection| {
            // The column's collation is BINARY: bytes, as the keys themselves are ordered.
            let sql = format!(
                "SELECT {COLUMNS} FROM attachments WHERE state = 'ready' AND object_key > ?1 \
                 ORDER BY object_key LIMIT ?2"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![after, limit], |row| Ok(attachment(row)))?;
            let mut list = Vec::new();
            for row in rows {
                list.push(row??);
            }
            Ok(list)
        })
        .await
    }

    async fn names(&self, key: &ObjectKey) -> Result<bool> {
        let key = key.clone();
        self.read("names", move |connection| {
            let row: Option<i64> = connection
                .prepare_cached("SELECT 1 FROM attachments WHERE object_key = ?1")?
                .query_row([key.as_str()], |row| row.get(0))
                .optional()?;
            Ok(row.is_some())
        })
        .await
    }

    async fn restore(&self, lost: &Attachment) -> Result<()> {
        let lost = lost.clone();
        let worker = self.shared.worker.id.clone();
        self.write("restore", move |connection| {
            let size = signed(lost.size)?;
            let inserted = connection
                .prepare_cached(
                    "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, \
                     created_by, charged_bytes, size, sha256, crc64, worker, md5, store_tag) \
                     VALUES (?1, ?2, 'ready', ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    lost.id.as_str(),
                    lost.key.as_str(),
                    lost.owner.as_ref().map(|owner| owner.as_str()),
                    lost.filename.as_str(),
                    lost.content_type,
                    millis(lost.created_at),
                    lost.created_by.as_ref().map(|author| author.as_str()),
                    size,
                    lost.sha256.0,
                    lost.crc64.map(u64::to_be_bytes),
                    worker,
                    lost.md5.map(|hex| hex.0),
                    lost.store_tag,
                ])?;
            if inserted == 0 {
                let same = ready(connection, &lost.id).is_ok_and(|found| {
                    let same = Attachment {
                        created_at: found.created_at,
                        md5: found.md5,
                        store_tag: found.store_tag.clone(),
                        ..lost.clone()
                    };
                    millis(found.created_at) == millis(lost.created_at) && found == same
                });
                return match same {
                    true => Ok(()),
                    false => Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the id \"{}\" or its object is taken", lost.id),
                    )
                    .into()),
                };
            }
            connection
                .prepare_cached(
                    "UPDATE usage SET attachments = attachments + 1, ready_bytes = ready_bytes + ?1",
                )?
                .execute([size])?;
            Ok(())
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        self.read_many("check", |connection| match damage(connection)? {
            None => Ok(()),
            Some(damage) => Err(Error::new(
                ErrorKind::Misconfigured,
                format!("the catalog is damaged: {damage}; `attache restore` restores a backup"),
            )
            .into()),
        })
        .await
    }

    async fn note_store_tag(&self, id: &AttachmentId, store_tag: Option<&str>) -> Result<()> {
        let (id, store_tag) = (id.clone(), store_tag.map(str::to_owned));
        self.write("note_store_tag", move |connection| {
            connection
                .prepare_cached(
                    "UPDATE attachments SET store_tag = ?2 WHERE id = ?1 AND state = 'ready'",
                )?
                .execute(params![id.as_str(), store_tag])?;
            Ok(())
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

/// Whether a share of the quota may be replaced by another one.
fn fits(
    connection: &Connection,
    before: u64,
    after: u64,
    quota: Option<u64>,
) -> Result<(), Failure> {
    let Some(quota) = quota else { return Ok(()) };
    let used: i64 = connection
        .prepare_cached("SELECT ready_bytes + reserved_bytes FROM usage")?
        .query_row([], |row| row.get(0))?;
    let used = unsigned(used).saturating_sub(before);
    if used.saturating_add(after) <= quota {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::QuotaExceeded,
        format!(
            "{used} of {quota} bytes are in use, so {after} more do not fit; delete something, or raise upload.total_bytes"
        ),
    )
    .into())
}

/// Replaces a share of the quota by another one.
fn charge(
    connection: &Connection,
    before: u64,
    after: u64,
    quota: Option<u64>,
) -> Result<(), Failure> {
    fits(connection, before, after, quota)?;
    connection
        .prepare_cached("UPDATE usage SET reserved_bytes = reserved_bytes + ?1")?
        .execute([signed(after)? - signed(before)?])?;
    Ok(())
}

fn pending_charge(connection: &Connection, id: &AttachmentId) -> Result<u64, Failure> {
    let charged: Option<i64> = connection
        .prepare_cached(
            "SELECT charged_bytes FROM attachments WHERE id = ?1 AND state = 'pending'",
        )?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    charged.map(unsigned).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "this upload is no longer pending: it was swept or deleted",
        )
        .into()
    })
}

fn repeated(
    connection: &Connection,
    draft: &Draft,
    key: &str,
) -> Result<Option<Attachment>, Failure> {
    let row: Option<(String, String)> = connection
        .prepare_cached("SELECT id, state FROM attachments WHERE idempotency_key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, state)) = row else {
        return Ok(None);
    };
    if state != "ready" {
        return Err(Error::new(
            ErrorKind::Conflict,
            "an upload with this Idempotency-Key is in progress; try again when it is done",
        )
        .retry_after(Duration::from_secs(2))
        .into());
    }
    let first = ready(connection, &id.parse()?)?;
    if first.owner != draft.owner
        || first.filename != draft.filename
        || first.created_by != draft.created_by
    {
        return Err(Error::new(
            ErrorKind::Conflict,
            "this Idempotency-Key was used for another file; use a fresh one",
        )
        .into());
    }
    Ok(Some(first))
}

fn ready(connection: &Connection, id: &AttachmentId) -> Result<Attachment, Failure> {
    connection
        .prepare_cached(&select_one())?
        .query_row([id.as_str()], |row| Ok(attachment(row)))
        .optional()?
        .unwrap_or_else(|| Err(Error::not_found(id.as_str()).into()))
}

fn select_one() -> String {
    format!("SELECT {COLUMNS} FROM attachments WHERE id = ?1 AND state = 'ready'")
}

const COLUMNS: &str = "id, object_key, owner, filename, content_type, size, sha256, crc64, created_at_ms, created_by, md5, store_tag";

fn attachment(row: &Row<'_>) -> Result<Attachment, Failure> {
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    let created_at_ms: i64 = row.get(8)?;
    Ok(Attachment {
        id: row.get::<_, String>(0)?.parse()?,
        key: row.get::<_, String>(1)?.parse()?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: row.get::<_, String>(3)?.into(),
        content_type: row.get(4)?,
        size: unsigned(row.get(5)?),
        sha256: Hex(row.get(6)?),
        crc64: row.get::<_, Option<[u8; 8]>>(7)?.map(u64::from_be_bytes),
        created_at: OffsetDateTime::from_unix_timestamp_nanos(
            i128::from(created_at_ms) * 1_000_000,
        )
        .map_err(|error| {
            Error::internal("a time in the catalog is out of range").with_source(error)
        })?,
        created_by: optional(9)?.map(|text| text.parse()).transpose()?,
        md5: row.get::<_, Option<[u8; 16]>>(10)?.map(Hex),
        store_tag: optional(11)?,
    })
}

fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// SQLite's integers are signed.
fn signed(bytes: u64) -> Result<i64, Failure> {
    i64::try_from(bytes)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "more bytes than can be counted").into())
}

fn unsigned(bytes: i64) -> u64 {
    bytes.try_into().unwrap_or(0)
}

/// What a transaction can fail with.
enum Failure {
    Ours(Error),
    Sqlite(rusqlite::Error),
}

impl Failure {
    fn into_error(self, operation: &'static str) -> Error {
        let sqlite = match self {
            Self::Ours(error) => return error,
            Self::Sqlite(error) => error,
        };
        let error = match sqlite.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Error::new(
                ErrorKind::StorageFull,
                "the disk of the catalog is full; free space, or move catalog.url",
            )
            .for_operator(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Error::new(
                    ErrorKind::Busy,
                    "another program holds the write lock of the catalog; try again",
                )
                .retry_after(Duration::from_secs(2))
            }
            Some(rusqlite::ErrorCode::OperationInterrupted) => too_long(),
            _ => Error::internal("the catalog failed"),
        };
        error.with_source(sqlite).during(operation, "catalog")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::Busy,
        format!(
            "timed out: reading the catalog took longer than {} s",
            LIST_TIME.as_secs()
        ),
    )
    .retry_after(Duration::from_secs(5))
}

fn closed() -> Error {
    Error::internal("the catalog is closed")
}
