//! Many rows at a time, for copies: a page in one statement, with its share of the counter.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::Failure;
use super::rows::{array, each, get};
use super::shared::Shared;
use super::{PostgresCatalog, uploads, worker};
use crate::attachment::{AttachmentId, Hex, ObjectKey, media};
use crate::catalog::bulk::{Bulk, COPIED, Row, State};
use crate::catalog::{instant, millis, refusal, signed, unsigned};
use crate::error::Result;

#[async_trait]
impl Bulk for PostgresCatalog {
    async fn rows(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Row>> {
        let ask = Ask::new(format!(
            "SELECT {COLUMNS} FROM attache.attachments WHERE id > $1 AND state IN ('ready', 'partial') ORDER BY id LIMIT $2"
        ))
        .text(after.map_or_else(String::new, ToString::to_string))
        .int(i64::from(limit))
        .long();
        let rows = self.read_within(TIME, "rows", &ask).await?;
        let mut rows = each("rows", &rows, understood)?;
        let partial = rows.iter().filter(|row| !row.is_ready());
        let partial: Vec<_> = partial.map(|row| row.id.clone()).collect();
        if partial.is_empty() {
            return Ok(rows);
        }
        let found = uploads::progress(&self.shared, &partial, Instant::now() + TIME).await;
        let mut found = found.map_err(|failure| failure.into_error("rows"))?;
        for row in &mut rows {
            if let State::Partial { progress, .. } = &mut row.state {
                *progress = found.remove(&row.id).map(Box::new);
            }
        }
        Ok(rows)
    }

    async fn put_rows(&self, rows: Vec<Row>) -> Result<()> {
        let shared = self.shared.clone();
        self.task("put_rows", async move { put(&shared, rows).await })
            .await
    }

    async fn remove_rows(&self, ids: Vec<AttachmentId>) -> Result<()> {
        let ask = Ask::new(
            "WITH gone AS (
                 DELETE FROM attache.attachments WHERE id = ANY($1) AND worker = $2 RETURNING state, charged_bytes
             )
             UPDATE attache.usage u
             SET attachments = u.attachments - due.attachments, ready_bytes = (u.ready_bytes - due.ready)::int8,
                 reserved_bytes = (u.reserved_bytes - due.reserved)::int8
             FROM (SELECT count(*) FILTER (WHERE state = 'ready') AS attachments,
                       coalesce(sum(charged_bytes) FILTER (WHERE state = 'ready'), 0) AS ready,
                       coalesce(sum(charged_bytes) FILTER (WHERE state <> 'ready'), 0) AS reserved FROM gone) due
             WHERE u.slot = 0",
        )
        .texts(ids.iter().map(ToString::to_string))
        .text(COPIED);
        let shared = self.shared.clone();
        self.task("remove_rows", async move {
            shared.pool.ask_until(&ask, Instant::now() + TIME).await?;
            Ok(())
        })
        .await
    }

    async fn row_of_its_own(&self) -> Result<Option<AttachmentId>> {
        let ask = Ask::new("SELECT id FROM attache.attachments WHERE worker <> $1 LIMIT 1")
            .text(COPIED)
            .long();
        let rows = self.read_within(TIME, "row_of_its_own", &ask).await?;
        let ids = each("row_of_its_own", &rows, |row| {
            Ok(get::<String>(row, 0)?.parse()?)
        })?;
        Ok(ids.into_iter().next())
    }

    async fn in_progress(&self) -> Result<u64> {
        let ask = Ask::new(
            "SELECT count(*) FROM attache.attachments WHERE state <> 'ready' AND state <> 'partial'",
        )
        .long();
        let rows = self.read_within(TIME, "in_progress", &ask).await?;
        let counts = each("in_progress", &rows, |row| Ok(unsigned(get(row, 0)?)))?;
        Ok(counts.into_iter().sum())
    }

    async fn session_ends(&self) -> Result<Vec<([u8; 32], i64)>> {
        let ask = Ask::new("SELECT hash, expires FROM attache.ended_sessions").long();
        let rows = self.read_within(TIME, "session_ends", &ask).await?;
        each("session_ends", &rows, |row| {
            Ok((array(get(row, 0)?)?, get(row, 1)?))
        })
    }

    /// Without it the planner expects few rows of any state, and sorts the whole table for each page: a table that was filled a moment
    /// ago has no statistics yet.
    async fn take_stock(&self) -> Result<()> {
        let ask = Ask::new("ANALYZE attache.attachments");
        self.read_within(TIME, "take_stock", &ask).await?;
        Ok(())
    }

    fn mourning(&self) -> Duration {
        worker::MOURNING
    }
}

/// How long one statement of a copy may take, a database that starts again included.
const TIME: Duration = Duration::from_secs(120);

const COLUMNS: &str = "id, object_key, owner, filename, content_type, utf8, created_at_ms, created_by, idempotency_key, state, \
                       charged_bytes, sha256, md5, crc64, store_tag, upload, upload_expires_ms";

fn understood(row: &tokio_postgres::Row) -> Result<Row, Failure> {
    let optional = |column: usize| get::<Option<String>>(row, column);
    let state: String = get(row, 9)?;
    let charged = unsigned(get(row, 10)?);
    let content_type: String = get(row, 4)?;
    Ok(Row {
        id: get::<String>(row, 0)?.parse()?,
        key: ObjectKey::recorded(&get::<String>(row, 1)?)?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: get::<String>(row, 3)?.into(),
        content_type: media::settled(&content_type, get(row, 5)?),
        created_at: instant(get(row, 6)?)?,
        created_by: optional(7)?.map(|text| text.parse()).transpose()?,
        idempotency_key: optional(8)?.map(|text| text.parse()).transpose()?,
        state: match state.as_str() {
            "ready" => State::Ready {
                size: charged,
                sha256: Hex(array(get(row, 11)?)?),
                md5: digest(row, 12)?.map(Hex),
                crc64: digest(row, 13)?.map(u64::from_be_bytes),
                store_tag: optional(14)?,
            },
            _ => State::Partial {
                upload: get::<String>(row, 15)?.parse()?,
                expires_at: instant(get(row, 16)?)?,
                reserved: charged,
                progress: None,
            },
        },
    })
}

fn digest<const N: usize>(
    row: &tokio_postgres::Row,
    column: usize,
) -> Result<Option<[u8; N]>, Failure> {
    get::<Option<&[u8]>>(row, column)?.map(array).transpose()
}

/// The rows of a page, as [`parameters`] gives them.
const NEW: &str = "new AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::text[],
                             $9::text[], $10::int8[], $11::bytea[], $12::bytea[], $13::bytea[], $14::text[], $15::text[], $16::int8[])
            AS new (id, object_key, state, owner, filename, content_type, created_at_ms, created_by, idempotency_key, charged_bytes,
                    sha256, md5, crc64, store_tag, upload, ends)
    )";

/// Counts what it made and nothing else: sent twice, it is counted once.
fn insert() -> String {
    format!(
        "WITH {NEW}, ins AS (
             INSERT INTO attache.attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by,
                 idempotency_key, charged_bytes, size, sha256, md5, crc64, store_tag, upload, upload_expires_ms, worker)
             SELECT id, object_key, state, owner, filename, content_type, created_at_ms, created_by, idempotency_key, charged_bytes,
                 CASE WHEN state = 'ready' THEN charged_bytes END, sha256, md5, crc64, store_tag, upload,
                 CASE WHEN upload IS NOT NULL THEN ends END, $17
             FROM new ORDER BY id ON CONFLICT DO NOTHING RETURNING id, state, charged_bytes
         ), paid AS (
             UPDATE attache.usage u
             SET attachments = u.attachments + due.attachments, ready_bytes = (u.ready_bytes + due.ready)::int8,
                 reserved_bytes = (u.reserved_bytes + due.reserved)::int8
             FROM (SELECT count(*) FILTER (WHERE state = 'ready') AS attachments,
                       coalesce(sum(charged_bytes) FILTER (WHERE state = 'ready'), 0) AS ready,
                       coalesce(sum(charged_bytes) FILTER (WHERE state <> 'ready'), 0) AS reserved FROM ins) due
             WHERE u.slot = 0 RETURNING 1
         )
         SELECT id FROM ins"
    )
}

/// Locks the newest version of each row before it looks at what that counts; sent twice, it changes nothing the second time.
fn update() -> String {
    format!(
        "WITH {NEW}, old AS (
             SELECT a.id, a.state, a.charged_bytes FROM attache.attachments a JOIN new ON new.id = a.id
             WHERE a.worker = $17 AND a.object_key = new.object_key ORDER BY a.id FOR UPDATE OF a
         ), up AS (
             UPDATE attache.attachments a
             SET state = new.state, owner = new.owner, filename = new.filename, content_type = new.content_type, utf8 = NULL,
                 created_at_ms = new.created_at_ms, created_by = new.created_by, idempotency_key = new.idempotency_key,
                 charged_bytes = new.charged_bytes, size = CASE WHEN new.state = 'ready' THEN new.charged_bytes END,
                 sha256 = new.sha256, md5 = new.md5, crc64 = new.crc64, store_tag = new.store_tag, upload = new.upload,
                 upload_expires_ms = CASE WHEN new.upload IS NOT NULL THEN new.ends END
             FROM old JOIN new ON new.id = old.id WHERE a.id = old.id
             RETURNING a.id, a.state, a.charged_bytes, old.state AS was, old.charged_bytes AS freed
         ), paid AS (
             UPDATE attache.usage u
             SET attachments = u.attachments + due.attachments, ready_bytes = (u.ready_bytes + due.ready)::int8,
                 reserved_bytes = (u.reserved_bytes + due.reserved)::int8
             FROM (SELECT coalesce(sum((state = 'ready')::int - (was = 'ready')::int), 0) AS attachments,
                       coalesce(sum(CASE WHEN state = 'ready' THEN charged_bytes ELSE 0 END
                           - CASE WHEN was = 'ready' THEN freed ELSE 0 END), 0) AS ready,
                       coalesce(sum(CASE WHEN state <> 'ready' THEN charged_bytes ELSE 0 END
                           - CASE WHEN was <> 'ready' THEN freed ELSE 0 END), 0) AS reserved FROM up) due
             WHERE u.slot = 0 RETURNING 1
         )
         SELECT id FROM up"
    )
}

async fn put(shared: &Shared, rows: Vec<Row>) -> Result<(), Failure> {
    let end = Instant::now() + TIME;
    let mut progress = Vec::new();
    for row in &rows {
        if let State::Partial {
            progress: Some(of),
            expires_at,
            ..
        } = &row.state
        {
            progress.push((row.id.clone(), (**of).clone(), *expires_at));
        }
    }
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    put_rows(shared, rows, end).await?;
    uploads::put_progress(shared, ids, &progress, end).await
}

async fn put_rows(shared: &Shared, rows: Vec<Row>, end: Instant) -> Result<(), Failure> {
    let keys: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(row.idempotency_key.as_ref()?.as_str().to_owned()))
        .collect();
    if !keys.is_empty() {
        // The source has deleted the attachments that had them, and this copy has not come to that yet.
        let free = Ask::new(
            "UPDATE attache.attachments SET idempotency_key = NULL
             WHERE idempotency_key = ANY($1) AND NOT (id = ANY($2)) AND worker = $3",
        )
        .texts(keys)
        .texts(rows.iter().map(|row| row.id.to_string()))
        .text(COPIED);
        shared.pool.ask_until(&free, end).await?;
    }
    let rest = without(shared, parameters(&insert(), &rows)?, rows, end).await?;
    if rest.is_empty() {
        return Ok(());
    }
    let rest = without(shared, parameters(&update(), &rest)?, rest, end).await?;
    match rest.first() {
        None => Ok(()),
        Some(row) => Err(refusal::row_of_a_server(&row.id).into()),
    }
}

/// The rows that a statement did not write.
async fn without(
    shared: &Shared,
    ask: Ask,
    rows: Vec<Row>,
    end: Instant,
) -> Result<Vec<Row>, Failure> {
    let answer = shared.pool.ask_until(&ask, end).await?;
    let written = answer.rows.iter().map(|row| get::<String>(row, 0));
    let written: HashSet<String> = written.collect::<Result<_, Failure>>()?;
    let mut rest = rows;
    rest.retain(|row| !written.contains(row.id.as_str()));
    Ok(rest)
}

fn parameters(sql: &str, rows: &[Row]) -> Result<Ask, Failure> {
    let each = || rows.iter();
    let charged: Result<Vec<i64>> = each().map(|row| signed(row.charged_bytes())).collect();
    let ready = |of: fn(&State) -> Option<Vec<u8>>| each().map(move |row| of(&row.state));
    Ok(Ask::new(sql)
        .texts(each().map(|row| row.id.to_string()))
        .texts(each().map(|row| row.key.to_string()))
        .texts(each().map(|row| row.state.to_string()))
        .some_texts(each().map(|row| row.owner.as_ref().map(ToString::to_string)))
        .texts(each().map(|row| row.filename.to_string()))
        .texts(each().map(|row| row.content_type.clone()))
        .ints(each().map(|row| millis(row.created_at)))
        .some_texts(each().map(|row| row.created_by.as_ref().map(ToString::to_string)))
        .some_texts(each().map(|row| {
            let key = row.idempotency_key.as_ref();
            key.map(|key| key.as_str().to_owned())
        }))
        .ints(charged?)
        .some_all_bytes(ready(|state| match state {
            State::Ready { sha256, .. } => Some(sha256.0.to_vec()),
            State::Partial { .. } => None,
        }))
        .some_all_bytes(ready(|state| match state {
            State::Ready { md5, .. } => md5.map(|hex| hex.0.to_vec()),
            State::Partial { .. } => None,
        }))
        .some_all_bytes(ready(|state| match state {
            State::Ready { crc64, .. } => crc64.map(|crc| crc.to_be_bytes().to_vec()),
            State::Partial { .. } => None,
        }))
        .some_texts(each().map(|row| match &row.state {
            State::Ready { store_tag, .. } => store_tag.clone(),
            State::Partial { .. } => None,
        }))
        .some_texts(each().map(|row| match &row.state {
            State::Ready { .. } => None,
            State::Partial { upload, .. } => Some(upload.to_string()),
        }))
        .ints(each().map(|row| match &row.state {
            State::Ready { .. } => 0,
            State::Partial { expires_at, .. } => millis(*expires_at),
        }))
        .text(COPIED))
}
