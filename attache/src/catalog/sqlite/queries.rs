//! The transactions of the catalog, each as one function over a connection.

use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::failure::Failure;
use super::rows::{COLUMNS, attachment, charge, fits, pending_charge, ready, repeated};
use crate::attachment::{Attachment, AttachmentId, ObjectKey, media};
use crate::catalog::workers::Workers;
use crate::catalog::{Abandoned, Begun, Draft, Unfinished, millis, refusal, signed};
use crate::storage::Stored;

/// Records an upload, and reserves its share of the quota.
pub(super) fn begin(
    connection: &Connection,
    draft: &Draft,
    worker: &str,
) -> Result<Begun, Failure> {
    if let Some(key) = &draft.idempotency_key
        && let Some(begun) = repeated(connection, draft, key.as_str())?
    {
        return Ok(begun);
    }
    fits(connection, 0, draft.size.unwrap_or(0), draft.quota)?;
    charge(connection, 0, draft.reserve, draft.quota)?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, \
             created_by, charged_bytes, worker, idempotency_key) \
             VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            draft.id.as_str(),
            draft.key.as_str(),
            draft.owner.as_ref().map(|owner| owner.as_str()),
            draft.filename.as_str(),
            draft.content_type,
            millis(draft.created_at),
            draft.created_by.as_ref().map(|author| author.as_str()),
            signed(draft.reserve)?,
            worker,
            draft.idempotency_key.as_ref().map(|key| key.as_str()),
        ])?;
    if inserted == 0 {
        return Err(refusal::id_taken(&draft.id).into());
    }
    Ok(Begun::New)
}

/// Raises the share of a pending upload.
pub(super) fn reserve(
    connection: &Connection,
    id: &AttachmentId,
    bytes: u64,
    quota: Option<u64>,
    worker: &str,
) -> Result<(), Failure> {
    let before = pending_charge(connection, id, worker)?;
    if bytes > before {
        charge(connection, before, bytes, quota)?;
        connection
            .prepare_cached("UPDATE attachments SET charged_bytes = ?2 WHERE id = ?1")?
            .execute(params![id.as_str(), signed(bytes)?])?;
    }
    Ok(())
}

/// Makes a pending row an attachment.
pub(super) fn commit(
    connection: &Connection,
    id: &AttachmentId,
    stored: &Stored,
    worker: &str,
) -> Result<Attachment, Failure> {
    let reserved = match pending_charge(connection, id, worker) {
        Ok(reserved) => reserved,
        // A repeated call whose first answer was lost; its caller would take "not pending" for an order to remove
        // the bytes.
        Err(failure) => {
            let first = ready(connection, id)
                .ok()
                .filter(|first| first.size == stored.size && Some(first.sha256) == stored.sha256);
            return first.ok_or(failure);
        }
    };
    let size = signed(stored.size)?;
    let decided: String = connection
        .prepare_cached("SELECT content_type FROM attachments WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))?;
    connection
        .prepare_cached(
            "UPDATE usage SET attachments = attachments + 1, ready_bytes = ready_bytes + ?1, \
             reserved_bytes = reserved_bytes - ?2",
        )?
        .execute(params![size, signed(reserved)?])?;
    connection
        .prepare_cached(
            "UPDATE attachments SET state = 'ready', charged_bytes = ?2, size = ?2, sha256 = ?3, md5 = ?4, \
             crc64 = ?5, content_type = ?6, store_tag = ?7, upload = NULL, upload_expires_ms = NULL WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            size,
            stored.sha256.map(|hex| hex.0),
            stored.md5.map(|hex| hex.0),
            stored.crc64.map(u64::to_be_bytes),
            media::settled(&decided, stored.utf8),
            stored.store_tag,
        ])?;
    ready(connection, id)
}

/// Takes a row out of sight and frees its share of the quota.
pub(super) fn retire(
    connection: &Connection,
    id: &AttachmentId,
    worker: &str,
) -> Result<Option<ObjectKey>, Failure> {
    let row: Option<(String, String, i64)> = connection
        .prepare_cached("SELECT object_key, state, charged_bytes FROM attachments WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((key, state, charged)) = row else {
        return Ok(None);
    };
    let give_back = match state.as_str() {
        "ready" => {
            Some("UPDATE usage SET attachments = attachments - 1, ready_bytes = ready_bytes - ?1")
        }
        "pending" | "partial" => Some("UPDATE usage SET reserved_bytes = reserved_bytes - ?1"),
        _ => None,
    };
    if let Some(give_back) = give_back {
        connection.prepare_cached(give_back)?.execute([charged])?;
    }
    // The idempotency key is free again: the next try with it stores the file anew. Whoever retires a row last
    // is the one who may forget it.
    connection
        .prepare_cached(
            "UPDATE attachments SET state = 'retired', charged_bytes = 0, idempotency_key = NULL, worker = ?2 \
             WHERE id = ?1",
        )?
        .execute(params![id.as_str(), worker])?;
    Ok(Some(ObjectKey::recorded(&key)?))
}

/// Retires what this process may give up.
pub(super) fn abandon(
    connection: &Connection,
    id: &AttachmentId,
    worker: &str,
) -> Result<Abandoned, Failure> {
    let row: Option<(String, String)> = connection
        .prepare_cached("SELECT state, worker FROM attachments WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, of)) = row else {
        return Ok(Abandoned::Gone);
    };
    if !(state == "retired" || state == "pending" && of == worker) {
        return Ok(Abandoned::Kept);
    }
    let key = retire(connection, id, worker)?;
    Ok(key.map_or(Abandoned::Gone, Abandoned::Retired))
}

/// Makes a row that nobody works on one of this process.
pub(super) fn take_over(
    connection: &Connection,
    id: &AttachmentId,
    now: OffsetDateTime,
    workers: &dyn Workers,
) -> Result<bool, Failure> {
    let row: Option<(String, String, Option<i64>)> = connection
        .prepare_cached("SELECT state, worker, upload_expires_ms FROM attachments WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((state, of, expires)) = row else {
        return Ok(false);
    };
    let free = match state.as_str() {
        "pending" => !workers.is_alive(&of),
        "retired" => of == workers.me() || !workers.is_alive(&of),
        "partial" => expires.is_some_and(|at| at <= millis(now)),
        _ => false,
    };
    if free {
        connection
            .prepare_cached(
                "UPDATE attachments SET state = CASE state WHEN 'partial' THEN 'pending' ELSE state END, worker = ?2 \
                 WHERE id = ?1",
            )?
            .execute(params![id.as_str(), workers.me()])?;
    }
    Ok(free)
}

/// Removes a row that this process retired last.
pub(super) fn forget(
    connection: &Connection,
    id: &AttachmentId,
    worker: &str,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "DELETE FROM attachments WHERE id = ?1 AND state = 'retired' AND worker = ?2",
        )?
        .execute(params![id.as_str(), worker])?;
    Ok(())
}

/// Rows that no other living process works on.
pub(super) fn unfinished(
    connection: &Connection,
    after: &str,
    limit: u32,
    workers: &dyn Workers,
) -> Result<Vec<Unfinished>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id, object_key, state, worker FROM attachments WHERE state <> 'ready' AND id > ?1 \
         AND (state = 'retired' OR upload IS NULL) ORDER BY id",
    )?;
    let mut rows = statement.query([after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let upload = row
            .get_ref(2)?
            .as_str()
            .is_ok_and(|state| state == "pending");
        let worker: String = row.get(3)?;
        // Our own deletions are told apart by their callers; those of another living process are its own.
        let ours = worker == workers.me();
        if (upload || !ours) && workers.is_alive(&worker) {
            continue;
        }
        found.push(Unfinished {
            id: row.get::<_, String>(0)?.parse()?,
            key: ObjectKey::recorded(&row.get::<_, String>(1)?)?,
            upload,
            is_ours: ours,
        });
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

/// Attachments in the order of their object keys.
pub(super) fn list_by_key(
    connection: &Connection,
    after: &str,
    limit: u32,
) -> Result<Vec<Attachment>, Failure> {
    // The column's collation is BINARY: bytes, as the keys themselves are ordered.
    let sql = format!(
        "SELECT {COLUMNS} FROM attachments WHERE state = 'ready' AND object_key > ?1 \
         ORDER BY object_key LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], |row| Ok(attachment(row)))?;
    let mut list = Vec::new();
    for row in rows {
        list.push(row??);
    }
    Ok(list)
}

/// Whether any row names an object.
pub(super) fn is_referenced(connection: &Connection, key: &ObjectKey) -> Result<bool, Failure> {
    let row: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM attachments WHERE object_key = ?1")?
        .query_row([key.as_str()], |row| row.get(0))
        .optional()?;
    Ok(row.is_some())
}

/// Brings back a row that was lost.
pub(super) fn restore(
    connection: &Connection,
    lost: &Attachment,
    worker: &str,
) -> Result<(), Failure> {
    let size = signed(lost.size)?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, \
             created_by, charged_bytes, size, sha256, crc64, worker, md5, store_tag) \
             VALUES (?1, ?2, 'ready', ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            lost.id.as_str(),
            lost.key.as_str(),
            lost.owner.as_ref().map(|owner| owner.as_str()),
            lost.filename.as_str(),
            lost.content_type,
            millis(lost.created_at),
            lost.created_by.as_ref().map(|author| author.as_str()),
            size,
            lost.sha256.0,
            lost.crc64.map(u64::to_be_bytes),
            worker,
            lost.md5.map(|hex| hex.0),
            lost.store_tag,
        ])?;
    if inserted == 0 {
        let found = ready(connection, &lost.id).ok();
        return Ok(refusal::restored(found.as_ref(), lost)?);
    }
    connection
        .prepare_cached(
            "UPDATE usage SET attachments = attachments + 1, ready_bytes = ready_bytes + ?1",
        )?
        .execute([size])?;
    Ok(())
}

/// Notes what the store calls the versions of objects; whether their attachments are ready.
pub(super) fn note_store_tags(
    connection: &Connection,
    tags: &[(AttachmentId, Option<String>)],
) -> Result<Vec<bool>, Failure> {
    let mut update = connection.prepare_cached(
        "UPDATE attachments SET store_tag = ?2 WHERE id = ?1 AND state = 'ready'",
    )?;
    let noted = tags
        .iter()
        .map(|(id, tag)| Ok(update.execute(params![id.as_str(), tag])? > 0));
    noted.collect()
}
