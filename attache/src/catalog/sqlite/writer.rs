//! One thread writes, and commits what is queued together.

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::place::Place;

/// Writes that may wait in line. Whoever finds the line full waits for a place.
pub(super) const QUEUE: usize = 1024;

/// Writes that are committed together.
const BATCH: usize = 64;

/// Runs inside the transaction, or gets to know why there is none; what it returns is called with the outcome of the commit.
pub(super) type Write = Box<dyn FnOnce(Result<&Connection, Failure>) -> Reply + Send>;

pub(super) type Reply = Box<dyn FnOnce(rusqlite::Result<()>) + Send>;

/// The writer thread: ends when the last sender is gone and the queue is empty.
pub(super) fn write_all(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Write>,
    place: &Place,
) {
    let mut replies: Vec<Reply> = Vec::with_capacity(BATCH);
    while let Some(first) = queue.blocking_recv() {
        // What is written into a file that has no name any more is gone with the process.
        if let Err(error) = place.check() {
            first(Err(error.into()))(Ok(()));
            continue;
        }
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                replies.push(first(Ok(&transaction)));
                while replies.len() < BATCH {
                    let Ok(next) = queue.try_recv() else { break };
                    replies.push(next(Ok(&transaction)));
                }
                transaction.commit()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot write to the catalog");
                // Everybody who waits has waited for the same thing, and would again.
                replies.push(first(Err(again(&error).into())));
                while let Ok(next) = queue.try_recv() {
                    replies.push(next(Err(again(&error).into())));
                }
                Ok(())
            }
        };
        for reply in replies.drain(..) {
            reply(match &committed {
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
pub(super) fn savepoint<T>(
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
