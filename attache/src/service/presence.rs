//! Whether the store that the catalog is about is there.

use super::{Attache, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Probe;

impl Attache {
    /// Whether storage and catalog can be used now.
    ///
    /// # Errors
    ///
    /// What is wrong, naming the setting to change.
    pub async fn ready(&self) -> Result<Probe> {
        self.0.catalog.probe().await?;
        let parts = self.parts();
        self.in_place(&parts).await?;
        parts.storage.probe().await
    }

    /// Whether the store is the one that the catalog tells of. Bytes that are put into the empty folder of a disk that is not
    /// mounted are lost when it is, and those that are deleted there are not deleted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamUnavailable`].
    pub(super) async fn in_place(&self, parts: &Parts) -> Result<()> {
        if parts.storage.is_in_place(false).await? {
            return Ok(());
        }
        let totals = self.0.catalog.totals().await?;
        match parts.storage.is_in_place(totals.attachments == 0).await? {
            true => Ok(()),
            false => Err(missing_disk(totals.attachments)),
        }
    }
}

/// The catalog names attachments, and the store is empty.
fn missing_disk(attachments: u64) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!(
            "the catalog names {attachments} attachments, but storage.local.root is an empty folder: is its disk mounted? If \
             the files are lost, put a copy back, or make a folder \".attache\" in it"
        ),
    )
}
