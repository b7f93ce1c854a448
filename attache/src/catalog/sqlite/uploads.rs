//! How far uploads of several requests are.

use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use time::OffsetDateTime;

use super::failure::Failure;
use super::rows::{charge, fits};
use crate::attachment::AttachmentId;
use crate::catalog::bulk::Progress;
use crate::catalog::partial::{NewUpload, Step, Upload};
use crate::catalog::workers::Workers;
use crate::catalog::{Draft, instant, millis, refusal, signed, unsigned};
use crate::error::Error;
use crate::storage::multipart::PartReceipt;

/// Records an upload.
pub(super) fn create(
    connection: &Connection,
    draft: &Draft,
    new: &NewUpload,
    worker: &str,
) -> Result<(), Failure> {
    fits(connection, 0, draft.size.unwrap_or(0), draft.quota)?;
    charge(connection, 0, draft.reserve, draft.quota)?;
    let inserted = connection
        .prepare_cached(
            "INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by, \
             charged_bytes, worker, upload, upload_expires_ms) VALUES (?1, ?2, 'partial', ?3, ?4, ?5, ?6, ?7, ?11, ?8, ?9, ?10) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            draft.id.as_str(),
            draft.key.as_str(),
            draft.owner.as_ref().map(|owner| owner.as_str()),
            draft.filename.as_str(),
            draft.content_type,
            millis(draft.created_at),
            draft.created_by.as_ref().map(|author| author.as_str()),
            worker,
            new.upload.to_string(),
            millis(new.expires_at),
            signed(draft.reserve)?,
        ])?;
    if inserted == 0 {
        return Err(refusal::id_taken(&draft.id).into());
    }
    connection
        .prepare_cached(
            "INSERT INTO uploads (id, epoch, wanted, stored, length, parts, first, digests, direct, metadata, claim, caller, \
             expires_ms) VALUES (?1, 0, 0, 0, ?2, 0, x'', ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            draft.id.as_str(),
            new.length.map(signed).transpose()?,
            new.digests,
            new.direct,
            new.metadata,
            new.claim,
            new.caller,
            millis(new.expires_at),
        ])?;
    Ok(())
}

/// How far an upload is.
pub(super) fn look(
    connection: &Connection,
    id: &AttachmentId,
    now: OffsetDateTime,
) -> Result<Upload, Failure> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM uploads u JOIN attachments a ON a.id = u.id WHERE u.id = ?1 AND u.expires_ms > ?2 \
             AND a.state <> 'retired'"
        ))?
        .query_row(params![id.as_str(), millis(now)], |row| Ok(upload(row)))
        .optional()?
        .unwrap_or_else(|| Err(Error::not_found(id.as_str()).into()))
}

/// Takes an upload for a request of this process.
pub(super) fn take(
    connection: &Connection,
    id: &AttachmentId,
    now: OffsetDateTime,
    force: bool,
    workers: &dyn Workers,
) -> Result<Option<Upload>, Failure> {
    look(connection, id, now)?;
    let holder: Option<String> = connection
        .prepare_cached("SELECT worker FROM uploads WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))?;
    let held = holder.is_some_and(|of| of != workers.me() && workers.is_alive(&of));
    if held && !force {
        connection
            .prepare_cached("UPDATE uploads SET wanted = 1 WHERE id = ?1")?
            .execute([id.as_str()])?;
        return Ok(None);
    }
    connection
        .prepare_cached(
            "UPDATE uploads SET epoch = epoch + 1, worker = ?2, wanted = 0 WHERE id = ?1",
        )?
        .execute(params![id.as_str(), workers.me()])?;
    look(connection, id, now).map(Some)
}

/// Records what is stored.
pub(super) fn advance(
    connection: &Connection,
    id: &AttachmentId,
    step: &Step,
) -> Result<(), Failure> {
    let row: Option<(i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT u.epoch, u.stored, a.charged_bytes FROM uploads u JOIN attachments a ON a.id = u.id \
             WHERE u.id = ?1 AND a.state = 'partial'",
        )?
        .query_row([id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((epoch, stored, charged)) = row else {
        return Err(Error::not_found(id.as_str()).into());
    };
    if (unsigned(epoch), unsigned(stored)) != (step.epoch, step.from) {
        return Err(refusal::upload_taken().into());
    }
    charge(connection, unsigned(charged), step.offset, step.quota)?;
    connection
        .prepare_cached(
            "UPDATE attachments SET charged_bytes = ?2, upload_expires_ms = ?3, content_type = coalesce(?4, content_type) \
             WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            signed(step.offset)?,
            millis(step.expires_at),
            step.content_type,
        ])?;
    connection
        .prepare_cached(
            "UPDATE uploads SET stored = ?2, length = coalesce(?3, length), parts = parts + ?4, first = ?5, digests = ?6, \
             expires_ms = ?7 WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            signed(step.offset)?,
            step.length.map(signed).transpose()?,
            i64::from(step.receipt.is_some()),
            step.first,
            step.digests,
            millis(step.expires_at),
        ])?;
    if let Some(receipt) = &step.receipt {
        insert_receipt(connection, id, receipt)?;
    }
    Ok(())
}

fn insert_receipt(
    connection: &Connection,
    id: &AttachmentId,
    receipt: &PartReceipt,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO upload_parts (id, number, size, crc64, tag) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id.as_str(),
            receipt.number,
            signed(receipt.size)?,
            receipt.crc64.to_be_bytes(),
            receipt.tag,
        ])?;
    Ok(())
}

/// A request has ended.
pub(super) fn release(
    connection: &Connection,
    id: &AttachmentId,
    epoch: u64,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE uploads SET worker = NULL, wanted = 0 WHERE id = ?1 AND epoch = ?2",
        )?
        .execute(params![id.as_str(), signed(epoch)?])?;
    Ok(())
}

/// Those that somebody else waits for, or has taken.
pub(super) fn contested(
    connection: &Connection,
    held: &[(AttachmentId, u64)],
) -> Result<Vec<AttachmentId>, Failure> {
    let mut find = connection
        .prepare_cached("SELECT 1 FROM uploads WHERE id = ?1 AND epoch = ?2 AND wanted = 0")?;
    let mut found = Vec::new();
    for (id, epoch) in held {
        if !find.exists(params![id.as_str(), signed(*epoch)?])? {
            found.push(id.clone());
        }
    }
    Ok(found)
}

/// What the store gave for the parts.
pub(super) fn receipts(
    connection: &Connection,
    id: &AttachmentId,
) -> Result<Vec<PartReceipt>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT number, size, crc64, tag FROM upload_parts WHERE id = ?1 ORDER BY number",
    )?;
    let rows = statement.query_map([id.as_str()], |row| {
        Ok(PartReceipt {
            number: row.get(0)?,
            size: unsigned(row.get(1)?),
            crc64: u64::from_be_bytes(row.get(2)?),
            tag: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// An upload has become an attachment.
pub(super) fn completed(
    connection: &Connection,
    id: &AttachmentId,
    until: OffsetDateTime,
) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM upload_parts WHERE id = ?1")?
        .execute([id.as_str()])?;
    connection
        .prepare_cached(
            "UPDATE uploads SET expires_ms = ?2, worker = NULL, first = x'', digests = x'', \
             stored = (SELECT a.size FROM attachments a WHERE a.id = ?1), length = (SELECT a.size FROM attachments a WHERE a.id = ?1) \
             WHERE id = ?1 AND (SELECT a.state FROM attachments a WHERE a.id = ?1) = 'ready'",
        )?
        .execute(params![id.as_str(), millis(until)])?;
    Ok(())
}

/// Forgets those that have been attachments for long enough.
pub(super) fn forget_completed(
    connection: &Connection,
    now: OffsetDateTime,
) -> Result<u64, Failure> {
    let gone = connection
        .prepare_cached(
            "DELETE FROM uploads WHERE expires_ms <= ?1 \
             AND (SELECT a.state FROM attachments a WHERE a.id = uploads.id) = 'ready'",
        )?
        .execute([millis(now)])?;
    Ok(gone as u64)
}

/// Those whose bytes are all there.
pub(super) fn whole(
    connection: &Connection,
    after: &str,
    limit: u32,
    workers: &dyn Workers,
) -> Result<Vec<AttachmentId>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT u.id, a.state, a.worker, u.worker FROM uploads u JOIN attachments a ON a.id = u.id \
         WHERE u.stored = u.length AND u.id > ?1 AND NOT u.direct AND a.state IN ('partial', 'pending') ORDER BY u.id",
    )?;
    let rows = statement.query([after])?;
    free(rows, limit, workers)
}

/// Of rows of an id, a state, and the workers of the attachment and of the upload: the first `limit` on which no living process works.
pub(super) fn free(
    mut rows: Rows<'_>,
    limit: u32,
    workers: &dyn Workers,
) -> Result<Vec<AttachmentId>, Failure> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let pending = row
            .get_ref(1)?
            .as_str()
            .is_ok_and(|state| state == "pending");
        // Of a pending row the process that makes the attachment, of a partial one that of a request.
        let worker = match pending {
            true => Some(row.get::<_, String>(2)?),
            false => row.get::<_, Option<String>>(3)?,
        };
        if worker.is_some_and(|worker| workers.is_alive(&worker)) {
            continue;
        }
        found.push(row.get::<_, String>(0)?.parse()?);
        if found.len() >= limit as usize {
            break;
        }
    }
    Ok(found)
}

/// Those that are not complete.
pub(super) fn waiting(
    connection: &Connection,
    after: &str,
    limit: u32,
) -> Result<Vec<Upload>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM attachments a JOIN uploads u ON a.id = u.id WHERE a.upload IS NOT NULL AND a.id > ?1 \
         AND a.state IN ('partial', 'pending') ORDER BY a.id LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![after, limit], |row| Ok(upload(row)))?;
    let mut found = Vec::new();
    for row in rows {
        found.push(row??);
    }
    Ok(found)
}

/// How far an upload is, for a copy.
pub(super) fn progress(
    connection: &Connection,
    id: &AttachmentId,
) -> Result<Option<Progress>, Failure> {
    let found = connection
        .prepare_cached(
            "SELECT stored, length, first, digests, direct, metadata, claim, caller FROM uploads WHERE id = ?1",
        )?
        .query_row([id.as_str()], |row| {
            Ok(Progress {
                offset: unsigned(row.get(0)?),
                length: row.get::<_, Option<i64>>(1)?.map(unsigned),
                receipts: Vec::new(),
                first: row.get(2)?,
                digests: row.get(3)?,
                direct: row.get(4)?,
                metadata: row.get(5)?,
                claim: row.get(6)?,
                caller: row.get(7)?,
            })
        })
        .optional()?;
    let Some(mut progress) = found else {
        return Ok(None);
    };
    progress.receipts = receipts(connection, id)?;
    Ok(Some(progress))
}

/// Writes how far an upload is, in place of what was there.
pub(super) fn put_progress(
    connection: &Connection,
    id: &AttachmentId,
    progress: Option<&Progress>,
    expires_ms: Option<i64>,
) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM uploads WHERE id = ?1")?
        .execute([id.as_str()])?;
    let Some(progress) = progress else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT INTO uploads (id, epoch, wanted, stored, length, parts, first, digests, direct, metadata, claim, caller, \
             expires_ms) VALUES (?1, 0, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            id.as_str(),
            signed(progress.offset)?,
            progress.length.map(signed).transpose()?,
            signed(progress.receipts.len() as u64)?,
            progress.first,
            progress.digests,
            progress.direct,
            progress.metadata,
            progress.claim,
            progress.caller,
            expires_ms,
        ])?;
    for receipt in &progress.receipts {
        insert_receipt(connection, id, receipt)?;
    }
    Ok(())
}

/// When a direct one was begun.
pub(super) fn direct_since(
    connection: &Connection,
    id: &AttachmentId,
) -> Result<Option<OffsetDateTime>, Failure> {
    let begun: Option<i64> = connection
        .prepare_cached(
            "SELECT a.created_at_ms FROM uploads u JOIN attachments a ON a.id = u.id WHERE u.id = ?1 AND u.direct",
        )?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    Ok(begun.map(instant).transpose()?)
}

/// How many are not complete.
pub(super) fn count_waiting(connection: &Connection) -> Result<u64, Failure> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM attachments WHERE upload IS NOT NULL AND state IN ('partial', 'pending')",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(unsigned(count))
}

const COLUMNS: &str = "a.id, a.object_key, a.owner, a.filename, a.created_by, a.created_at_ms, a.state, u.epoch, u.stored, \
                       u.length, u.parts, u.first, u.digests, u.direct, u.metadata, u.claim, u.caller, u.expires_ms, \
                       u.worker IS NOT NULL, a.upload";

fn upload(row: &Row<'_>) -> Result<Upload, Failure> {
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    Ok(Upload {
        id: row.get::<_, String>(0)?.parse()?,
        key: row.get::<_, String>(1)?.parse()?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: row.get::<_, String>(3)?.into(),
        created_by: optional(4)?.map(|text| text.parse()).transpose()?,
        created_at: instant(row.get(5)?)?,
        is_complete: row.get_ref(6)?.as_str().is_ok_and(|state| state == "ready"),
        epoch: unsigned(row.get(7)?),
        offset: unsigned(row.get(8)?),
        length: row.get::<_, Option<i64>>(9)?.map(unsigned),
        parts: row.get(10)?,
        first: row.get(11)?,
        digests: row.get(12)?,
        direct: row.get(13)?,
        metadata: row.get(14)?,
        claim: row.get(15)?,
        caller: row.get(16)?,
        expires_at: instant(row.get(17)?)?,
        is_held: row.get(18)?,
        upload: optional(19)?.map(|text| text.parse()).transpose()?,
    })
}
