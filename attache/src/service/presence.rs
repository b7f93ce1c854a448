//! Whether the store that the catalog is about is there.

use super::{Attache, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::config::Backend;
use crate::storage::{Probe, Storage};

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
        match parts.storage.moving() {
            Some(moving) => {
                let old = self.one_in_place(&**moving.from()).await;
                old.map_err(|error| error.about("storage.moving_from"))?;
                self.new_in_place(parts, &**moving.to()).await
            }
            None => self.one_in_place(&*parts.storage).await,
        }
    }

    async fn one_in_place(&self, storage: &dyn Storage) -> Result<()> {
        if storage.is_in_place(false).await? {
            return Ok(());
        }
        let totals = self.0.catalog.totals().await?;
        match storage.is_in_place(totals.attachments == 0).await? {
            true => Ok(()),
            false => Err(missing_disk(totals.attachments)),
        }
    }

    /// The new store of a move, which is begun once: a note in the folder of the catalog remembers that. One that was begun and is empty
    /// again is a disk that is not mounted.
    async fn new_in_place(&self, parts: &Parts, to: &dyn Storage) -> Result<()> {
        let config = &parts.config;
        if config.storage.backend != Backend::Local {
            return self.one_in_place(to).await;
        }
        let note = config.data_folder().join("moving-to");
        let place = config.storage.local.root.display().to_string();
        let begun = tokio::fs::read_to_string(&note).await;
        let begun = begun.is_ok_and(|begun| begun == place);
        if !to.is_in_place(!begun).await? {
            let totals = self.0.catalog.totals().await?;
            return Err(missing_disk(totals.attachments));
        }
        if begun {
            return Ok(());
        }
        let noted = async {
            tokio::fs::create_dir_all(config.data_folder()).await?;
            tokio::fs::write(&note, place).await
        };
        noted.await.map_err(|error| {
            let what = format!("cannot write {}: {error}", note.display());
            Error::new(ErrorKind::UpstreamUnavailable, what).for_operator()
        })
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
