//! How far uploads of several requests are. Each write is one statement, so that what it needs and what it changes are of one moment.

use std::collections::HashMap;

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::ask::Ask;
use super::begin::{full, limit};
use super::failure::Failure;
use super::pool::TIME;
use super::rows::{array, get};
use super::shared::Shared;
use super::unfinished::is_dead;
use crate::attachment::AttachmentId;
use crate::catalog::bulk::Progress;
use crate::catalog::partial::{NewUpload, Step, Upload};
use crate::catalog::{Draft, instant, millis, refusal, signed, unsigned};
use crate::error::{Error, Result};
use crate::storage::multipart::PartReceipt;

const CREATE: &str = "
    WITH room AS (
        SELECT 1 FROM attache.usage u WHERE u.slot = 0 AND u.ready_bytes + u.reserved_bytes + $11 <= $12
    ), made AS (
        INSERT INTO attache.attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by,
            charged_bytes, worker, upload, upload_expires_ms)
        SELECT $1, $2, 'partial', $3, $4, $5, $6, $7, $19::int8, $8, $9, $10 FROM room ON CONFLICT DO NOTHING RETURNING id
    ), upload AS (
        INSERT INTO attache.uploads (id, epoch, wanted, stored, length, parts, first, digests, direct, metadata, claim, caller, expires_ms)
        SELECT id, 0, false, 0, $13, 0, '', $14, $15::int8 = 1, $16, $17, $18, $10 FROM made
    ), paid AS (
        UPDATE attache.usage u
        SET reserved_bytes = CASE WHEN u.ready_bytes + u.reserved_bytes + $19::int8 <= $12
                             THEN u.reserved_bytes + $19::int8 END
        FROM made WHERE u.slot = 0 AND $19::int8 > 0 RETURNING 1
    )
    SELECT EXISTS (SELECT FROM room), EXISTS (SELECT FROM made)";

/// Records an upload.
pub(super) async fn create(
    database: &Shared,
    draft: &Draft,
    new: &NewUpload,
) -> Result<Result<()>, Failure> {
    let size = draft.size.unwrap_or(0);
    let ask = Ask::new(CREATE)
        .text(draft.id.as_str())
        .text(draft.key.as_str())
        .some_text(draft.owner.as_ref().map(ToString::to_string))
        .text(draft.filename.as_str())
        .text(draft.content_type.as_str())
        .int(millis(draft.created_at))
        .some_text(draft.created_by.as_ref().map(ToString::to_string))
        .text(database.me())
        .text(new.upload.to_string())
        .int(millis(new.expires_at))
        .int(signed(size)?)
        .int(limit(draft.quota))
        .some_int(new.length.map(signed).transpose()?)
        .bytes(new.digests.clone())
        .int(i64::from(new.direct))
        .text(new.metadata.as_str())
        .some_text(new.claim.clone())
        .text(new.caller.as_str())
        .int(signed(draft.reserve)?);
    let answer = match database.pool.ask(&ask).await {
        Ok(answer) => answer,
        // Another one was faster.
        Err(Failure::Quota) => {
            let end = Instant::now() + TIME;
            return Ok(Err(full(database, 0, size, draft.quota, end).await?));
        }
        Err(failure) => return Err(failure),
    };
    let Some(row) = answer.rows.first() else {
        return Err(Error::internal("a statement that has one row had none").into());
    };
    let (room, made): (bool, bool) = (get(row, 0)?, get(row, 1)?);
    if made {
        return Ok(Ok(()));
    }
    // The first try may have happened, and its answer was lost.
    if answer.repeated && is_ours(database, draft, new).await? {
        return Ok(Ok(()));
    }
    Ok(Err(match room {
        true => refusal::id_taken(&draft.id),
        false => full(database, 0, size, draft.quota, Instant::now() + TIME).await?,
    }))
}

async fn is_ours(database: &Shared, draft: &Draft, new: &NewUpload) -> Result<bool, Failure> {
    let ask = Ask::new("SELECT id FROM attache.attachments WHERE id = $1 AND upload = $2")
        .text(draft.id.as_str())
        .text(new.upload.to_string());
    Ok(!database.pool.ask(&ask).await?.rows.is_empty())
}

/// How far an upload is.
pub(super) async fn look(
    database: &Shared,
    id: &AttachmentId,
    now: OffsetDateTime,
) -> Result<Upload, Failure> {
    let ask = Ask::new(format!(
        "SELECT {COLUMNS} FROM attache.uploads u JOIN attache.attachments a ON a.id = u.id
         WHERE u.id = $1 AND u.expires_ms > $2 AND a.state <> 'retired'"
    ))
    .text(id.as_str())
    .int(millis(now));
    match database.pool.ask(&ask).await?.rows.first() {
        Some(row) => upload(row),
        None => Err(Error::not_found(id.as_str()).into()),
    }
}

/// Takes an upload for a request of this process.
pub(super) async fn take(
    database: &Shared,
    id: &AttachmentId,
    now: OffsetDateTime,
    force: bool,
) -> Result<Option<Upload>, Failure> {
    let take = Ask::new(format!(
        "UPDATE attache.uploads a SET epoch = a.epoch + 1, worker = $2, wanted = false
         WHERE a.id = $1 AND a.expires_ms > $3 AND ($4::int8 = 1 OR a.worker IS NULL OR a.worker = $2 OR {})
         RETURNING a.epoch",
        is_dead("$2")
    ))
    .text(id.as_str())
    .text(database.me())
    .int(millis(now))
    .int(i64::from(force));
    let Some(epoch) = epoch(&database.pool.ask(&take).await?.rows)? else {
        let want = Ask::new(
            "UPDATE attache.uploads SET wanted = true WHERE id = $1 AND worker IS NOT NULL",
        )
        .text(id.as_str());
        database.pool.ask(&want).await?;
        look(database, id, now).await?;
        return Ok(None);
    };
    // Between the two statements another process may have taken it in turn.
    let taken = look(database, id, now).await?;
    Ok((taken.epoch == epoch).then_some(taken))
}

fn epoch(rows: &[Row]) -> Result<Option<u64>, Failure> {
    rows.first()
        .map(|row| Ok(unsigned(get(row, 0)?)))
        .transpose()
}

const ADVANCE: &str = "
    WITH old AS (
        SELECT a.id, a.charged_bytes FROM attache.attachments a JOIN attache.uploads u ON u.id = a.id
        WHERE a.id = $1 AND a.state = 'partial' AND u.epoch = $2 AND u.stored = $3 FOR UPDATE OF a, u
    ), row AS (
        UPDATE attache.attachments a SET charged_bytes = $4, upload_expires_ms = $5, content_type = coalesce($6, a.content_type)
        FROM old WHERE a.id = old.id RETURNING 1
    ), up AS (
        UPDATE attache.uploads u SET stored = $4, length = coalesce($7, u.length), first = $8, digests = $9, expires_ms = $5,
            parts = u.parts + CASE WHEN $10::int8 IS NULL THEN 0 ELSE 1 END
        FROM old WHERE u.id = old.id RETURNING 1
    ), part AS (
        INSERT INTO attache.upload_parts (id, number, size, crc64, tag)
        SELECT old.id, $10, $11, $12, $13 FROM old WHERE $10::int8 IS NOT NULL
    ), paid AS (
        UPDATE attache.usage u
        SET reserved_bytes = CASE WHEN u.ready_bytes + u.reserved_bytes + $4 - old.charged_bytes <= $14
                             THEN (u.reserved_bytes + $4 - old.charged_bytes)::int8 END
        FROM old WHERE u.slot = 0 AND old.charged_bytes <> $4 RETURNING 1
    )
    SELECT id FROM old";

/// Records what is stored.
pub(super) async fn advance(
    database: &Shared,
    id: &AttachmentId,
    step: &Step,
) -> Result<Result<()>, Failure> {
    let receipt = step.receipt.as_ref();
    let ask = Ask::new(ADVANCE)
        .text(id.as_str())
        .int(signed(step.epoch)?)
        .int(signed(step.from)?)
        .int(signed(step.offset)?)
        .int(millis(step.expires_at))
        .some_text(step.content_type.clone())
        .some_int(step.length.map(signed).transpose()?)
        .bytes(step.first.clone())
        .bytes(step.digests.clone())
        .some_int(receipt.map(|receipt| receipt.number.into()))
        .some_int(receipt.map(|receipt| signed(receipt.size)).transpose()?)
        .some_bytes(receipt.map(|receipt| receipt.crc64.to_be_bytes().to_vec()))
        .some_text(receipt.map(|receipt| receipt.tag.clone()))
        .int(limit(step.quota));
    let answer = match database.pool.ask(&ask).await {
        Ok(answer) => answer,
        Err(Failure::Quota) => {
            let end = Instant::now() + TIME;
            let error = full(database, step.from, step.offset, step.quota, end).await?;
            return Ok(Err(error));
        }
        Err(failure) => return Err(failure),
    };
    if !answer.rows.is_empty() {
        return Ok(Ok(()));
    }
    let look = Ask::new(
        "SELECT u.epoch, u.stored FROM attache.uploads u JOIN attache.attachments a ON a.id = u.id
         WHERE u.id = $1 AND a.state = 'partial'",
    )
    .text(id.as_str());
    let rows = database.pool.ask(&look).await?.rows;
    let Some(row) = rows.first() else {
        return Ok(Err(Error::not_found(id.as_str())));
    };
    let (epoch, stored): (i64, i64) = (get(row, 0)?, get(row, 1)?);
    let happened = (unsigned(epoch), unsigned(stored)) == (step.epoch, step.offset);
    // The first try happened, and its answer was lost.
    Ok(match answer.repeated && happened {
        true => Ok(()),
        false => Err(refusal::upload_taken()),
    })
}

/// A request has ended.
pub(super) fn release(id: &AttachmentId, epoch: u64) -> Result<Ask> {
    let ask = Ask::new(
        "UPDATE attache.uploads SET worker = NULL, wanted = false WHERE id = $1 AND epoch = $2",
    );
    Ok(ask.text(id.as_str()).int(signed(epoch)?))
}

/// Those that somebody else waits for, or has taken.
pub(super) async fn contested(
    database: &Shared,
    held: &[(AttachmentId, u64)],
) -> Result<Vec<AttachmentId>, Failure> {
    let mut epochs = Vec::new();
    for (_, epoch) in held {
        epochs.push(signed(*epoch)?);
    }
    let ask = Ask::new(
        "SELECT held.id FROM unnest($1::text[], $2::int8[]) AS held (id, epoch)
         LEFT JOIN attache.uploads u ON u.id = held.id AND u.epoch = held.epoch AND NOT u.wanted WHERE u.id IS NULL",
    )
    .texts(held.iter().map(|(id, _)| id.to_string()))
    .ints(epochs);
    let rows = database.pool.ask(&ask).await?.rows;
    let ids = rows.iter().map(|row| Ok(get::<String>(row, 0)?.parse()?));
    ids.collect()
}

/// What the store gave for the parts.
pub(super) async fn receipts(
    database: &Shared,
    id: &AttachmentId,
) -> Result<Vec<PartReceipt>, Failure> {
    let ask = Ask::new(
        "SELECT number, size, crc64, tag FROM attache.upload_parts WHERE id = $1 ORDER BY number",
    )
    .text(id.as_str())
    .long();
    let rows = database.pool.ask(&ask).await?.rows;
    rows.iter().map(receipt).collect()
}

fn receipt(row: &Row) -> Result<PartReceipt, Failure> {
    Ok(PartReceipt {
        number: small(get(row, 0)?),
        size: unsigned(get(row, 1)?),
        crc64: u64::from_be_bytes(array(get(row, 2)?)?),
        tag: get(row, 3)?,
    })
}

fn small(number: i64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

/// An upload has become an attachment.
pub(super) fn completed(id: &AttachmentId, until: OffsetDateTime) -> Ask {
    Ask::new(
        "WITH done AS (
            UPDATE attache.uploads u SET expires_ms = $2, worker = NULL, first = '', digests = '', stored = a.size, length = a.size
            FROM attache.attachments a WHERE u.id = $1 AND a.id = u.id AND a.state = 'ready' RETURNING u.id
         )
         DELETE FROM attache.upload_parts p USING done WHERE p.id = done.id",
    )
    .text(id.as_str())
    .int(millis(until))
}

/// Forgets those that have been attachments for long enough.
pub(super) fn forget_completed(now: OffsetDateTime) -> Ask {
    Ask::new(
        "DELETE FROM attache.uploads u USING attache.attachments a
         WHERE u.expires_ms <= $1 AND a.id = u.id AND a.state = 'ready' RETURNING u.id",
    )
    .int(millis(now))
}

/// Those whose bytes are all there.
pub(super) fn whole(me: &str, after: &str, limit: u32) -> Ask {
    Ask::new(format!(
        "SELECT held.id FROM (
             SELECT u.id, CASE a.state WHEN 'pending' THEN a.worker ELSE u.worker END AS worker
             FROM attache.uploads u JOIN attache.attachments a ON a.id = u.id
             WHERE u.stored = u.length AND u.id > $1 AND NOT u.direct AND a.state IN ('partial', 'pending')
         ) AS held, LATERAL (SELECT held.worker) AS a
         WHERE a.worker IS NULL OR a.worker <> $3 AND {} ORDER BY held.id LIMIT $2",
        is_dead("$3")
    ))
    .text(after)
    .int(i64::from(limit))
    .text(me)
    .long()
}

/// Those that are not complete.
pub(super) fn waiting(after: &str, limit: u32) -> Ask {
    Ask::new(format!(
        "SELECT {COLUMNS} FROM attache.attachments a JOIN attache.uploads u ON a.id = u.id
         WHERE a.upload IS NOT NULL AND a.id > $1 AND a.state IN ('partial', 'pending') ORDER BY a.id LIMIT $2"
    ))
    .text(after)
    .int(i64::from(limit))
    .long()
}

/// How far uploads are, for a copy.
pub(super) async fn progress(
    database: &Shared,
    ids: &[AttachmentId],
    end: Instant,
) -> Result<HashMap<AttachmentId, Progress>, Failure> {
    let ids = || ids.iter().map(ToString::to_string);
    let uploads = Ask::new(
        "SELECT id, stored, length, first, digests, direct, metadata, claim, caller FROM attache.uploads WHERE id = ANY($1)",
    )
    .texts(ids());
    let mut found = HashMap::new();
    for row in &database.pool.ask_until(&uploads, end).await?.rows {
        let progress = Progress {
            offset: unsigned(get(row, 1)?),
            length: get::<Option<i64>>(row, 2)?.map(unsigned),
            receipts: Vec::new(),
            first: get(row, 3)?,
            digests: get(row, 4)?,
            direct: get(row, 5)?,
            metadata: get(row, 6)?,
            claim: get(row, 7)?,
            caller: get(row, 8)?,
        };
        found.insert(get::<String>(row, 0)?.parse()?, progress);
    }
    let parts = Ask::new(
        "SELECT number, size, crc64, tag, id FROM attache.upload_parts WHERE id = ANY($1) ORDER BY id, number",
    )
    .texts(ids());
    for row in &database.pool.ask_until(&parts, end).await?.rows {
        let id: AttachmentId = get::<String>(row, 4)?.parse()?;
        if let Some(progress) = found.get_mut(&id) {
            progress.receipts.push(receipt(row)?);
        }
    }
    Ok(found)
}

/// Writes how far uploads are, in place of what was there of all `ids`.
pub(super) async fn put_progress(
    database: &Shared,
    ids: Vec<String>,
    all: &[(AttachmentId, Progress, OffsetDateTime)],
    end: Instant,
) -> Result<(), Failure> {
    let gone = Ask::new("DELETE FROM attache.uploads WHERE id = ANY($1)").texts(ids);
    database.pool.ask_until(&gone, end).await?;
    for (id, progress, expires_at) in all {
        let receipts = || progress.receipts.iter();
        let mut sizes = Vec::new();
        for receipt in receipts() {
            sizes.push(signed(receipt.size)?);
        }
        let put = Ask::new(
            "WITH upload AS (
                 INSERT INTO attache.uploads (id, epoch, wanted, stored, length, parts, first, digests, direct, metadata, claim, caller,
                     expires_ms)
                 VALUES ($1, 0, false, $2, $3, cardinality($11::int8[]), $4, $5, $6::int8 = 1, $7, $8, $9, $10)
                 ON CONFLICT DO NOTHING RETURNING id
             )
             INSERT INTO attache.upload_parts (id, number, size, crc64, tag)
             SELECT upload.id, new.* FROM upload, unnest($11::int8[], $12::int8[], $13::bytea[], $14::text[]) AS new",
        )
        .text(id.as_str())
        .int(signed(progress.offset)?)
        .some_int(progress.length.map(signed).transpose()?)
        .bytes(progress.first.clone())
        .bytes(progress.digests.clone())
        .int(i64::from(progress.direct))
        .text(progress.metadata.as_str())
        .some_text(progress.claim.clone())
        .text(progress.caller.as_str())
        .int(millis(*expires_at))
        .ints(receipts().map(|receipt| receipt.number.into()))
        .ints(sizes)
        .all_bytes(receipts().map(|receipt| receipt.crc64.to_be_bytes().to_vec()))
        .texts(receipts().map(|receipt| receipt.tag.clone()));
        database.pool.ask_until(&put, end).await?;
    }
    Ok(())
}

/// When a direct one was begun.
pub(super) fn direct_since(id: &AttachmentId) -> Ask {
    Ask::new(
        "SELECT a.created_at_ms FROM attache.uploads u JOIN attache.attachments a ON a.id = u.id WHERE u.id = $1 AND u.direct",
    )
    .text(id.as_str())
}

/// How many are not complete.
pub(super) fn count_waiting() -> Ask {
    Ask::new(
        "SELECT count(*) FROM attache.attachments WHERE upload IS NOT NULL AND state IN ('partial', 'pending')",
    )
    .long()
}

const COLUMNS: &str = "a.id, a.object_key, a.owner, a.filename, a.created_by, a.created_at_ms, a.state, u.epoch, u.stored, \
                       u.length, u.parts, u.first, u.digests, u.direct, u.metadata, u.claim, u.caller, u.expires_ms, \
                       u.worker IS NOT NULL, a.upload";

pub(super) fn upload(row: &Row) -> Result<Upload, Failure> {
    let optional = |column: usize| get::<Option<String>>(row, column);
    Ok(Upload {
        id: get::<String>(row, 0)?.parse()?,
        key: get::<String>(row, 1)?.parse()?,
        owner: optional(2)?.map(|text| text.parse()).transpose()?,
        filename: get::<String>(row, 3)?.into(),
        created_by: optional(4)?.map(|text| text.parse()).transpose()?,
        created_at: instant(get(row, 5)?)?,
        is_complete: get::<&str>(row, 6)? == "ready",
        epoch: unsigned(get(row, 7)?),
        offset: unsigned(get(row, 8)?),
        length: get::<Option<i64>>(row, 9)?.map(unsigned),
        parts: small(get(row, 10)?),
        first: get(row, 11)?,
        digests: get(row, 12)?,
        direct: get(row, 13)?,
        metadata: get(row, 14)?,
        claim: optional(15)?,
        caller: get(row, 16)?,
        expires_at: instant(get(row, 17)?)?,
        is_held: get(row, 18)?,
        upload: optional(19)?.map(|text| text.parse()).transpose()?,
    })
}
