//! How a connection is set up, and how the tables become those of this version.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// Applied in order; the number of applied ones is SQLite's `user_version`.
pub(super) const MIGRATIONS: [&str; 8] = [
    include_str!("../../../migrations/sqlite/0001_attachments.sql"),
    include_str!("../../../migrations/sqlite/0002_kinds.sql"),
    include_str!("../../../migrations/sqlite/0003_store_tags.sql"),
    include_str!("../../../migrations/sqlite/0004_access.sql"),
    include_str!("../../../migrations/sqlite/0005_partial.sql"),
    include_str!("../../../migrations/sqlite/0006_access_keys.sql"),
    include_str!("../../../migrations/sqlite/0007_uploads.sql"),
    include_str!("../../../migrations/sqlite/0008_moves.sql"),
];

/// How long one process waits for another one's write transaction.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long reading many rows may take; far longer than any page of a listing.
pub(super) const LIST_TIME: Duration = Duration::from_secs(10);

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Otherwise SQLite looks at the value of a bound LIMIT, and compiles a cached statement anew whenever it is used again
    // (<https://sqlite.org/queryplanner-ng.html#qpsg>).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // FULL: a commit is on disk when it returns, also if the power fails (<https://sqlite.org/pragma.html#pragma_synchronous>).
    // secure_delete: what was replaced in a page is overwritten there, such as a key that was not sealed
    // (<https://sqlite.org/pragma.html#pragma_secure_delete>); FAST writes no page more for that.
    let settings = "PRAGMA secure_delete = FAST; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                    PRAGMA trusted_schema = OFF;";
    // SQLite gives up at once, whatever the timeout, where two connections of a new database turn its log on together.
    let began = Instant::now();
    while let Err(error) = connection.execute_batch(settings) {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy)
            || began.elapsed() > BUSY_TIMEOUT
        {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(connection)
}

pub(super) enum MigrateError {
    Newer(usize),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(super) fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
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

/// Whether a process that had the catalog open ended without closing it: its log is still there.
pub(super) fn is_left_over(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}
