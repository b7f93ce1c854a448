//! Whether the store that the catalog is about is there.

use std::time::Duration;

use super::{Attache, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::config::Backend;
use crate::storage::moving::old_is_late;
use crate::storage::{Moving, Probe, Storage};

/// How long somebody who asks for it waits for a store that is emptied.
const OLD_PROBE_TIME: Duration = Duration::from_secs(15);

/// How long [`Attache::ready`] waits for the disk of such a store, after the store was asked for 2 s: load balancers wait for 5 s.
const OLD_DISK_TIME: Duration = Duration::from_secs(1);

impl Attache {
    /// Whether storage and catalog can be used now.
    ///
    /// # Errors
    ///
    /// What is wrong, naming the setting to change.
    pub async fn ready(&self) -> Result<Probe> {
        self.0.catalog.probe().await?;
        let parts = self.parts();
        self.takes_uploads(&parts).await?;
        let mut probe = parts.storage.probe().await?;
        if let Some(moving) = parts.storage.moving()
            && let Err(error) = self.old_in_place_within(OLD_DISK_TIME, moving).await
        {
            // A balancer that took every replica out would take away what has moved, too.
            probe.summary = format!(
                "{}; {error}; what has not been moved cannot be read",
                probe.summary
            );
        }
        Ok(probe)
    }

    /// Whether the store that takes what is uploaded is the one that the catalog tells of: of a move, the new one.
    ///
    /// # Errors
    ///
    /// As [`in_place`](Self::in_place).
    pub(super) async fn takes_uploads(&self, parts: &Parts) -> Result<()> {
        match parts.storage.moving() {
            Some(moving) => self.new_in_place(parts, &**moving.to()).await,
            None => self.one_in_place(&*parts.storage).await,
        }
    }

    /// Whether the store that is emptied can be used; `None` if nothing is moved. Servers serve without it what has moved.
    pub async fn old_store(&self) -> Option<Result<Probe>> {
        let parts = self.parts();
        let moving = parts.storage.moving()?;
        Some(self.probe_old(moving).await)
    }

    /// What is wrong with the store that is emptied, or what it says.
    pub(super) async fn probe_old(&self, moving: &Moving) -> Result<Probe> {
        let probe = moving.probe_from(OLD_PROBE_TIME).await?;
        self.old_in_place_within(OLD_PROBE_TIME, moving).await?;
        Ok(probe)
    }

    /// As [`old_in_place`](Self::old_in_place), for so long at most: a disk of a network that is away lets everybody wait.
    async fn old_in_place_within(&self, patience: Duration, moving: &Moving) -> Result<()> {
        let in_place = tokio::time::timeout(patience, self.old_in_place(moving)).await;
        in_place.unwrap_or_else(|_| Err(old_is_late(patience)))
    }

    /// Whether the store that is emptied is there.
    ///
    /// # Errors
    ///
    /// As [`in_place`](Self::in_place).
    async fn old_in_place(&self, moving: &Moving) -> Result<()> {
        let old = self.one_in_place(&**moving.from()).await;
        old.map_err(|error| error.about("storage.moving_from"))
    }

    /// Whether the store is the one that the catalog tells of; of a move, both. Bytes that are put into the empty folder of a disk that is not
    /// mounted are lost when it is, and those that are deleted there are not deleted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamUnavailable`].
    pub(super) async fn in_place(&self, parts: &Parts) -> Result<()> {
        if let Some(moving) = parts.storage.moving() {
            self.old_in_place(moving).await?;
        }
        self.takes_uploads(parts).await
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
