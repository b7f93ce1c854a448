//! How an upload of several requests begins.

use time::OffsetDateTime;

use super::super::upload::{facts, whole_millis};
use super::super::{Attache, Parts};
use super::store;
use crate::attachment::filename::Filename;
use crate::attachment::{AttachmentId, NewAttachment, ObjectKey, media};
use crate::catalog::Draft;
use crate::catalog::partial::{NewUpload, Upload};
use crate::error::Result;
use crate::transfer::body;
use crate::transfer::config::UploadConfig;
use crate::transfer::running::Running;

/// The largest length that may be announced: what JavaScript counts exactly. Databases count in signed numbers, and add them up.
const MAX_LENGTH: u64 = 1 << 53;

/// How many bytes an upload may have.
pub(super) fn longest(limits: &UploadConfig) -> u64 {
    limits.max_file_bytes.unwrap_or(MAX_LENGTH).min(MAX_LENGTH)
}

/// What a client says of an upload that it will bring in several requests.
#[derive(Clone, Debug, Default)]
pub struct NewPartial {
    /// What it says of the file. Its digests and its idempotency key are not used.
    pub new: NewAttachment,
    /// What it says besides, as it was sent; given back by [`Attache::find_upload`].
    pub metadata: String,
    /// Whose upload it is: for whoever asks whether somebody may go on with it.
    pub caller: String,
}

impl Attache {
    /// Begins an upload of several requests, which lasts for `upload.partial_lifetime` after each. It is a row in the catalog and
    /// nothing else, before the first byte comes; it reserves nothing of the quota, but one that could never fit is refused. An
    /// empty one is an attachment when this returns.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) and [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), by the length that is said;
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) where store or catalog take no such uploads; those of storage and catalog.
    pub async fn create_upload(&self, new: NewPartial) -> Result<Upload> {
        let parts = self.parts();
        self.takes_uploads(&parts).await?;
        let id = self.record_upload(&parts, new, false).await?;
        let upload = self.find_upload(&id).await?;
        match upload.is_whole() {
            true => self.finished(upload).await,
            false => Ok(upload),
        }
    }

    pub(super) async fn record_upload(
        &self,
        parts: &Parts,
        partial: NewPartial,
        direct: bool,
    ) -> Result<AttachmentId> {
        let limits = &parts.config.upload;
        let NewPartial {
            new,
            metadata,
            caller,
        } = partial;
        let limit = longest(limits);
        if new.size.is_some_and(|size| size > limit) {
            return Err(body::too_large(limit));
        }
        // By claim and name alone: what the bytes say joins them when they come.
        let claim = new.content_type.as_deref();
        let content_type = media::decide(claim, &[], new.filename.as_ref());
        let filename = new
            .filename
            .unwrap_or_else(|| Filename::unnamed(media::extension(&content_type)));
        let id = AttachmentId::generate();
        let key = ObjectKey::new(&id, new.owner.is_some(), filename.extension().as_deref());
        let now = whole_millis(OffsetDateTime::now_utc());
        let draft = Draft {
            id: id.clone(),
            key: key.clone(),
            owner: new.owner,
            filename,
            content_type,
            created_by: new.created_by,
            created_at: now,
            size: new.size,
            // What comes in several requests is counted as it comes; of what does not come through us nothing is seen.
            // Without a quota there is nothing to keep a share of.
            reserve: match (direct, limits.total_bytes) {
                (true, Some(_)) => new.size.unwrap_or(0),
                _ => 0,
            },
            quota: limits.total_bytes,
            idempotency_key: None,
        };
        let content = parts.content(facts(&draft), new.size);
        let upload = store(parts)?.begin(&key, &content).await?;
        // Of a length that is not known yet MD5 is what somebody asked for, or nothing.
        let with_md5 = new.size.unwrap_or(u64::MAX) <= limits.md5_up_to(false);
        let record = NewUpload {
            upload,
            length: new.size,
            digests: Running::new(with_md5).to_bytes(),
            direct,
            metadata,
            claim: new.content_type,
            caller,
            expires_at: now + limits.partial_lifetime,
        };
        let created = self.partials()?.create(&draft, &record).await;
        created.map_err(|error| error.during("upload", id.as_str()))?;
        Ok(id)
    }
}
