//! What was found a moment ago, without asking the database again.
//!
//! A row that is `ready` never changes until it is retired, so it may be remembered. Asking SQLite costs little; waiting for
//! a thread that may block costs two switches of threads, which was more than half of the CPU of a redirect.
//!
//! Deletions by this process are known at once. Those of another process on the same database are not, so nothing is
//! believed for longer than [`MAX_STALENESS`]: for that long, a redirect of another process may still lead to an object that is
//! gone, as every URL does that was signed before. Whoever finds an object missing asks with
//! [`find_uncached`](Catalog::find_uncached), so a relay of it is "not found" and never a fault.
//!
//! While the database is away, what was found before is found for [`MAX_OUTAGE`] longer: what is being read goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::moves::MoveNotes;
use super::partial::PartialUploads;
use super::workers::Replica;
use super::{Abandoned, Begun, Catalog, Connections, Draft, Page, Totals, Unfinished};
use crate::attachment::{Attachment, AttachmentId, ObjectKey};
use crate::bounded::Bounded;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Stored;

/// How long a row is believed that nobody has asked the database for.
///
/// Long enough that what many ask for costs one read a second; so short that nobody who deletes through one process and
/// looks through another will notice.
pub const MAX_STALENESS: Duration = Duration::from_secs(1);

/// How long a row is believed while the database cannot be asked.
pub const MAX_OUTAGE: Duration = Duration::from_secs(10 * 60);

/// How long the database is asked for a row that is remembered, before it counts as away.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a database that was away is not asked for rows that are remembered.
const AWAY: Duration = Duration::from_secs(1);

/// Rows that are remembered. A row takes about half a kilobyte, two if its name is long.
const ROWS: usize = 4096;

/// A catalog that remembers what it found for [`MAX_STALENESS`]. Everything else goes to the catalog behind it.
#[derive(Debug)]
pub struct CachedCatalog {
    behind: Arc<dyn Catalog>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    rows: Bounded<AttachmentId, Row>,
    /// Retirements so far: what was read before one may be what it retired.
    retirements: u64,
    /// When the database last failed to answer.
    away: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Row {
    attachment: Arc<Attachment>,
    read: Instant,
}

impl CachedCatalog {
    /// Remembers what `behind` finds.
    pub fn over(behind: Arc<dyn Catalog>) -> Self {
        Self {
            behind,
            known: Mutex::new(Known {
                rows: Bounded::new(ROWS),
                retirements: 0,
                away: None,
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an id, and whether it may be said without asking.
    fn remembered(&self, id: &AttachmentId) -> Option<(Arc<Attachment>, bool)> {
        let known = self.known();
        let away = known.away.is_some_and(|since| since.elapsed() < AWAY);
        let row = known.rows.get(id)?.clone();
        let age = row.read.elapsed();
        let says = age < MAX_STALENESS || away && age < MAX_OUTAGE;
        (age < MAX_OUTAGE).then_some((row.attachment, says))
    }

    /// Asks the database, and remembers what it says.
    async fn ask(&self, id: &AttachmentId) -> Result<Attachment> {
        let (read, retirements) = (Instant::now(), self.known().retirements);
        let found = self.behind.find(id).await;
        let mut known = self.known();
        match &found {
            Ok(attachment) if known.retirements == retirements => {
                let row = Row {
                    attachment: Arc::new(attachment.clone()),
                    read,
                };
                known.rows.insert(id.clone(), row);
            }
            Err(error) if is_gone(error) => {
                known.rows.remove(id);
            }
            _ => {}
        }
        found
    }
}

/// Whether an error says that there is no such attachment.
fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// Whether an error says that the database cannot be asked now.
fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UpstreamUnavailable | ErrorKind::UpstreamTimeout | ErrorKind::Busy
    )
}

/// Forgets an attachment when it is dropped: after its retirement, and also if that was not awaited to its end.
struct Retirement<'a>(&'a CachedCatalog, &'a AttachmentId);

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        let mut known = self.0.known();
        known.retirements += 1;
        known.rows.remove(self.1);
    }
}

#[async_trait]
impl Catalog for CachedCatalog {
    fn name(&self) -> &'static str {
        self.behind.name()
    }

    fn partial(&self) -> Option<&dyn PartialUploads> {
        self.behind.partial()
    }

    fn moves(&self) -> Option<&dyn MoveNotes> {
        self.behind.moves()
    }

    fn connections(&self) -> Option<Connections> {
        self.behind.connections()
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        self.behind.begin(draft).await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        self.behind.reserve(id, bytes, quota).await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        self.behind.commit(id, stored).await
    }

    async fn note_store_tags(
        &self,
        tags: Vec<(AttachmentId, Option<String>)>,
    ) -> Result<Vec<bool>> {
        let ids: Vec<AttachmentId> = tags.iter().map(|(id, _)| id.clone()).collect();
        let noted = self.behind.note_store_tags(tags).await;
        let mut known = self.known();
        for id in &ids {
            known.rows.remove(id);
        }
        noted
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        let known = match self.remembered(id) {
            None => return self.ask(id).await,
            Some((attachment, true)) => return Ok(Attachment::clone(&attachment)),
            Some((attachment, false)) => attachment,
        };
        match timeout(PATIENCE, self.ask(id)).await {
            Ok(Ok(attachment)) => return Ok(attachment),
            Ok(Err(error)) if !is_away(&error) => return Err(error),
            _ => {}
        }
        let mut state = self.known();
        state.away = Some(Instant::now());
        // Retired by this process meanwhile, it is no longer known.
        match state.rows.get(id) {
            Some(_) => Ok(Attachment::clone(&known)),
            None => Err(Error::not_found(id.as_str())),
        }
    }

    async fn find_uncached(&self, id: &AttachmentId) -> Result<Attachment> {
        let found = self.behind.find_uncached(id).await;
        if found.as_ref().is_err_and(is_gone) {
            self.known().rows.remove(id);
        }
        found
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        self.behind.list(page).await
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        let _retirement = Retirement(self, id);
        self.behind.retire(id).await
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        let _retirement = Retirement(self, id);
        self.behind.abandon(id).await
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.behind.forget(id).await
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        self.behind.unfinished(after, limit).await
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        self.behind.take_over(id, now).await
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        self.behind.replicas().await
    }

    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        self.behind.list_by_key(after, limit).await
    }

    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool> {
        self.behind.is_referenced(key).await
    }

    async fn restore(&self, attachment: &Attachment) -> Result<()> {
        self.behind.restore(attachment).await
    }

    async fn check(&self) -> Result<()> {
        self.behind.check().await
    }

    async fn totals(&self) -> Result<Totals> {
        self.behind.totals().await
    }

    async fn probe(&self) -> Result<()> {
        self.behind.probe().await
    }

    async fn close(&self) {
        self.behind.close().await;
        // Nothing works after this, and what is remembered least of all.
        let mut known = self.known();
        known.retirements += 1;
        known.rows.clear();
    }
}
