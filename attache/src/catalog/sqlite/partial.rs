//! Uploads that no process owns.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::failure::Failure;
use super::{SqliteCatalog, uploads};
use crate::attachment::AttachmentId;
use crate::catalog::partial::{NewUpload, PartialUpload, PartialUploads, Step, Upload};
use crate::catalog::{Draft, instant, millis, refusal, unsigned};
use crate::error::{Error, Result};
use crate::storage::multipart::{PartReceipt, UploadRef};

#[async_trait]
impl PartialUploads for SqliteCatalog {
    async fn suspend(
        &self,
        id: &AttachmentId,
        upload: &UploadRef,
        expires_at: OffsetDateTime,
    ) -> Result<()> {
        let (id, upload) = (id.clone(), upload.to_string());
        let workers = self.workers();
        self.write("suspend", move |connection| {
            let changed = connection
                .prepare_cached(
                    "UPDATE attachments SET state = 'partial', upload = ?2, upload_expires_ms = ?3 WHERE id = ?1 \
                     AND (state = 'pending' AND worker = ?4 OR state = 'partial' AND upload = ?2)",
                )?
                .execute(params![id.as_str(), upload, millis(expires_at), workers.me()])?;
            match changed {
                0 => Err(Error::not_found(id.as_str()).into()),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn resume(&self, id: &AttachmentId) -> Result<PartialUpload> {
        let id = id.clone();
        let workers = self.workers();
        let now = OffsetDateTime::now_utc();
        self.write("resume", move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT state, worker, id, object_key, upload, upload_expires_ms, owner, filename, content_type, \
                     created_by, created_at_ms, charged_bytes FROM attachments WHERE id = ?1 AND upload IS NOT NULL \
                     AND state IN ('pending', 'partial')",
                )?
                .query_row([id.as_str()], |row| {
                    let state: String = row.get(0)?;
                    Ok((state, row.get::<_, String>(1)?, partial(row)))
                })
                .optional()?;
            let Some((state, worker, partial)) = found else {
                return Err(Error::not_found(id.as_str()).into());
            };
            let partial = partial?;
            if partial.expires_at <= now {
                return Err(Error::not_found(id.as_str()).into());
            }
            if state == "pending" && workers.is_alive(&worker) {
                return Err(refusal::upload_in_use().into());
            }
            connection
                .prepare_cached("UPDATE attachments SET state = 'pending', worker = ?2 WHERE id = ?1")?
                .execute(params![id.as_str(), workers.me()])?;
            Ok(partial)
        })
        .await
    }

    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let workers = self.workers();
        self.read_many("expired", move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT a.id, a.state, a.worker, u.worker FROM attachments a LEFT JOIN uploads u ON u.id = a.id \
                 WHERE a.upload IS NOT NULL AND a.id > ?1 AND a.state IN ('pending', 'partial') \
                 AND a.upload_expires_ms <= ?2 ORDER BY a.id",
            )?;
            let rows = statement.query(params![after, millis(now)])?;
            uploads::free(rows, limit, &*workers)
        })
        .await
    }

    async fn upload_of(&self, id: &AttachmentId) -> Result<Option<UploadRef>> {
        let id = id.clone();
        self.read("upload_of", move |connection| {
            let upload: Option<Option<String>> = connection
                .prepare_cached("SELECT upload FROM attachments WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))
                .optional()?;
            Ok(upload.flatten().map(|text| text.parse()).transpose()?)
        })
        .await
    }

    async fn create(&self, draft: &Draft, new: &NewUpload) -> Result<()> {
        let (draft, new) = (draft.clone(), new.clone());
        let workers = self.workers();
        self.write("create", move |connection| {
            uploads::create(connection, &draft, &new, workers.me())
        })
        .await
    }

    async fn look(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<Upload> {
        let id = id.clone();
        self.read("look", move |connection| {
            uploads::look(connection, &id, now)
        })
        .await
    }

    async fn take(
        &self,
        id: &AttachmentId,
        now: OffsetDateTime,
        force: bool,
    ) -> Result<Option<Upload>> {
        let id = id.clone();
        let workers = self.workers();
        self.write("take", move |connection| {
            uploads::take(connection, &id, now, force, &*workers)
        })
        .await
    }

    async fn advance(&self, id: &AttachmentId, step: &Step) -> Result<()> {
        let (id, step) = (id.clone(), step.clone());
        self.write("advance", move |connection| {
            uploads::advance(connection, &id, &step)
        })
        .await
    }

    async fn release(&self, id: &AttachmentId, epoch: u64) -> Result<()> {
        let id = id.clone();
        self.write("release", move |connection| {
            uploads::release(connection, &id, epoch)
        })
        .await
    }

    async fn contested(&self, held: &[(AttachmentId, u64)]) -> Result<Vec<AttachmentId>> {
        let held = held.to_vec();
        self.read("contested", move |connection| {
            uploads::contested(connection, &held)
        })
        .await
    }

    async fn receipts(&self, id: &AttachmentId) -> Result<Vec<PartReceipt>> {
        let id = id.clone();
        self.read("receipts", move |connection| {
            uploads::receipts(connection, &id)
        })
        .await
    }

    async fn completed(&self, id: &AttachmentId, until: OffsetDateTime) -> Result<()> {
        let id = id.clone();
        self.write("completed", move |connection| {
            uploads::completed(connection, &id, until)
        })
        .await
    }

    async fn forget_completed(&self, now: OffsetDateTime) -> Result<u64> {
        self.write("forget_completed", move |connection| {
            uploads::forget_completed(connection, now)
        })
        .await
    }

    async fn whole(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<AttachmentId>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let workers = self.workers();
        self.read_many("whole", move |connection| {
            uploads::whole(connection, &after, limit, &*workers)
        })
        .await
    }

    async fn waiting(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Upload>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        self.read_many("waiting", move |connection| {
            uploads::waiting(connection, &after, limit)
        })
        .await
    }

    async fn direct_since(&self, id: &AttachmentId) -> Result<Option<OffsetDateTime>> {
        let id = id.clone();
        self.read("direct_since", move |connection| {
            uploads::direct_since(connection, &id)
        })
        .await
    }

    async fn count_waiting(&self) -> Result<u64> {
        self.read("count_waiting", uploads::count_waiting).await
    }
}

/// From the third column on.
fn partial(row: &Row<'_>) -> Result<PartialUpload, Failure> {
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    Ok(PartialUpload {
        id: row.get::<_, String>(2)?.parse()?,
        key: row.get::<_, String>(3)?.parse()?,
        upload: row.get::<_, String>(4)?.parse()?,
        expires_at: instant(row.get(5)?)?,
        owner: optional(6)?.map(|text| text.parse()).transpose()?,
        filename: row.get::<_, String>(7)?.into(),
        content_type: row.get(8)?,
        created_by: optional(9)?.map(|text| text.parse()).transpose()?,
        created_at: instant(row.get(10)?)?,
        reserved: unsigned(row.get(11)?),
    })
}
