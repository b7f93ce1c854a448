//! Copies of SQLite databases that a restore can trust, made while others write; and whether a database is whole.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::schema::BUSY_TIMEOUT;
use crate::catalog::unsigned;
use crate::error::{Error, ErrorKind, Result};
use crate::private;

/// Copies the database `from` to the file `to`, which must not exist: one state of it, whatever is written meanwhile, in
/// one file, on disk when this returns. Writers do not wait. The copy is checked.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if one cannot be read, the other not written, or the database is damaged.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let wrong = |what: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Misconfigured,
            format!("cannot copy {} to {}: {what}", from.display(), to.display()),
        )
    };
    if to.exists() {
        return Err(wrong(&"it exists"));
    }
    // SQLite takes an empty file for a new database, and keeps its permissions.
    let made = private::open_file(to).map_err(|error| wrong(&error))?;
    let copied = || -> rusqlite::Result<()> {
        // For writing, because reading needs the index of the log, which a crash may have left to be made again.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // One read transaction (<https://sqlite.org/lang_vacuum.html#vacuuminto>).
        connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    };
    copied().map_err(|error| wrong(&error))?;
    made.sync_all().map_err(|error| wrong(&error))?;
    let copy = open(to).map_err(|error| wrong(&error))?;
    damage(&copy)
        .map_err(|error| wrong(&error))?
        .map_or(Ok(()), |damage| Err(wrong(&damage)))
}

/// Whether the database in this file is whole: reads all of it.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], saying what is damaged.
pub fn check(path: &Path) -> Result<()> {
    let wrong = |what: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Misconfigured,
            format!("{} is damaged: {what}", path.display()),
        )
    };
    let connection = open(path).map_err(|error| wrong(&error))?;
    match damage(&connection).map_err(|error| wrong(&error))? {
        None => Ok(()),
        Some(damage) => Err(wrong(&damage)),
    }
}

/// Attachments that a copy of a catalog holds, and their bytes.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if it is not a catalog.
pub fn totals(path: &Path) -> Result<(u64, u64)> {
    let read = || -> rusqlite::Result<(i64, i64)> {
        open(path)?.query_row("SELECT attachments, ready_bytes FROM usage", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    };
    let (attachments, bytes) = read().map_err(|error| not_a_catalog(path, &error))?;
    Ok((unsigned(attachments), unsigned(bytes)))
}

/// Whether a copy of a catalog holds keys that are sealed, so that it is of little use without `secrets.key_file`. Those of
/// earlier versions, and earlier versions of the tables, hold none.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if it is not a catalog.
pub fn has_sealed_keys(path: &Path) -> Result<bool> {
    let read = || -> rusqlite::Result<bool> {
        let copy = open(path)?;
        let table = "SELECT 1 FROM sqlite_schema WHERE name = 'signing_keys'";
        let sealed = "SELECT 1 FROM signing_keys WHERE length(key) <> 32";
        Ok(copy.prepare(table)?.exists([])? && copy.prepare(sealed)?.exists([])?)
    };
    read().map_err(|error| not_a_catalog(path, &error))
}

fn not_a_catalog(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{} is not a catalog: {error}", path.display()),
    )
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// The first thing that is wrong with a database. Rows that an index lacks count, too, which `quick_check` does not see
/// (<https://sqlite.org/pragma.html#pragma_integrity_check>).
pub(super) fn damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}
