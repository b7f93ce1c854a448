//! Uploads that no process owns.

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalog;
use super::ask::Ask;
use super::failure::Failure;
use super::rows::{each, get};
use super::unfinished::is_dead;
use super::uploads;
use super::worker::DEAD_AFTER;
use crate::attachment::AttachmentId;
use crate::catalog::partial::{NewUpload, PartialUpload, PartialUploads, Step, Upload};
use crate::catalog::{Draft, instant, millis, refusal, unsigned};
use crate::error::{Error, Result};
use crate::storage::multipart::{PartReceipt, UploadRef};

#[async_trait]
impl PartialUploads for PostgresCatalog {
    async fn suspend(
        &self,
        id: &AttachmentId,
        upload: &UploadRef,
        expires_at: OffsetDateTime,
    ) -> Result<()> {
        let ask = Ask::new(
            "UPDATE attache.attachments SET state = 'partial', upload = $2, upload_expires_ms = $3
             WHERE id = $1 AND (state = 'pending' AND worker = $4 OR state = 'partial' AND upload = $2) RETURNING id",
        )
        .text(id.as_str())
        .text(upload.to_string())
        .int(millis(expires_at))
        .text(self.shared.me());
        match self.write("suspend", ask).await?.is_empty() {
            true => Err(Error::not_found(id.as_str())),
            false => Ok(()),
        }
    }

    async fn resume(&self, id: &AttachmentId) -> Result<PartialUpload> {
        let now = millis(OffsetDateTime::now_utc());
        let resume = Ask::new(format!(
            "UPDATE attache.attachments a SET state = 'pending', worker = $2
             WHERE a.id = $1 AND a.upload IS NOT NULL AND a.upload_expires_ms > $3
                 AND (a.state = 'partial' OR a.state = 'pending' AND a.worker <> $2 AND {})
             RETURNING {COLUMNS}",
            is_dead("$2")
        ))
        .text(id.as_str())
        .text(self.shared.me())
        .int(now);
        let shared = self.shared.clone();
        let id = id.clone();
        self.task("resume", async move {
            let answer = shared.pool.ask(&resume).await?;
            if let Some(row) = answer.rows.first() {
                return partial(row);
            }
            let look = Ask::new(format!(
                "SELECT {COLUMNS}, worker = $2 FROM attache.attachments a
                 WHERE a.id = $1 AND a.upload IS NOT NULL AND a.upload_expires_ms > $3 AND a.state IN ('pending', 'partial')"
            ))
            .text(id.as_str())
            .text(shared.me())
            .int(now);
            let rows = shared.pool.ask(&look).await?.rows;
            match rows.first() {
                // The first try happened, and its answer was lost.
                Some(row) if answer.repeated && get::<bool>(row, 10)? => partial(row),
                Some(_) => Err(refusal::upload_in_use().into()),
                None => Err(Error::not_found(id.as_str()).into()),
            }
        })
        .await
    }

    async fn expired(
        &self,
        now: OffsetDateTime,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>> {
        let ask = Ask::new(format!(
            "SELECT id FROM attache.attachments a WHERE upload IS NOT NULL AND id > $1 AND upload_expires_ms <= $2
                 AND (state = 'partial' AND NOT EXISTS (SELECT FROM attache.uploads u JOIN attache.workers w ON w.id = u.worker
                         WHERE u.id = a.id AND w.seen_at > clock_timestamp() - {DEAD_AFTER})
                     OR state = 'pending' AND worker <> $4 AND {})
             ORDER BY id LIMIT $3",
            is_dead("$4")
        ))
        .text(after.map_or_else(String::new, ToString::to_string))
        .int(millis(now))
        .int(i64::from(limit))
        .text(self.shared.me())
        .long();
        let rows = self.read("expired", &ask).await?;
        let ids = rows.iter().map(|row| Ok(get::<String>(row, 0)?.parse()?));
        ids.collect::<Result<_, Failure>>()
            .map_err(|failure| failure.into_error("expired"))
    }

    async fn upload_of(&self, id: &AttachmentId) -> Result<Option<UploadRef>> {
        let ask =
            Ask::new("SELECT upload FROM attache.attachments WHERE id = $1").text(id.as_str());
        let rows = self.read("upload_of", &ask).await?;
        let upload = match rows.first() {
            Some(row) => get::<Option<String>>(row, 0).map_err(|f| f.into_error("upload_of"))?,
            None => None,
        };
        upload.map(|text| text.parse()).transpose()
    }

    async fn create(&self, draft: &Draft, new: &NewUpload) -> Result<()> {
        let (shared, draft, new) = (self.shared.clone(), draft.clone(), new.clone());
        self.task("create", async move {
            uploads::create(&shared, &draft, &new).await
        })
        .await?
    }

    async fn look(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<Upload> {
        let look = uploads::look(&self.shared, id, now).await;
        look.map_err(|failure| failure.into_error("look"))
    }

    async fn take(
        &self,
        id: &AttachmentId,
        now: OffsetDateTime,
        force: bool,
    ) -> Result<Option<Upload>> {
        let (shared, id) = (self.shared.clone(), id.clone());
        self.task("take", async move {
            uploads::take(&shared, &id, now, force).await
        })
        .await
    }

    async fn advance(&self, id: &AttachmentId, step: &Step) -> Result<()> {
        let (shared, id, step) = (self.shared.clone(), id.clone(), step.clone());
        self.task("advance", async move {
            uploads::advance(&shared, &id, &step).await
        })
        .await?
    }

    async fn release(&self, id: &AttachmentId, epoch: u64) -> Result<()> {
        self.write("release", uploads::release(id, epoch)?).await?;
        Ok(())
    }

    async fn contested(&self, held: &[(AttachmentId, u64)]) -> Result<Vec<AttachmentId>> {
        let contested = uploads::contested(&self.shared, held).await;
        contested.map_err(|failure| failure.into_error("contested"))
    }

    async fn receipts(&self, id: &AttachmentId) -> Result<Vec<PartReceipt>> {
        let receipts = uploads::receipts(&self.shared, id).await;
        receipts.map_err(|failure| failure.into_error("receipts"))
    }

    async fn completed(&self, id: &AttachmentId, until: OffsetDateTime) -> Result<()> {
        self.write("completed", uploads::completed(id, until))
            .await?;
        Ok(())
    }

    async fn forget_completed(&self, now: OffsetDateTime) -> Result<u64> {
        let forget = uploads::forget_completed(now);
        Ok(self.write("forget_completed", forget).await?.len() as u64)
    }

    async fn whole(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<AttachmentId>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let ask = uploads::whole(self.shared.me(), &after, limit);
        let rows = self.read("whole", &ask).await?;
        each("whole", &rows, |row| Ok(get::<String>(row, 0)?.parse()?))
    }

    async fn waiting(&self, after: Option<&AttachmentId>, limit: u32) -> Result<Vec<Upload>> {
        let after = after.map_or_else(String::new, ToString::to_string);
        let rows = self
            .read("waiting", &uploads::waiting(&after, limit))
            .await?;
        each("waiting", &rows, uploads::upload)
    }

    async fn direct_since(&self, id: &AttachmentId) -> Result<Option<OffsetDateTime>> {
        let rows = self
            .read("direct_since", &uploads::direct_since(id))
            .await?;
        let begun = each("direct_since", &rows, |row| Ok(instant(get(row, 0)?)?))?;
        Ok(begun.into_iter().next())
    }

    async fn count_waiting(&self) -> Result<u64> {
        let rows = self
            .read("count_waiting", &uploads::count_waiting())
            .await?;
        let counts = each("count_waiting", &rows, |row| Ok(unsigned(get(row, 0)?)))?;
        Ok(counts.into_iter().sum())
    }
}

const COLUMNS: &str = "a.id, a.object_key, a.upload, a.upload_expires_ms, a.owner, a.filename, a.content_type, a.created_by, \
                       a.created_at_ms, a.charged_bytes";

fn partial(row: &Row) -> Result<PartialUpload, Failure> {
    let optional = |column: usize| get::<Option<String>>(row, column);
    Ok(PartialUpload {
        id: get::<String>(row, 0)?.parse()?,
        key: get::<String>(row, 1)?.parse()?,
        upload: get::<String>(row, 2)?.parse()?,
        expires_at: instant(get(row, 3)?)?,
        owner: optional(4)?.map(|text| text.parse()).transpose()?,
        filename: get::<String>(row, 5)?.into(),
        content_type: get(row, 6)?,
        created_by: optional(7)?.map(|text| text.parse()).transpose()?,
        created_at: instant(get(row, 8)?)?,
        reserved: unsigned(get(row, 9)?),
    })
}
