//! The catalog in a PostgreSQL database, which several replicas share.
//!
//! Every change is one statement outside of a transaction, and may be repeated. What it changes beside the row, the counter of the
//! quota, comes last in it. "No row" is an answer only after a second look. No statement is prepared by name, no lock outlives its
//! statement, no session is told from another: so a pooler that hands out connections by transaction may stand in between.

mod access;
mod access_keys;
mod ask;
mod begin;
mod bulk;
mod commit;
mod connect;
mod failure;
mod find;
mod lane;
mod listing;
mod moves;
mod partial;
mod pool;
mod reserve;
mod retire;
mod rows;
mod schema;
mod shared;
mod unfinished;
mod uploads;
mod worker;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::Row;
use tokio_util::task::AbortOnDropHandle;

use ask::Ask;
use begin::Begin;
use commit::Commit;
use connect::Connector;
use failure::{Failure, closed};
use find::Finds;
use lane::Lane;
use pool::Pool;
use reserve::Reserve;
use retire::{Forget, Retire};
use rows::{COLUMNS, attachment, each, get};
use shared::Shared;
use worker::Worker;

use super::config::CatalogConfig;
use super::moves::MoveNotes;
use super::partial::PartialUploads;
use super::url::PostgresUrl;
use super::workers::Replica;
use super::{
    Abandoned, Begun, Catalog, Connections, Draft, Page, Totals, Unfinished, millis, refusal,
    signed, unsigned,
};
use crate::attachment::{Attachment, AttachmentId, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::secret::Secret;
use crate::storage::Stored;

/// How long a start waits for a database that is coming up, or for another replica that makes its tables.
pub(super) const START_TIME: Duration = Duration::from_secs(30);

/// A catalog in PostgreSQL.
pub struct PostgresCatalog {
    shared: Arc<Shared>,
    finds: Arc<Finds>,
    begins: Lane<Begin>,
    reserves: Lane<Reserve>,
    commits: Lane<Commit>,
    retires: Lane<Retire>,
    forgets: Lane<Forget>,
    heartbeat: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl PostgresCatalog {
    /// Connects, makes the tables or brings them up to date, and enters this process among those that live. `token` is the password
    /// of each new connection where `catalog.credential` is "entra".
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming the key to change; [`ErrorKind::UpstreamUnavailable`] if the database does not answer
    /// for half a minute.
    pub async fn open(
        url: &PostgresUrl,
        config: &CatalogConfig,
        token: Option<Lease<Secret>>,
    ) -> Result<Self> {
        let connector = Connector::new(url, config, token)?;
        let pool = Pool::new(url, config, connector)?;
        let worker = async {
            schema::migrate(&pool, START_TIME).await?;
            let worker = Worker::register(&pool, Instant::now() + START_TIME).await;
            worker.map_err(|failure| failure.into_error("register"))
        };
        let worker = worker.await.map_err(|error| match error.kind() {
            ErrorKind::UpstreamUnavailable => Error::new(
                ErrorKind::UpstreamUnavailable,
                format!(
                    "the database that catalog.url names, {url}, did not answer for {} s: is it running, and does this machine reach it?",
                    START_TIME.as_secs()
                ),
            )
            .for_operator()
            .with_source(error),
            _ => error,
        })?;
        let shared = Arc::new(Shared { pool, worker });
        let heartbeat = tokio::spawn(beat_regularly(shared.clone()));
        Ok(Self {
            finds: Arc::default(),
            begins: Lane::start(shared.clone()),
            reserves: Lane::start(shared.clone()),
            commits: Lane::start(shared.clone()),
            retires: Lane::start(shared.clone()),
            forgets: Lane::start(shared.clone()),
            shared,
            heartbeat: Mutex::new(Some(AbortOnDropHandle::new(heartbeat))),
        })
    }

    /// Reads; ends when this future is dropped.
    async fn read(&self, operation: &'static str, ask: &Ask) -> Result<Vec<Row>> {
        self.read_within(pool::TIME, operation, ask).await
    }

    /// As [`read`](Self::read), for as long as nobody waits for who asks.
    async fn read_within(
        &self,
        time: Duration,
        operation: &'static str,
        ask: &Ask,
    ) -> Result<Vec<Row>> {
        let answer = self.shared.pool.ask_until(ask, Instant::now() + time).await;
        let answer = answer.map_err(|failure| failure.into_error(operation))?;
        Ok(answer.rows)
    }

    /// Writes, in a task: a future that is dropped would not end its statement.
    async fn write(&self, operation: &'static str, ask: Ask) -> Result<Vec<Row>> {
        let shared = self.shared.clone();
        self.task(
            operation,
            async move { Ok(shared.pool.ask(&ask).await?.rows) },
        )
        .await
    }

    async fn task<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        if self.shared.pool.is_closed() {
            return Err(closed());
        }
        let done = tokio::spawn(work).await;
        let done = done
            .map_err(|error| Error::internal("a write to the catalog failed").with_source(error))?;
        done.map_err(|failure| failure.into_error(operation))
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn partial(&self) -> Option<&dyn PartialUploads> {
        Some(self)
    }

    fn moves(&self) -> Option<&dyn MoveNotes> {
        Some(self)
    }

    fn connections(&self) -> Option<Connections> {
        let (open, idle) = self.shared.pool.status();
        Some(Connections { open, idle })
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        self.begins.write(Begin(draft.clone())).await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        let id = id.clone();
        self.reserves.write(Reserve { id, bytes, quota }).await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        let (id, stored) = (id.clone(), stored.clone());
        self.commits.write(Commit { id, stored }).await
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        self.finds.find(&self.shared, id).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        let found = listing::page(&self.shared, page).await;
        found.map_err(|failure| failure.into_error("list"))
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        self.retires.write(Retire(id.clone())).await
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        let (shared, id) = (self.shared.clone(), id.clone());
        self.task(
            "abandon",
            async move { retire::abandon(&shared, &id).await },
        )
        .await
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.forgets.write(Forget(id.clone())).await
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let found = unfinished::unfinished(&self.shared, &after, limit).await;
        found.map_err(|failure| failure.into_error("unfinished"))
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        let (shared, id) = (self.shared.clone(), id.clone());
        self.task("take_over", async move {
            unfinished::take_over(&shared, &id, now).await
        })
        .await
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        let found = unfinished::replicas(&self.shared).await;
        found.map_err(|failure| failure.into_error("replicas"))
    }

    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        let ask = Ask::new(format!(
            "SELECT {COLUMNS} FROM attache.attachments WHERE state = 'ready' AND object_key > $1 ORDER BY object_key LIMIT $2"
        ))
        .text(after.map_or_else(String::new, ToString::to_string))
        .int(i64::from(limit))
        .long();
        let rows = self.read("list_by_key", &ask).await?;
        each("list_by_key", &rows, attachment)
    }

    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool> {
        let ask =
            Ask::new("SELECT 1 FROM attache.attachments WHERE object_key = $1").text(key.as_str());
        Ok(!self.read("is_referenced", &ask).await?.is_empty())
    }

    async fn restore(&self, lost: &Attachment) -> Result<()> {
        let size = signed(lost.size)?;
        let ask = Ask::new(
            "WITH ins AS (
                 INSERT INTO attache.attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by,
                     charged_bytes, size, sha256, crc64, worker, md5, store_tag)
                 VALUES ($1, $2, 'ready', $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13)
                 ON CONFLICT DO NOTHING RETURNING size
             ), paid AS (
                 UPDATE attache.usage u SET attachments = u.attachments + 1, ready_bytes = u.ready_bytes + ins.size
                 FROM ins WHERE u.slot = 0 RETURNING 1
             ) SELECT size FROM ins",
        )
        .text(lost.id.as_str())
        .text(lost.key.as_str())
        .some_text(lost.owner.as_ref().map(ToString::to_string))
        .text(lost.filename.as_str())
        .text(&lost.content_type)
        .int(millis(lost.created_at))
        .some_text(lost.created_by.as_ref().map(ToString::to_string))
        .int(size)
        .bytes(lost.sha256.0)
        .some_bytes(lost.crc64.map(|crc| crc.to_be_bytes().to_vec()))
        .text(self.shared.me())
        .some_bytes(lost.md5.map(|hex| hex.0.to_vec()))
        .some_text(lost.store_tag.clone());
        if !self.write("restore", ask).await?.is_empty() {
            return Ok(());
        }
        match self.find(&lost.id).await {
            Ok(found) => refusal::restored(Some(&found), lost),
            Err(error) if error.kind() == ErrorKind::NotFound => refusal::restored(None, lost),
            Err(error) => Err(error),
        }
    }

    async fn check(&self) -> Result<()> {
        // One look at the database, whatever is written meanwhile.
        let ask = Ask::new(
            "SELECT u.attachments = r.attachments AND u.ready_bytes = r.ready_bytes AND u.reserved_bytes = r.reserved_bytes
             FROM (SELECT count(*) FILTER (WHERE state = 'ready') AS attachments,
                       coalesce(sum(charged_bytes) FILTER (WHERE state = 'ready'), 0) AS ready_bytes,
                       coalesce(sum(charged_bytes) FILTER (WHERE state <> 'ready'), 0) AS reserved_bytes
                   FROM attache.attachments) r,
                  (SELECT sum(attachments) AS attachments, sum(ready_bytes) AS ready_bytes, sum(reserved_bytes) AS reserved_bytes
                   FROM attache.usage) u",
        )
        .long();
        let rows = self.read_within(CHECK_TIME, "check", &ask).await?;
        let whole = each("check", &rows, |row| get::<bool>(row, 0))?;
        match whole.as_slice() {
            [true] => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Misconfigured,
                "the counters of the catalog are not what its rows say: somebody changed the tables by hand, or restored a part of \
                 them; set attache.usage to the sums of attache.attachments",
            )),
        }
    }

    async fn note_store_tags(
        &self,
        tags: Vec<(AttachmentId, Option<String>)>,
    ) -> Result<Vec<bool>> {
        // In the order of their ids, in which all take them that take several.
        let ask = Ask::new(
            "WITH ready AS (
                 SELECT a.id, new.store_tag FROM unnest($1, $2) AS new (id, store_tag)
                 JOIN attache.attachments a ON a.id = new.id WHERE a.state = 'ready' ORDER BY a.id FOR UPDATE OF a
             )
             UPDATE attache.attachments a SET store_tag = ready.store_tag FROM ready WHERE a.id = ready.id RETURNING a.id",
        )
        .texts(tags.iter().map(|(id, _)| id.to_string()))
        .some_texts(tags.iter().map(|(_, tag)| tag.clone()));
        let rows = self.write("note_store_tags", ask).await?;
        let ready = each("note_store_tags", &rows, |row| get::<String>(row, 0))?;
        let ready: HashSet<String> = ready.into_iter().collect();
        Ok(tags
            .iter()
            .map(|(id, _)| ready.contains(id.as_str()))
            .collect())
    }

    async fn totals(&self) -> Result<Totals> {
        let ask = Ask::new(
            "SELECT sum(attachments)::int8, sum(ready_bytes)::int8, sum(reserved_bytes)::int8 FROM attache.usage",
        );
        let rows = self.read("totals", &ask).await?;
        let totals = each("totals", &rows, |row| {
            Ok(Totals {
                attachments: unsigned(get(row, 0)?),
                bytes: unsigned(get(row, 1)?),
                reserved_bytes: unsigned(get(row, 2)?),
            })
        })?;
        totals
            .into_iter()
            .next()
            .ok_or_else(|| Error::internal("the counters of the catalog are lost"))
    }

    async fn probe(&self) -> Result<()> {
        // A write would be a flush of the log each time.
        let ask = Ask::new(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool FROM attache.usage WHERE slot = 0",
        );
        let rows = self.read("probe", &ask).await?;
        match each("probe", &rows, |row| get::<bool>(row, 0))?.as_slice() {
            [false] => Ok(()),
            [] => Err(Error::internal("the counters of the catalog are lost")),
            _ => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the database can only be read: a standby, or one that is failing over",
            )),
        }
    }

    async fn close(&self) {
        let heartbeat = self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.begins.close().await;
        self.reserves.close().await;
        self.commits.close().await;
        self.retires.close().await;
        self.forgets.close().await;
        if let Some(heartbeat) = heartbeat {
            heartbeat.abort();
            let _ = heartbeat.await;
            let shared = &self.shared;
            let _ = shared.worker.leave(&shared.pool).await;
        }
        self.shared.pool.close();
    }
}

/// Says that this process lives, until it is aborted.
async fn beat_regularly(database: Arc<Shared>) {
    let mut timer = tokio::time::interval(worker::BEAT);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let end = Instant::now() + worker::BEAT;
        if let Err(failure) = database.worker.beat(&database.pool, end).await {
            let error = failure.into_error("heartbeat");
            tracing::debug!(error = error.report(), "no heartbeat");
        }
        database.pool.retain_young();
    }
}

/// How long the whole table may be read.
const CHECK_TIME: Duration = Duration::from_secs(60 * 60);

impl fmt::Debug for PostgresCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCatalog")
            .field("worker", &self.shared.worker.id)
            .finish_non_exhaustive()
    }
}
