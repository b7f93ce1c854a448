//! Whether a file may be uploaded now.

use serde::Serialize;

use super::Attache;
use crate::error::{ErrorKind, Result};

/// Whether a file may be uploaded now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadLimits {
    /// It may.
    pub uploadable: bool,
    /// Why not, as the code of an error.
    pub reason: Option<&'static str>,
    /// Largest file.
    pub max_file_bytes: Option<u64>,
    /// All files together.
    pub total_bytes: Option<u64>,
    /// Bytes that are used or reserved.
    pub used_bytes: u64,
}

impl Attache {
    /// Whether a file of `size` bytes could be uploaded now.
    ///
    /// # Errors
    ///
    /// Those of the catalog.
    pub async fn limits(&self, size: Option<u64>) -> Result<UploadLimits> {
        let parts = self.parts();
        let limits = &parts.config.upload;
        let totals = self.0.catalog.totals().await?;
        let used_bytes = totals.bytes + totals.reserved_bytes;
        let size = size.unwrap_or(0);
        let reason = if limits.max_file_bytes.is_some_and(|max| size > max) {
            Some(ErrorKind::TooLarge.code())
        } else if limits
            .total_bytes
            .is_some_and(|total| used_bytes.saturating_add(size) > total)
        {
            Some(ErrorKind::QuotaExceeded.code())
        } else {
            None
        };
        Ok(UploadLimits {
            uploadable: reason.is_none(),
            reason,
            max_file_bytes: limits.max_file_bytes,
            total_bytes: limits.total_bytes,
            used_bytes,
        })
    }
}
