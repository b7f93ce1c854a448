//! What earlier versions kept in files beside the catalog: tokens in `tokens.db`, the key of links in `link.key`.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::failure::Failure;
use super::schema::BUSY_TIMEOUT;
use super::tokens::{COLUMNS, changed, keep, stored};
use crate::access::key_file::{self, KEY_FILE};
use crate::access::keys::LINKS;
use crate::access::sealed::{SealedKeys, SealedStore};
use crate::error::{Error, ErrorKind, Result};

/// Name of the database of tokens.
pub const TOKENS_FILE: &str = "tokens.db";

/// Follows the names of files that were taken over.
const TAKEN_OVER: &str = ".imported";

/// Whether there is a catalog at `path`, or what an earlier version would have put beside it, which opening it takes over.
pub fn exists(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    path.exists() || folder.join(TOKENS_FILE).exists() || folder.join(KEY_FILE).exists()
}

/// Takes tokens over from the file in `folder`, once, and renames it, so that a token that is revoked later does not come back.
/// What the database has already stays.
///
/// In this order a crash in between takes them over once more, and what is there stays as it is.
pub(super) fn take_over(connection: &mut Connection, folder: &Path) -> Result<()> {
    let tokens = folder.join(TOKENS_FILE);
    if tokens.exists() {
        if aside(&tokens).exists() {
            return Err(wrong(
                &tokens,
                &"it was taken over before, as tokens.db.imported shows, and tokens that were revoked since would come back",
            ));
        }
        let mut taken = 0;
        let mut import = || -> std::result::Result<(), Failure> {
            // For writing, so that its log is written back and does not stay behind.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let old = Connection::open_with_flags(&tokens, flags)?;
            old.busy_timeout(BUSY_TIMEOUT)?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut statement = old.prepare(&format!("SELECT {COLUMNS} FROM tokens"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(token) = stored(row) {
                    keep(&transaction, &token)?;
                    taken += 1;
                }
            }
            let ended = "SELECT 1 FROM sqlite_schema WHERE name = 'ended_sessions'";
            if old.prepare(ended)?.exists([])? {
                let mut statement = old.prepare("SELECT hash, expires FROM ended_sessions")?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let (hash, expires): ([u8; 32], i64) = (row.get(0)?, row.get(1)?);
                    transaction.execute(
                        "INSERT INTO ended_sessions (hash, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                        params![hash, expires],
                    )?;
                }
            }
            changed(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        let imported = import();
        // Another process that started at the same time has taken it over, and away from under us.
        if imported.is_err() && !tokens.exists() {
            return Ok(());
        }
        imported.map_err(|failure| wrong(&tokens, &failure.into_error("take over").report()))?;
        put_aside(&tokens).map_err(|error| wrong(&tokens, &error))?;
        tracing::info!(tokens = taken, "tokens.db was taken over into the catalog");
    }
    Ok(())
}

/// Takes the key of links over from the file beside the catalog at `path`, sealed, and renames the file. What the catalog has
/// already stays.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], naming the file.
pub(crate) async fn take_over_key<S: SealedStore>(keys: &SealedKeys<S>, path: &Path) -> Result<()> {
    let file = path.parent().unwrap_or(Path::new("")).join(KEY_FILE);
    let key = match key_file::read(&file) {
        Ok(Some(key)) => key,
        Ok(None) => return Err(wrong(&file, &"it is not a key of 32 bytes")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong(&file, &error)),
    };
    keys.keep(LINKS, &key).await?;
    put_aside(&file).map_err(|error| wrong(&file, &error))?;
    tracing::info!("link.key was taken over into the catalog");
    Ok(())
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "cannot take over {} into the catalog: {what}. Fix its permissions, or put back a copy; moved away, all tokens in it \
             or all links and sessions end",
            path.display()
        ),
    )
}

fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(TAKEN_OVER);
    aside.into()
}

fn put_aside(path: &Path) -> io::Result<()> {
    match std::fs::rename(path, aside(path)) {
        // Another process that started at the same time was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
