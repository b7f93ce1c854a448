//! What a statement can fail with, by what is to be done about it, and the words for it.

use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::error::{Error, ErrorKind};

/// What a statement can fail with.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database cannot be reached, or is going down or coming up. The statement may have happened.
    Away(Source),
    /// It may be asked again at once: two statements met, or a pooler lost one.
    Again(Source),
    /// It is there, and has no time.
    Busy(&'static str, Source),
    /// A counter would have become NULL: the quota refuses.
    Quota,
    /// Nobody can use it before something is changed.
    Wrong(String, Source),
    /// Its disk is full.
    Full(Source),
    /// Anything else.
    Other(Source),
    /// One of ours.
    Ours(Error),
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// When to come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Failure {
    /// Of a statement.
    pub(super) fn of(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            return without_state(error);
        };
        let class = state.code().get(..2).unwrap_or_default().to_owned();
        let state = state.clone();
        match state {
            SqlState::NOT_NULL_VIOLATION => Self::Quota,
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::INVALID_SQL_STATEMENT_NAME => Self::Again(error.into()),
            SqlState::TOO_MANY_CONNECTIONS => Self::Busy(
                "the database has no connection left: lower catalog.connections, or raise its max_connections",
                error.into(),
            ),
            SqlState::LOCK_NOT_AVAILABLE => {
                Self::Busy("somebody holds a lock of the catalog", error.into())
            }
            SqlState::QUERY_CANCELED => {
                Self::Busy("timed out: the database ended a statement that took too long", error.into())
            }
            SqlState::DISK_FULL => Self::Full(error.into()),
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::Wrong(
                "the database can only be read, as a standby can: name its primary in catalog.url, or all of its hosts with \
                 target_session_attrs=read-write"
                    .to_owned(),
                error.into(),
            ),
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Self::Wrong(
                format!(
                    "the database refuses the user or the password ({}): check the user of catalog.url, and \
                     catalog.password_file",
                    said(&error)
                ),
                error.into(),
            ),
            SqlState::INVALID_CATALOG_NAME => Self::Wrong(
                format!(
                    "{}: make it with CREATE DATABASE, or name another one in catalog.url",
                    said(&error)
                ),
                error.into(),
            ),
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Wrong(
                format!(
                    "the user of catalog.url may not do what attache needs ({}): let a superuser run \
                     \"GRANT CREATE ON DATABASE … TO …\", or CREATE SCHEMA attache AUTHORIZATION that user",
                    said(&error)
                ),
                error.into(),
            ),
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
                Self::Away(error.into())
            }
            // 08P01 is what PgBouncer says when the database is away, and when it cannot do what it is asked.
            SqlState::PROTOCOL_VIOLATION if said(&error).contains("unsupported startup parameter") => {
                Self::Wrong(
                    format!(
                        "the pooler in front of the database refuses a parameter of catalog.url ({}): take it out",
                        said(&error)
                    ),
                    error.into(),
                )
            }
            SqlState::PROTOCOL_VIOLATION if said(&error).contains("statement pooling") => Self::Wrong(
                "the pooler in front of the database hands out connections by statement, and tables cannot be made through it: set \
                 its pool_mode to \"transaction\""
                    .to_owned(),
                error.into(),
            ),
            _ if class == "08" => Self::Away(error.into()),
            _ => Self::Other(error.into()),
        }
    }

    /// Of a connection that was not to be had.
    pub(super) fn of_pool(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::of(error),
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy(
                "all connections to the database are in use; catalog.connections is their number",
                error.into(),
            ),
            PoolError::Timeout(_) => Self::Away(error.into()),
            PoolError::Closed => Self::Ours(closed()),
            error => Self::Other(error.into()),
        }
    }

    /// Whether the same statement may be sent again.
    pub(super) fn may_be_repeated(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Again(_))
    }

    /// Whether the statement may have happened all the same.
    pub(super) fn may_have_happened(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Busy(..) | Self::Other(_))
    }

    pub(super) fn into_error(self, operation: &'static str) -> Error {
        let (error, source) = match self {
            Self::Ours(error) => return error,
            Self::Quota => return Error::internal("a counter of the catalog would have been lost"),
            Self::Away(source) => (
                Error::new(
                    ErrorKind::UpstreamUnavailable,
                    "the database of the catalog cannot be reached; try again",
                )
                .retry_after(RETRY_AFTER),
                source,
            ),
            Self::Again(source) => (
                Error::new(ErrorKind::Busy, "the catalog is busy; try again")
                    .retry_after(RETRY_AFTER),
                source,
            ),
            Self::Busy(what, source) => (
                Error::new(ErrorKind::Busy, what).retry_after(RETRY_AFTER),
                source,
            ),
            Self::Wrong(what, source) => (
                Error::new(ErrorKind::Misconfigured, what).for_operator(),
                source,
            ),
            Self::Full(source) => (
                Error::new(ErrorKind::StorageFull, "the disk of the database is full")
                    .for_operator(),
                source,
            ),
            Self::Other(source) => (Error::internal("the catalog failed"), source),
        };
        error.with_source(source).during(operation, "catalog")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// The driver's own failures have no SQLSTATE.
fn without_state(error: tokio_postgres::Error) -> Failure {
    use std::error::Error as _;
    let text = match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    if error.is_closed() {
        return Failure::Away(error.into());
    }
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    let tls = io
        .and_then(|io| io.get_ref())
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.to_string()) {
        (Some(tls), _) => {
            let what = format!(
                "the certificate of the database is not trusted ({tls}): set sslrootcert in catalog.url, or catalog.ca_file, to \
                 the certificate of its authority, and name the host as the certificate does"
            );
            Failure::Wrong(what, error.into())
        }
        (None, said) if said.contains("TLS handshake") => {
            let what = format!(
                "the database and attache cannot agree on an encrypted connection ({text}); attache sends nothing in plain text \
                 except to this machine"
            );
            Failure::Wrong(what, error.into())
        }
        (None, said)
            if said.contains("authentication") || said.contains("invalid configuration") =>
        {
            let what = format!(
                "the database wants a password that attache does not have ({text}): set catalog.password_file"
            );
            Failure::Wrong(what, error.into())
        }
        _ if io.is_some() || error.is_closed() => Failure::Away(error.into()),
        (None, said)
            if said.contains("error connecting")
                || said.contains("communicating")
                || said.contains("timeout") =>
        {
            Failure::Away(error.into())
        }
        _ => Failure::Other(error.into()),
    }
}

/// What the server said.
fn said(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

pub(super) fn closed() -> Error {
    Error::internal("the catalog is closed")
}
