//! Which rows a sweep finishes or removes.

use std::sync::PoisonError;

use time::OffsetDateTime;

use super::remove::Removal;
use super::unsettled::Leftover;
use super::{Attache, Parts};
use crate::attachment::{AttachmentId, ObjectKey, media};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::status::{LastSweep, SweepReport};
use crate::storage::Stored;
use crate::transfer::budget::RELAY_BYTES;

/// Rows that a sweep takes at a time.
const SWEEP_PAGE: u32 = 100;

impl Attache {
    /// Finishes or removes what interrupted work left behind. Safe at any time, from several processes: it touches only
    /// what no living process works on, and everything it does may be repeated.
    ///
    /// # Errors
    ///
    /// Those of the catalog. What the store refuses is counted, and left for the next sweep.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let report = self.sweep_once().await?;
        let at = OffsetDateTime::now_utc();
        let mut last = self
            .0
            .last_sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(LastSweep { at, report });
        Ok(report)
    }

    /// Finishes what processes that died have left, and what this one could not finish because its catalog failed: the part of a
    /// [`sweep`](Self::sweep) that does not wait for an hour. One read of the catalog if there is nothing.
    ///
    /// # Errors
    ///
    /// As [`sweep`](Self::sweep).
    pub async fn take_over(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        self.sweep_unsettled(&mut report).await?;
        self.sweep_unfinished(Whose::OfTheDead, &mut report).await?;
        // What cannot be finished now is counted by the sweep of the hour.
        self.sweep_whole(&mut report).await?;
        Ok(report)
    }

    async fn sweep_once(&self) -> Result<SweepReport> {
        let parts = self.parts();
        self.in_place(&parts).await?;
        let mut report = SweepReport::default();
        self.sweep_unsettled(&mut report).await?;
        self.sweep_unfinished(Whose::Any, &mut report).await?;
        let left = self.sweep_whole(&mut report).await?;
        report.failed += left;
        self.sweep_expired(&parts, &mut report).await?;
        match parts.storage.remove_temporary_files().await {
            Ok(removed) => report.litter_removed = removed,
            Err(error) => {
                report.failed += 1;
                tracing::warn!(
                    error = error.report(),
                    "sweep: temporary files are left for the next one"
                );
            }
        }
        // Rows that another sweep took over are those of a living process, and were passed by. Deletions that run are waited for, too.
        self.0.removal_locks.settled().await;
        Ok(report)
    }

    /// Looks at what ended in this process while the catalog failed.
    async fn sweep_unsettled(&self, report: &mut SweepReport) -> Result<()> {
        if self.0.unsettled.is_empty() {
            return Ok(());
        }
        let parts = self.parts();
        self.in_place(&parts).await?;
        // An id goes when it is done with, not before: this future may be dropped, or fail, at any of them.
        for (id, left) in self.0.unsettled.all() {
            let done = match self.0.catalog.find_uncached(&id).await {
                // One that turned out to be stored may have been seen, and stays.
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Its sender was told that it failed.
                    self.clean_up(&parts, &id, Interrupted::Ours(&left), report)
                        .await
                }
                Err(error) => return Err(error),
            };
            if done {
                self.0.unsettled.remove(&id);
            }
        }
        Ok(())
    }

    /// Finishes rows that no living process works on.
    async fn sweep_unfinished(&self, whose: Whose, report: &mut SweepReport) -> Result<()> {
        let parts = self.parts();
        let mut after = None;
        loop {
            let page = self
                .0
                .catalog
                .unfinished(after.as_ref(), SWEEP_PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id.clone());
            let page = page.into_iter();
            let wanted = page.filter(|row| whose == Whose::Any || !row.is_ours);
            let wanted: Vec<_> = wanted.collect();
            if !wanted.is_empty() {
                self.in_place(&parts).await?;
            }
            for row in wanted {
                let interrupted = match row.upload {
                    true => Interrupted::Upload(&row.key),
                    false => Interrupted::Deletion,
                };
                self.clean_up(&parts, &row.id, interrupted, report).await;
            }
        }
    }

    /// Makes attachments of uploads of several requests whose bytes are all there, and whose clients do not come back: they may have
    /// been told so. Returns how many it could not.
    async fn sweep_whole(&self, report: &mut SweepReport) -> Result<u64> {
        let Some(partial) = self.0.catalog.partial() else {
            return Ok(0);
        };
        let (mut after, mut left) = (None, 0);
        loop {
            let ids = partial.whole(after.as_ref(), SWEEP_PAGE).await?;
            let Some(last) = ids.last() else {
                return Ok(left);
            };
            after = Some(last.clone());
            for id in &ids {
                match self.finish_upload(id).await {
                    Ok(_) => report.uploads_completed += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        left += 1;
                        tracing::debug!(%id, error = error.report(), "sweep: an upload is left for the next one");
                    }
                }
            }
        }
    }

    /// Removes uploads that nobody has taken up in time, and what is remembered of those that are attachments.
    async fn sweep_expired(&self, parts: &Parts, report: &mut SweepReport) -> Result<()> {
        let Some(partial) = self.0.catalog.partial() else {
            return Ok(());
        };
        let now = OffsetDateTime::now_utc();
        partial.forget_completed(now).await?;
        let mut after = None;
        loop {
            let ids = partial.expired(now, after.as_ref(), SWEEP_PAGE).await?;
            let Some(last) = ids.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for id in &ids {
                self.clean_up(parts, id, Interrupted::Expired, report).await;
            }
        }
    }

    /// Finishes what was interrupted, and counts it; `false` if that failed.
    async fn clean_up(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        interrupted: Interrupted<'_>,
        report: &mut SweepReport,
    ) -> bool {
        match self.finish(parts, id, interrupted).await {
            Ok(Swept::Completed) => report.uploads_completed += 1,
            Ok(Swept::Removed) => match interrupted {
                Interrupted::Deletion => report.deletions_finished += 1,
                _ => report.uploads_removed += 1,
            },
            Ok(Swept::Nothing) => {}
            Err(error) => {
                if error.kind() == ErrorKind::Retained {
                    // For years, it may be.
                    report.retained += 1;
                    tracing::debug!(%id, error = error.report(), "sweep: left for the next one");
                } else {
                    report.failed += 1;
                    tracing::warn!(%id, error = error.report(), "sweep: left for the next one");
                }
                return false;
            }
        }
        true
    }

    /// Takes over what was interrupted, and finishes it: an upload whose bytes are whole in the store becomes an attachment,
    /// because if this catalog is a copy from a backup, its sender was told that it is one. Everything else is removed, bytes
    /// first.
    async fn finish(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        interrupted: Interrupted<'_>,
    ) -> Result<Swept> {
        let lock = self.0.removal_locks.lock(id).await;
        // An upload that was taken over is one of this process, which no other sweep finds while this process lives.
        let pending = match interrupted {
            Interrupted::Ours(_) => None,
            _ => {
                let pending = self.0.unsettled.pending(id, Leftover::Row);
                let now = OffsetDateTime::now_utc();
                if !self.0.catalog.take_over(id, now).await? {
                    pending.settled();
                    return Ok(Swept::Nothing);
                }
                Some(pending)
            }
        };
        let settle = || {
            if let Some(pending) = pending {
                pending.settled();
            }
        };
        if let Interrupted::Upload(key) = interrupted
            && self.complete(parts, id, key).await?
        {
            settle();
            return Ok(Swept::Completed);
        }
        let removal = match interrupted {
            Interrupted::Ours(Leftover::Upload(sent)) => Removal::Upload(sent.as_ref()),
            _ => Removal::Interrupted,
        };
        let removal = self.take_away(parts, id, lock, removal, settle);
        Ok(match removal.await? {
            true => Swept::Removed,
            false => Swept::Nothing,
        })
    }

    /// Makes an interrupted upload an attachment if its bytes are in the store. They are there only when they are whole.
    async fn complete(&self, parts: &Parts, id: &AttachmentId, key: &ObjectKey) -> Result<bool> {
        let Some(info) = parts.storage.head(key).await? else {
            return Ok(false);
        };
        if info.facts_size.is_some_and(|size| size != info.size) {
            return Err(Error::internal(
                "the object is not as long as its metadata says; it is left alone",
            )
            .during("sweep", key.as_str()));
        }
        let stored = match (info.sha256, info.crc64, &info.facts) {
            (Some(sha256), Some(crc64), Some(facts)) => Stored {
                size: info.size,
                sha256: Some(sha256),
                md5: info.md5,
                crc64: Some(crc64),
                utf8: Some(media::charset(&facts.content_type) == Some("utf-8")),
                store_tag: info.store_tag,
            },
            // Another tool that copied the object has dropped its metadata.
            _ => {
                let _permit = parts.budget.acquire(RELAY_BYTES).await?;
                let mut body = parts.storage.get(key, None).await?.body.hashed(true);
                while let Some(chunk) = body.next().await {
                    chunk?;
                }
                let digests = body
                    .digests()
                    .ok_or_else(|| Error::internal("the body ended without digests"))?;
                Stored {
                    store_tag: info.store_tag,
                    ..digests.into()
                }
            }
        };
        // Before the row is an attachment, whose parts nobody looks for.
        parts.storage.tidy_up(key).await?;
        match self.0.catalog.commit(id, &stored).await {
            Ok(_) => Ok(true),
            // Swept or deleted by somebody else meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Which unfinished rows a sweep looks at.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// Also deletions of this process that failed: what they failed with may be over.
    Any,
    OfTheDead,
}

/// What a sweep finds.
#[derive(Clone, Copy)]
enum Interrupted<'a> {
    /// An upload of a dead process, whose bytes may be whole under this key.
    Upload(&'a ObjectKey),
    /// A deletion: the row is retired.
    Deletion,
    /// An upload that nobody has taken up in time.
    Expired,
    /// Work of this process that ended while the catalog failed.
    Ours(&'a Leftover),
}

/// What a sweep did with a row.
enum Swept {
    /// Its bytes are whole; it is an attachment.
    Completed,
    Removed,
    /// There is no such row any more.
    Nothing,
}
