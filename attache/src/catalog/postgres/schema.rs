//! How the tables come to be those of this version, once, however many replicas start at the same time.

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::pool::Pool;
use super::rows::get;
use crate::error::{Error, ErrorKind, Result};

/// Applied in order, each in a transaction of its own.
///
/// They only add: an older replica goes on beside a newer one. One that an older replica could not stand raises
/// [`MIN_READER`].
const MIGRATIONS: [&str; 4] = [
    include_str!("../../../migrations/postgres/0001_attachments.sql"),
    include_str!("../../../migrations/postgres/0002_access_keys.sql"),
    include_str!("../../../migrations/postgres/0003_uploads.sql"),
    include_str!("../../../migrations/postgres/0004_moves.sql"),
];

/// The oldest version that can work with the tables of this one.
const MIN_READER: i64 = 1;

/// How often another replica may be in the way. A lock that one holds is no race: it is waited for.
const TRIES: usize = 20;

/// How long a migration waits for a lock. Every read of a table waits behind a migration that waits.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// `CREATE … IF NOT EXISTS` races with itself; whoever loses begins again.
const BOOTSTRAP: &str = "
    CREATE TABLE IF NOT EXISTS attache.lock (one integer PRIMARY KEY CHECK (one = 1), at timestamptz);
    INSERT INTO attache.lock VALUES (1) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS attache.migrations (version bigint PRIMARY KEY, min_reader bigint NOT NULL, at timestamptz NOT NULL);
";

/// Brings the tables up to date.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if they are of a newer attache that this one does not understand, or may not be made.
pub(super) async fn migrate(pool: &Pool, patience: std::time::Duration) -> Result<()> {
    let end = Instant::now() + patience;
    let mut tries = 0;
    loop {
        let failure = match migrate_once(pool, end).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // A database that is away is waited for as long as there is patience, however often that is.
        let is_away = matches!(failure, Failure::Away(_) | Failure::Busy(..));
        tries += usize::from(!is_away);
        let goes_on = is_away || tries < TRIES && is_a_race(&failure);
        if !goes_on || Instant::now() >= end {
            return Err(failure.into_error("migrate"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(rand::random_range(
            20..200,
        )))
        .await;
    }
}

async fn migrate_once(pool: &Pool, end: Instant) -> Result<(), Failure> {
    let mut connection = pool.connection(end).await?;
    let known = "SELECT to_regnamespace('attache') IS NOT NULL, to_regclass('attache.migrations') IS NOT NULL";
    let known = one(&connection, known).await?;
    // Asked before, because making what is there wants the right to make it.
    if !get::<bool>(&known, 0)? {
        connection
            .batch_execute("CREATE SCHEMA IF NOT EXISTS attache")
            .await
            .map_err(Failure::of)?;
    }
    if !get::<bool>(&known, 1)? {
        connection
            .batch_execute(BOOTSTRAP)
            .await
            .map_err(Failure::of)?;
    }
    let applied =
        "SELECT coalesce(max(version), 0), coalesce(max(min_reader), 0) FROM attache.migrations";
    let applied = one(&connection, applied).await?;
    let (version, min_reader): (i64, i64) = (get(&applied, 0)?, get(&applied, 1)?);
    let ours = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if min_reader > ours {
        return Err(Failure::Ours(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "the database of catalog.url has version {version}, which needs an attache that supports {min_reader}; this \
                 one supports {ours}: run the newer attache"
            ),
        )));
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS) {
        if number <= version {
            continue;
        }
        let transaction = connection.transaction().await.map_err(Failure::of)?;
        let step = async {
            transaction.batch_execute(LOCK_TIMEOUT).await?;
            // The lock of a row: it goes with its holder, and needs no session.
            transaction
                .batch_execute("UPDATE attache.lock SET at = clock_timestamp()")
                .await?;
            let mine = transaction
                .query_typed(
                    "INSERT INTO attache.migrations (version, min_reader, at) VALUES ($1, $2, clock_timestamp()) \
                     ON CONFLICT DO NOTHING RETURNING version",
                    &[(&number, Type::INT8), (&MIN_READER, Type::INT8)],
                )
                .await?;
            if !mine.is_empty() {
                transaction.batch_execute(migration).await?;
            }
            Ok(())
        };
        step.await.map_err(Failure::of)?;
        transaction.commit().await.map_err(Failure::of)?;
    }
    Ok(())
}

/// The row of a question without parameters.
async fn one(connection: &Client, sql: &str) -> Result<Row, Failure> {
    let rows = connection
        .query_typed(sql, &[])
        .await
        .map_err(Failure::of)?;
    let row = rows.into_iter().next();
    row.ok_or_else(|| Failure::Ours(Error::internal("the database answered nothing")))
}

/// Whether another replica was in the way.
fn is_a_race(failure: &Failure) -> bool {
    let state = match failure {
        Failure::Again(_) => return true,
        Failure::Other(source) => source
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(|error| error.code()),
        _ => None,
    };
    state.is_some_and(|state| {
        [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_SCHEMA,
            // Of the type that each table has.
            SqlState::DUPLICATE_OBJECT,
            SqlState::INTERNAL_ERROR,
        ]
        .contains(state)
    })
}
