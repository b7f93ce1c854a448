//! The one order in which bytes go: out of sight, gone, forgotten. Nobody else calls `retire`, `abandon` or `forget`.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};

use super::locks::RemovalLock;
use super::unsettled::{Leftover, Pending};
use super::{Attache, MAX_PAGE, Parts};
use crate::access::Owners;
use crate::attachment::{AttachmentId, ObjectKey, Owner};
use crate::catalog::{Abandoned, Page};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::trace;

/// Most ids of one bulk deletion.
pub const MAX_BULK: usize = 1000;

/// Most attachments that one deletion of an owner deletes.
pub const MAX_OWNED: usize = 10 * MAX_BULK;

/// Deletions of a bulk that run at a time.
const BULK_CONCURRENCY: usize = 8;

/// What is taken away, and with it what there may be in the store under its key.
pub(super) enum Removal<'a> {
    /// What the caller wants gone, whatever it is by now: an object with its snapshots.
    Attachment,
    /// An upload of this process that failed, and what it may have sent under this key, also if its row has gone meanwhile; `None`
    /// if it has sent nothing.
    Upload(Option<&'a ObjectKey>),
    /// What a sweep has taken over: an object, or a failed upload, whose parts nobody sees.
    Interrupted,
}

impl Attache {
    /// Takes an id away: out of sight, its bytes gone, forgotten; `false` if there was no row.
    ///
    /// `retired` is called as soon as the row says what is to be done: from then on any sweep finishes what fails here.
    /// Every step may be repeated.
    pub(super) async fn take_away(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        _lock: RemovalLock<'_>,
        removal: Removal<'_>,
        retired: impl FnOnce(),
    ) -> Result<bool> {
        let catalog = &self.0.catalog;
        // What fails at the catalog may have happened. No other process looks at it, so this one does, in seconds.
        let note = |error: Error| {
            self.0.unsettled.note(id);
            error
        };
        let row = match removal {
            Removal::Attachment => catalog.retire(id).await.map_err(note)?,
            // Only what is this process's own: another one may have taken it for dead, and finished its upload.
            Removal::Upload(_) | Removal::Interrupted => match catalog.abandon(id).await? {
                Abandoned::Retired(key) => Some(key),
                Abandoned::Gone => None,
                Abandoned::Kept => {
                    retired();
                    return Ok(false);
                }
            },
        };
        retired();
        match (removal, &row) {
            (Removal::Upload(key), _) => {
                if let Some(key) = key {
                    parts.storage.discard(key).await?;
                }
            }
            // Somebody else was faster.
            (_, None) => return Ok(false),
            (Removal::Attachment, Some(key)) => {
                self.abort_parts(parts, id).await?;
                parts.storage.delete(key).await?;
            }
            (Removal::Interrupted, Some(key)) => {
                self.abort_parts(parts, id).await?;
                parts.storage.discard(key).await?;
            }
        }
        // Retired rows are looked at by every sweep, which deletes what has come meanwhile.
        if !self.may_still_come(id).await? {
            catalog.forget(id).await.map_err(note)?;
        }
        Ok(row.is_some())
    }

    /// Removes the parts of an upload that outlived its requests.
    async fn abort_parts(&self, parts: &Parts, id: &AttachmentId) -> Result<()> {
        let (Some(partial), Some(store)) = (self.0.catalog.partial(), parts.storage.multipart())
        else {
            return Ok(());
        };
        match partial.upload_of(id).await? {
            Some(upload) => store.abort(&upload).await,
            None => Ok(()),
        }
    }

    /// Takes back an upload whose catalog failed, which may fail again: its sender does not wait for that. A
    /// [close](Self::close) does.
    pub(super) fn undo_later(&self, parts: &Arc<Parts>, id: &AttachmentId, pending: Pending<'_>) {
        let (this, parts, id) = (self.clone(), parts.clone(), id.clone());
        pending.settled();
        self.0.tasks.spawn(trace::carried(async move {
            let left = Leftover::Upload(None);
            let pending = this.0.unsettled.pending(&id, left);
            this.undo(&parts, &id, pending, None).await;
        }));
    }

    /// Takes back an upload that failed. What cannot be taken back now is left for the sweep.
    pub(super) async fn undo(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        pending: Pending<'_>,
        sent: Option<&ObjectKey>,
    ) {
        let lock = self.0.removal_locks.lock(id).await;
        let settle = || pending.settled();
        let removal = Removal::Upload(sent);
        if let Err(error) = self.take_away(parts, id, lock, removal, settle).await {
            tracing::warn!(%id, error = error.report(), "a failed upload is left for the sweep");
        }
    }

    /// Deletes an attachment: bytes, snapshots and record. One that is not there is success. Runs to its end even if this
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// Those of storage and catalog, [`Retained`](ErrorKind::Retained) where a policy of the store keeps the bytes. The
    /// attachment is out of sight then, and the sweep finishes.
    pub async fn delete(&self, id: &AttachmentId) -> Result<()> {
        self.remove(id).await.map(|_| ())
    }

    /// Deletes as [`delete`](Self::delete), and returns whether there was anything.
    async fn remove(&self, id: &AttachmentId) -> Result<bool> {
        let (this, id, parts) = (self.clone(), id.clone(), self.parts());
        let task = self.0.tasks.spawn(trace::carried(async move {
            let started = this.start("delete");
            let outcome = async {
                this.in_place(&parts).await?;
                let lock = this.0.removal_locks.lock(&id).await;
                let removal = this.take_away(&parts, &id, lock, Removal::Attachment, || {});
                removal.await.map_err(kept)
            }
            .await;
            this.count("delete", &parts, started, &outcome);
            outcome.map_err(|error: Error| error.during("delete", id.as_str()))
        }));
        task.await
            .map_err(|error| Error::internal("the deletion task failed").with_source(error))?
    }

    /// Deletes several attachments; a result for each. `true` means that there was something to delete.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] for more than [`MAX_BULK`] ids.
    pub async fn delete_all(
        &self,
        ids: Vec<AttachmentId>,
    ) -> Result<Vec<(AttachmentId, Result<bool>)>> {
        if ids.len() > MAX_BULK {
            return Err(Error::bad_request(format!(
                "at most {MAX_BULK} ids at a time"
            )));
        }
        let results = stream::iter(ids)
            .map(|id| async {
                let outcome = self.remove(&id).await;
                (id, outcome)
            })
            .buffered(BULK_CONCURRENCY)
            .collect()
            .await;
        Ok(results)
    }

    /// Deletes what belongs to `owner`; a result for each, in pages of [`MAX_PAGE`], until nothing is left or a page brings no
    /// progress, but at most [`MAX_OWNED`]: whoever gets as many asks again.
    ///
    /// # Errors
    ///
    /// Those of the catalog.
    pub async fn delete_owned(&self, owner: &Owner) -> Result<Vec<(AttachmentId, Result<bool>)>> {
        let mut results = Vec::new();
        loop {
            let page = Page {
                owner: Some(owner.clone()),
                visible: Owners::all(),
                after: None,
                limit: MAX_PAGE,
            };
            let found = self.0.catalog.list(&page).await?;
            let ids: Vec<_> = found.into_iter().map(|attachment| attachment.id).collect();
            let last = ids.len() < MAX_BULK;
            let done = self.delete_all(ids).await?;
            // What a policy of the store keeps is out of sight, so the next page has others.
            let gone = |outcome: &Result<bool>| match outcome {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::Retained,
            };
            let progress = done.iter().any(|(_, outcome)| gone(outcome));
            results.extend(done);
            if last || !progress || results.len() >= MAX_OWNED {
                return Ok(results);
            }
        }
    }
}

/// A deletion that the store refuses is done as far as anybody can see.
fn kept(error: Error) -> Error {
    if error.kind() != ErrorKind::Retained {
        return error;
    }
    let text = format!(
        "the attachment is hidden from everybody, but {}; every sweep tries again to delete the bytes",
        error.detail()
    );
    Error::new(ErrorKind::Retained, text).with_source(error)
}
