//! Uploads that are in progress while a store is emptied: what began under an earlier configuration goes to the store of that.

use super::Attache;
use super::moved::Moved;
use super::moving::{MoveOptions, nothing_to_move};
use crate::attachment::AttachmentId;
use crate::error::{Error, ErrorKind, Result};

/// Uploads in progress that are read at a time.
const UPLOADS_A_PAGE: u32 = 1000;

impl Attache {
    /// Uploads that are in progress, in this process or another one. One that began under an earlier configuration goes to the store of
    /// that. At most one for each request that runs now, and one for each that was interrupted and that no sweep has settled yet.
    ///
    /// # Errors
    ///
    /// Those of the catalog.
    pub async fn uploads_in_progress(&self) -> Result<Vec<AttachmentId>> {
        let moves = self.0.catalog.moves().ok_or_else(keeps_no_moves)?;
        let mut uploads = Vec::new();
        loop {
            let page = moves.uploading(uploads.last(), UPLOADS_A_PAGE).await?;
            let was_last = page.len() < UPLOADS_A_PAGE as usize;
            uploads.extend(page);
            if was_last {
                return Ok(uploads);
            }
        }
    }

    /// What has become of uploads that were in progress: attachments, and where their bytes are now; and how many are in progress still.
    /// Nothing is moved.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if nothing is moved; those of the catalog and of the stores.
    pub async fn became_of(&self, uploads: Vec<AttachmentId>) -> Result<(Vec<Moved>, u64)> {
        let parts = self.parts();
        if parts.storage.moving().is_none() {
            return Err(nothing_to_move());
        }
        // Those first: one that becomes an attachment between the two is found.
        let in_progress = self.uploads_in_progress().await?;
        let mover = self.mover(
            parts,
            MoveOptions {
                rate: None,
                only_look: true,
            },
        );
        let (mut became, mut still) = (Vec::new(), 0);
        for id in uploads {
            if in_progress.binary_search(&id).is_ok() {
                still += 1;
                continue;
            }
            let attachment = match self.0.catalog.find_uncached(&id).await {
                Ok(attachment) => attachment,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let outcome = mover.look(&attachment).await?;
            became.push(Moved {
                attachment,
                outcome,
            });
        }
        Ok((became, still))
    }
}

fn keeps_no_moves() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "this catalog cannot tell which uploads are in progress",
    )
}
