//! Whether the store that the catalog is about is there.

use super::{Attache, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Moving, Probe};

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
        if let Some(moving) = parts.storage.moving() {
            return self.begin_moving(parts, moving).await;
        }
        let totals = self.0.catalog.totals().await?;
        match parts.storage.is_in_place(totals.attachments == 0).await? {
            true => Ok(()),
            false => Err(missing_disk(totals.attachments)),
        }
    }
}

impl Attache {
    /// Begins the new store of a move, once: the folder of the catalog remembers it. A new store that was begun and is empty again
    /// is a disk that is not mounted.
    async fn begin_moving(&self, parts: &Parts, moving: &Moving) -> Result<()> {
        let totals = self.0.catalog.totals().await?;
        if !moving.from().is_in_place(totals.attachments == 0).await? {
            return Err(missing_disk(totals.attachments).about("storage.moving_from"));
        }
        let note = parts.config.data_folder().join("moving-to");
        let place = parts.config.storage.local.root.display().to_string();
        let begun = tokio::fs::read_to_string(&note).await;
        if begun.is_ok_and(|begun| begun == place) {
            return Err(missing_disk(totals.attachments));
        }
        let cannot = |error: std::io::Error| {
            Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("cannot write {}: {error}", note.display()),
            )
            .for_operator()
        };
        if let Some(folder) = note.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(cannot)?;
        }
        match moving.to().is_in_place(true).await? {
            true => tokio::fs::write(&note, place).await.map_err(cannot),
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
