//! Many rows at a time, for copies: a page in one transaction.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::{SqliteCatalog, uploads};
use crate::attachment::{AttachmentId, Hex, ObjectKey};
use crate::catalog::bulk::{Bulk, COPIED, Row, State};
use crate::catalog::{instant, millis, refusal, signed, unsigned};
use crate::error::Result;

#[async_trait]
impl Bulk for SqliteCatalog {
    async fn rows(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Row>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        self.read_many("rows", move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM attachments WHERE id > ?1 AND state IN ('ready', 'partial') ORDER BY id LIMIT ?2"
            ))?;
            let rows = statement.query_map(params![after, limit], |row| Ok(understood(row)))?;
            let mut all = Vec::new();
            for row in rows {
                let mut row: Row = row??;
                if let State::Partial { progress, .. } = &mut row.state {
                    *progress = uploads::progress(connection, &row.id)?.map(Box::new);
                }
                all.push(row);
            }
            Ok(all)
        })
        .await
    }

    async fn put_rows(&self, rows: Vec<Row>) -> Result<()> {
        self.write("put_rows", move |connection| {
            let mut change = Change::default();
            for row in &rows {
                put(connection, row, &mut change)?;
            }
            change.count(connection)
        })
        .await
    }

    async fn remove_rows(&self, ids: Vec<AttachmentId>) -> Result<()> {
        self.write("remove_rows", move |connection| {
            let mut change = Change::default();
            for id in &ids {
                let removed = connection
                    .prepare_cached(
                        "DELETE FROM attachments WHERE id = ?1 AND worker = ?2 RETURNING state, charged_bytes",
                    )?
                    .query_row(params![id.as_str(), COPIED], |row| {
                        Ok((row.get::<_, String>(0)?, row.get(1)?))
                    })
                    .optional()?;
                if let Some((state, charged)) = removed {
                    change.add(&state, -1, charged);
                }
            }
            change.count(connection)
        })
        .await
    }

    async fn row_of_its_own(&self) -> Result<Option<AttachmentId>> {
        // May read the whole table, for which the time of a listing is too short.
        self.read("row_of_its_own", |connection| {
            let id: Option<String> = connection
                .prepare_cached("SELECT id FROM attachments WHERE worker <> ?1 LIMIT 1")?
                .query_row([COPIED], |row| row.get(0))
                .optional()?;
            Ok(id.map(|id| id.parse()).transpose()?)
        })
        .await
    }

    async fn in_progress(&self) -> Result<u64> {
        self.read("in_progress", |connection| {
            let count: i64 = connection
                .prepare_cached(
                    "SELECT count(*) FROM attachments WHERE state <> 'ready' AND state <> 'partial'",
                )?
                .query_row([], |row| row.get(0))?;
            Ok(unsigned(count))
        })
        .await
    }

    async fn session_ends(&self) -> Result<Vec<([u8; 32], i64)>> {
        self.read_many("session_ends", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT hash, expires FROM ended_sessions")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Its lock goes with it.
    fn mourning(&self) -> Duration {
        Duration::ZERO
    }
}

const COLUMNS: &str = "id, object_key, owner, filename, content_type, created_at_ms, created_by, idempotency_key, state, charged_bytes, \
                       sha256, md5, crc64, store_tag, upload, upload_expires_ms";

fn understood(row: &rusqlite::Row<'_>) -> Result<Row, Failure> {
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    let state: String = row.get(8)?;
    let charged = unsigned(row.get(9)?);
    Ok(Row {
        id: row.get::<_, String>(0)?.parse()?,
        key: ObjectKey::recorded(&row.get::<_, String>(1)?)?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: row.get::<_, String>(3)?.into(),
        content_type: row.get(4)?,
        created_at: instant(row.get(5)?)?,
        created_by: optional(6)?.map(|text| text.parse()).transpose()?,
        idempotency_key: optional(7)?.map(|text| text.parse()).transpose()?,
        state: match state.as_str() {
            "ready" => State::Ready {
                size: charged,
                sha256: Hex(row.get(10)?),
                md5: row.get::<_, Option<[u8; 16]>>(11)?.map(Hex),
                crc64: row.get::<_, Option<[u8; 8]>>(12)?.map(u64::from_be_bytes),
                store_tag: optional(13)?,
            },
            _ => State::Partial {
                upload: row.get::<_, String>(14)?.parse()?,
                expires_at: instant(row.get(15)?)?,
                reserved: charged,
                progress: None,
            },
        },
    })
}

/// What a page changes of the totals.
#[derive(Default)]
struct Change {
    attachments: i64,
    ready_bytes: i64,
    reserved_bytes: i64,
}

impl Change {
    fn add(&mut self, state: &str, sign: i64, charged: i64) {
        match state {
            "ready" => {
                self.attachments += sign;
                self.ready_bytes += sign * charged;
            }
            _ => self.reserved_bytes += sign * charged,
        }
    }

    fn count(&self, connection: &Connection) -> Result<(), Failure> {
        connection
            .prepare_cached(
                "UPDATE usage SET attachments = attachments + ?1, ready_bytes = ready_bytes + ?2, \
                 reserved_bytes = reserved_bytes + ?3",
            )?
            .execute(params![
                self.attachments,
                self.ready_bytes,
                self.reserved_bytes
            ])?;
        Ok(())
    }
}

fn put(connection: &Connection, row: &Row, change: &mut Change) -> Result<(), Failure> {
    let charged = signed(row.charged_bytes())?;
    let state = row.state.to_string();
    let before = connection
        .prepare_cached(
            "SELECT state, charged_bytes FROM attachments WHERE id = ?1 AND worker = ?2",
        )?
        .query_row(params![row.id.as_str(), COPIED], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some(key) = &row.idempotency_key {
        // The source has deleted the attachment that had it, and this copy has not come to that yet.
        connection
            .prepare_cached(
                "UPDATE attachments SET idempotency_key = NULL WHERE idempotency_key = ?1 AND id <> ?2 AND worker = ?3",
            )?
            .execute(params![key.as_str(), row.id.as_str(), COPIED])?;
    }
    let sql = match before.is_some() {
        // Its object stays the same one.
        true => {
            "UPDATE attachments SET state = ?3, owner = ?4, filename = ?5, content_type = ?6, created_at_ms = ?7, created_by = ?8, \
             idempotency_key = ?9, charged_bytes = ?10, size = ?11, sha256 = ?12, md5 = ?13, crc64 = ?14, store_tag = ?15, \
             upload = ?16, upload_expires_ms = ?17 WHERE id = ?1 AND object_key = ?2 AND worker = ?18"
        }
        false => {
            "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by, \
             idempotency_key, charged_bytes, size, sha256, md5, crc64, store_tag, upload, upload_expires_ms, worker) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) ON CONFLICT DO NOTHING"
        }
    };
    let (mut sha, mut md, mut crc, mut tag, mut parts, mut end) = Default::default();
    match &row.state {
        State::Ready {
            sha256,
            md5,
            crc64,
            store_tag,
            ..
        } => {
            sha = Some(sha256.0);
            md = md5.map(|hex| hex.0);
            crc = crc64.map(u64::to_be_bytes);
            tag = store_tag.as_deref();
        }
        State::Partial {
            upload, expires_at, ..
        } => {
            parts = Some(upload.to_string());
            end = Some(millis(*expires_at));
        }
    }
    let written = connection.prepare_cached(sql)?.execute(params![
        row.id.as_str(),
        row.key.as_str(),
        state,
        row.owner.as_ref().map(|owner| owner.as_str()),
        row.filename.as_str(),
        row.content_type,
        millis(row.created_at),
        row.created_by.as_ref().map(|author| author.as_str()),
        row.idempotency_key.as_ref().map(|key| key.as_str()),
        charged,
        row.is_ready().then_some(charged),
        sha,
        md,
        crc,
        tag,
        parts,
        end,
        COPIED,
    ])?;
    if written == 0 {
        return Err(refusal::row_of_a_server(&row.id).into());
    }
    let progress = match &row.state {
        State::Partial { progress, .. } => progress.as_deref(),
        State::Ready { .. } => None,
    };
    uploads::put_progress(connection, &row.id, progress, end)?;
    if let Some((state, charged)) = before {
        change.add(&state, -1, charged);
    }
    change.add(&state, 1, charged);
    Ok(())
}
