//! Uploads that no process owns.

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalog;
use super::ask::Ask;
use super::failure::Failure;
use super::rows::get;
use super::unfinished::is_dead;
use crate::attachment::AttachmentId;
use crate::catalog::partial::{PartialUpload, PartialUploads};
use crate::catalog::{instant, millis, refusal, unsigned};
use crate::error::{Error, Result};
use crate::storage::multipart::UploadRef;

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
                 AND (state = 'partial' OR state = 'pending' AND worker <> $4 AND {})
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
