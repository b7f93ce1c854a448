//! Uploads that become attachments.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::Failure;
use super::lane::Write;
use super::rows::{COLUMNS, attachment, columns_of_a};
use super::shared::Shared;
use crate::attachment::{Attachment, AttachmentId};
use crate::catalog::{refusal, signed};
use crate::error::Result;
use crate::storage::Stored;

fn commit() -> String {
    format!(
        "
    WITH new AS (
        SELECT * FROM unnest($1::text[], $2::int8[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bool[], $7::text[])
            AS new (id, size, sha256, md5, crc64, utf8, store_tag)
    ), old AS (
        SELECT a.id, a.charged_bytes FROM attache.attachments a JOIN new ON new.id = a.id
        WHERE a.state = 'pending' AND a.worker = $8 ORDER BY a.id FOR UPDATE OF a
    ), up AS (
        UPDATE attache.attachments a
        SET state = 'ready', charged_bytes = new.size, size = new.size, sha256 = new.sha256, md5 = new.md5, crc64 = new.crc64,
            utf8 = new.utf8, store_tag = new.store_tag, upload = NULL, upload_expires_ms = NULL
        FROM old JOIN new ON new.id = old.id WHERE a.id = old.id
        RETURNING {}, old.charged_bytes AS before
    ), paid AS (
        UPDATE attache.usage u
        SET attachments = u.attachments + due.rows, ready_bytes = (u.ready_bytes + due.size)::int8,
            reserved_bytes = (u.reserved_bytes - due.before)::int8
        FROM (SELECT count(*) AS rows, sum(size) AS size, sum(before) AS before FROM up) due
        WHERE u.slot = 0 AND due.rows > 0 RETURNING 1
    )
    SELECT {COLUMNS} FROM up",
        columns_of_a()
    )
}

pub(super) struct Commit {
    pub(super) id: AttachmentId,
    pub(super) stored: Stored,
}

#[async_trait]
impl Write for Commit {
    type Done = Attachment;

    const NAME: &'static str = "commit";

    fn id(&self) -> &AttachmentId {
        &self.id
    }

    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<Attachment>>, Failure> {
        let mut sizes = Vec::new();
        for write in writes {
            sizes.push(signed(write.stored.size)?);
        }
        let each = || writes.iter().map(|write| &write.stored);
        let ask = Ask::new(commit())
            .texts(writes.iter().map(|write| write.id.to_string()))
            .ints(sizes)
            .some_all_bytes(each().map(|stored| stored.sha256.map(|hex| hex.0.to_vec())))
            .some_all_bytes(each().map(|stored| stored.md5.map(|hex| hex.0.to_vec())))
            .some_all_bytes(each().map(|stored| stored.crc64.map(|crc| crc.to_be_bytes().to_vec())))
            .some_bools(each().map(|stored| stored.utf8))
            .some_texts(each().map(|stored| stored.store_tag.clone()))
            .text(database.me());
        let mut ready = HashMap::new();
        for row in &database.pool.ask_until(&ask, end).await?.rows {
            let attachment = attachment(row)?;
            ready.insert(attachment.id.clone(), attachment);
        }
        if ready.len() < writes.len() {
            // "No row" is no answer yet: a repeated call that waited for the first one sees the tables as they were before it. Taken
            // for "not found", its caller would remove the bytes of an attachment.
            let missing = writes.iter().map(|write| write.id.to_string());
            let ask = Ask::new(format!(
                "SELECT {COLUMNS} FROM attache.attachments WHERE id = ANY($1) AND state = 'ready'"
            ))
            .texts(missing);
            for row in &database.pool.ask_until(&ask, end).await?.rows {
                let attachment = attachment(row)?;
                ready.entry(attachment.id.clone()).or_insert(attachment);
            }
        }
        let outcomes = writes.iter().map(|write| {
            let found = ready.remove(&write.id).filter(|found| {
                found.size == write.stored.size && Some(found.sha256) == write.stored.sha256
            });
            found.ok_or_else(refusal::not_pending)
        });
        Ok(outcomes.collect())
    }
}
