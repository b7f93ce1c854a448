//! What a transaction can fail with, and the words for it.

use std::time::Duration;

use super::schema::LIST_TIME;
use crate::error::{Error, ErrorKind};

/// What a transaction can fail with.
pub(super) enum Failure {
    Ours(Error),
    Sqlite(rusqlite::Error),
}

impl Failure {
    pub(super) fn into_error(self, operation: &'static str) -> Error {
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

pub(super) fn too_long() -> Error {
    Error::new(
        ErrorKind::Busy,
        format!(
            "timed out: reading the catalog took longer than {} s",
            LIST_TIME.as_secs()
        ),
    )
    .retry_after(Duration::from_secs(5))
}

pub(super) fn closed() -> Error {
    Error::internal("the catalog is closed")
}
