//! What is in a row, and what it takes of the quota.

use rusqlite::{Connection, OptionalExtension, Row};

use super::failure::Failure;
use crate::attachment::{Attachment, AttachmentId, Hex, ObjectKey};
use crate::catalog::{Begun, Draft, instant, refusal, signed, unsigned};
use crate::error::Error;

/// Whether a share of the quota may be replaced by another one.
pub(super) fn fits(
    connection: &Connection,
    before: u64,
    after: u64,
    quota: Option<u64>,
) -> Result<(), Failure> {
    let Some(quota) = quota else { return Ok(()) };
    let used: i64 = connection
        .prepare_cached("SELECT ready_bytes + reserved_bytes FROM usage")?
        .query_row([], |row| row.get(0))?;
    let used = unsigned(used).saturating_sub(before);
    if used.saturating_add(after) <= quota {
        return Ok(());
    }
    Err(refusal::quota_exceeded(used, after, quota).into())
}

/// Replaces a share of the quota by another one.
pub(super) fn charge(
    connection: &Connection,
    before: u64,
    after: u64,
    quota: Option<u64>,
) -> Result<(), Failure> {
    fits(connection, before, after, quota)?;
    connection
        .prepare_cached("UPDATE usage SET reserved_bytes = reserved_bytes + ?1")?
        .execute([signed(after)? - signed(before)?])?;
    Ok(())
}

pub(super) fn pending_charge(
    connection: &Connection,
    id: &AttachmentId,
    worker: &str,
) -> Result<u64, Failure> {
    let charged: Option<i64> = connection
        .prepare_cached(
            "SELECT charged_bytes FROM attachments WHERE id = ?1 AND state = 'pending' AND worker = ?2",
        )?
        .query_row([id.as_str(), worker], |row| row.get(0))
        .optional()?;
    charged
        .map(unsigned)
        .ok_or_else(|| refusal::not_pending().into())
}

pub(super) fn repeated(
    connection: &Connection,
    draft: &Draft,
    key: &str,
) -> Result<Option<Begun>, Failure> {
    let row: Option<(String, String)> = connection
        .prepare_cached("SELECT id, state FROM attachments WHERE idempotency_key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, state)) = row else {
        return Ok(None);
    };
    if state != "ready" {
        return Err(refusal::key_in_progress().into());
    }
    let first = ready(connection, &id.parse()?)?;
    Ok(Some(refusal::repeated(draft, first)?))
}

pub(super) fn ready(connection: &Connection, id: &AttachmentId) -> Result<Attachment, Failure> {
    connection
        .prepare_cached(&select_one())?
        .query_row([id.as_str()], |row| Ok(attachment(row)))
        .optional()?
        .unwrap_or_else(|| Err(Error::not_found(id.as_str()).into()))
}

fn select_one() -> String {
    format!("SELECT {COLUMNS} FROM attachments WHERE id = ?1 AND state = 'ready'")
}

pub(super) const COLUMNS: &str = "id, object_key, owner, filename, content_type, size, sha256, crc64, created_at_ms, created_by, md5, store_tag";

pub(super) fn attachment(row: &Row<'_>) -> Result<Attachment, Failure> {
    let text =
        |column: usize| -> Result<&str, rusqlite::Error> { Ok(row.get_ref(column)?.as_str()?) };
    let optional = |column: usize| -> Result<Option<&str>, rusqlite::Error> {
        Ok(row.get_ref(column)?.as_str_or_null()?)
    };
    let created_at_ms: i64 = row.get(8)?;
    Ok(Attachment {
        id: text(0)?.parse()?,
        key: ObjectKey::recorded(text(1)?)?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: text(3)?.to_owned().into(),
        content_type: text(4)?.to_owned(),
        size: unsigned(row.get(5)?),
        sha256: Hex(row.get(6)?),
        crc64: row.get::<_, Option<[u8; 8]>>(7)?.map(u64::from_be_bytes),
        created_at: instant(created_at_ms)?,
        created_by: optional(9)?.map(|text| text.parse()).transpose()?,
        md5: row.get::<_, Option<[u8; 16]>>(10)?.map(Hex),
        store_tag: optional(11)?.map(str::to_owned),
    })
}
