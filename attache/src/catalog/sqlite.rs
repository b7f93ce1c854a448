//! The catalog in one SQLite file: nothing to install, survives SIGKILL and power failures.
//!
//! One thread writes and commits what is queued together, so that many uploads at once share the price of an
//! `fsync`. Readers have connections of their own; in WAL mode they never wait for the writer
//! (<https://sqlite.org/wal.html>). Several processes on one machine may share the file.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, TransactionBehavior, params};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

use super::{Begun, Catalog, Draft, Page, Totals, Unfinished};
use crate::access::{OwnerPattern, Owners};
use crate::attachment::{Attachment, AttachmentId, Hex, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Stored;

/// Applied in order; the number of applied ones is SQLite's `user_version`.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/sqlite/0001_attachments.sql"),
    include_str!("../../migrations/sqlite/0003_store_tags.sql"),
];

/// Writes that may wait in line. Whoever finds the line full waits for a place.
const QUEUE: usize = 1024;

/// Writes that are committed together.
const BATCH: usize = 64;

/// Connections for reading.
const READERS: usize = 4;

/// How long one process waits for another one's write transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A catalog in one SQLite file.
pub struct SqliteCatalog {
    shared: Arc<Shared>,
    writes: Mutex<Option<mpsc::Sender<Write>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Shared {
    worker: Worker,
    readers: Mutex<Vec<Connection>>,
    reading: Arc<Semaphore>,
}

/// This process, as long as it lives: a file that it holds a lock on. The system frees the lock when the process ends,
/// however it ends, so another process can tell whether a pending row is still worked on.
struct Worker {
    id: String,
    folder: PathBuf,
    path: PathBuf,
    _lock: File,
}

/// Runs inside the transaction; what it returns is called with the outcome of the commit.
type Write = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(rusqlite::Result<()>) + Send>;

impl SqliteCatalog {
    /// Opens the file, makes it if it does not exist, and applies migrations that are missing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the file cannot be made or is no catalog, or is one of a newer attache.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the catalog {} cannot be opened: {what}; mend it or set catalog.url",
                    path.display()
                ),
            )
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| wrong(error.to_string()))?;
        }
        let mut writer = connect(path).map_err(|error| wrong(error.to_string()))?;
        migrate(&mut writer).map_err(|error| match error {
            MigrateError::Newer(version) => wrong(format!(
                "it has version {version}, but this attache knows {}",
                MIGRATIONS.len()
            )),
            MigrateError::Sqlite(error) => wrong(error.to_string()),
        })?;
        let readers = (0..READERS)
            .map(|_| connect(path))
            .collect::<rusqlite::Result<Vec<_>>>()
            .map_err(|error| wrong(error.to_string()))?;
        let worker = Worker::register(path).map_err(|error| wrong(error.to_string()))?;
        let (writes, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("catalog-writer".to_owned())
            .spawn(move || write_all(writer, queue))
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                worker,
                readers: Mutex::new(readers),
                reading: Arc::new(Semaphore::new(READERS)),
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
        let write: Write = Box::new(move |connection| {
            let done = savepoint(connection, work);
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

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let reading = self.shared.reading.clone();
        let turn = reading.acquire_owned().await.map_err(|_| closed())?;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            // The turn ends with the work, not with the caller: whoever is next finds a connection.
            let _turn = turn;
            let pool = || {
                shared
                    .readers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
            };
            let connection = pool().pop().ok_or_else(closed)?;
            let outcome = work(&connection);
            pool().push(connection);
            outcome.map_err(|failure| failure.into_error(operation))
        })
        .await
        .unwrap_or_else(|error| Err(Error::internal("a catalog read failed").with_source(error)))
    }
}

/// The writer thread: ends when the last sender is gone and the queue is empty.
fn write_all(mut connection: Connection, mut queue: mpsc::Receiver<Write>) {
    let mut answers = Vec::with_capacity(BATCH);
    while let Some(first) = queue.blocking_recv() {
        let committed = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            answers.push(first(&transaction));
            while answers.len() < BATCH {
                let Ok(next) = queue.try_recv() else { break };
                answers.push(next(&transaction));
            }
            transaction.commit()
        })();
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
        std::fs::create_dir_all(&folder)?;
        let id = Uuid::now_v7().simple().to_string();
        let path = folder.join(&id);
        // Locked under a name that names no process, then renamed: no moment in which it exists unlocked.
        let draft = folder.join(format!(".{id}"));
        let lock = loop {
            let lock = File::create(&draft)?;
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
            connection
                .prepare_cached(
                    "UPDATE usage SET attachments = attachments + 1, ready_bytes = ready_bytes + ?1, \
                     reserved_bytes = reserved_bytes - ?2",
                )?
                .execute(params![size, signed(reserved)?])?;
            connection
                .prepare_cached(
                    "UPDATE attachments SET state = 'ready', charged_bytes = ?2, size = ?2, sha256 = ?3, md5 = ?4, \
                     crc64 = ?5, store_tag = ?6 WHERE id = ?1",
                )?
                .execute(params![
                    id.as_str(),
                    size,
                    stored.sha256.map(|hex| hex.0),
                    stored.md5.map(|hex| hex.0),
                    stored.crc64.map(u64::to_be_bytes),
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
        self.read("list", move |connection| {
            let (after_ms, after_id) = match &page.after {
                Some((ms, id)) => (*ms, id.as_str()),
                None => (i64::MAX, ""),
            };
            let mut parameters: Vec<&dyn ToSql> = vec![&after_ms, &after_id, &page.limit];
            let owner = page.owner.as_ref().map(|owner| owner.as_str());
            let mut wanted = String::new();
            if let Some(owner) = &owner {
                parameters.push(owner);
                wanted.push_str(" AND owner = ?4");
            }
            let (seen, bounds) = visible(&page.visible, parameters.len());
            parameters.extend(bounds.iter().map(|bound| bound as &dyn ToSql));
            let sql = format!(
                "SELECT {COLUMNS} FROM attachments WHERE state = 'ready' AND (created_at_ms, id) < (?1, ?2){wanted}{seen} \
                 ORDER BY created_at_ms DESC, id DESC LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(parameters.as_slice(), |row| Ok(attachment(row)))?;
            let mut list = Vec::new();
            for row in rows {
                list.push(row??);
            }
            Ok(list)
        })
        .await
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
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

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
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

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let shared = self.shared.clone();
        self.read("unfinished", move |connection| {
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
        self.read("walk", move |connection| {
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
        self.read("totals", |connection| {
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
        self.write("probe", |connection| {
            connection
                .prepare_cached("UPDATE usage SET one = 1")?
                .execute([])?;
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
        // Reads that run end; those that wait, and all later ones, are refused.
        let reading = &self.shared.reading;
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        let _turns = reading.acquire_many(all).await;
        reading.close();
        let shared = self.shared.clone();
        let close = move || {
            let mut readers = shared
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            readers.clear();
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog").finish_non_exhaustive()
    }
}

/// Replaces a share of the quota by another one.
fn charge(
    connection: &Connection,
    before: u64,
    after: u64,
    quota: Option<u64>,
) -> Result<(), Failure> {
    if let Some(quota) = quota {
        let used: i64 = connection
            .prepare_cached("SELECT ready_bytes + reserved_bytes FROM usage")?
            .query_row([], |row| row.get(0))?;
        let used = unsigned(used).saturating_sub(before);
        if used.saturating_add(after) > quota {
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                format!(
                    "{} of {quota} bytes are in use, so {after} more do not fit; delete something, or raise \
                     upload.total_bytes",
                    used
                ),
            )
            .into());
        }
    }
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
            "this upload is not pending any more: it was swept away or deleted",
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
            "an upload with this Idempotency-Key is running; ask again when it is done",
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

/// The condition that leaves what `owners` allow, and its parameters, which follow `before` others.
fn visible(owners: &Owners, before: usize) -> (String, Vec<String>) {
    if owners.are_all() {
        return (String::new(), Vec::new());
    }
    let (mut conditions, mut bounds) = (Vec::new(), Vec::new());
    for pattern in owners.patterns() {
        let next = before + bounds.len() + 1;
        match pattern {
            OwnerPattern::All => {}
            OwnerPattern::One(owner) => {
                conditions.push(format!("owner = ?{next}"));
                bounds.push(owner.as_str().to_owned());
            }
            // Owners are ASCII below 0x7f, so what begins with the prefix lies before the prefix with that after it. The
            // index of owners serves this, unlike LIKE.
            OwnerPattern::Prefix(prefix) => {
                conditions.push(format!("(owner >= ?{next} AND owner < ?{})", next + 1));
                bounds.push(prefix.clone());
                bounds.push(format!("{prefix}\x7f"));
            }
        }
    }
    match conditions.is_empty() {
        true => (" AND FALSE".to_owned(), bounds),
        false => (format!(" AND ({})", conditions.join(" OR ")), bounds),
    }
}

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
                    "another process holds the catalog for too long; try again",
                )
                .retry_after(Duration::from_secs(2))
            }
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

fn closed() -> Error {
    Error::internal("the catalog is closed")
}
