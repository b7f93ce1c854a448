//! A catalog that counts how often it is asked for an attachment. The server's own tests use it, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use attache::attachment::AttachmentId;
use attache::attachment::ObjectKey;
use attache::catalog::workers::Replica;
use attache::catalog::{Abandoned, Begun, Catalog, Draft, Page, Totals, Unfinished};
use attache::storage::Stored;
use attache::{Attachment, Result};
use time::OffsetDateTime;

#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn Catalog>,
    looked_up: AtomicUsize,
}

impl Counting {
    pub(crate) fn over(inner: impl Catalog) -> Self {
        Self {
            inner: Arc::new(inner),
            looked_up: AtomicUsize::new(0),
        }
    }

    /// How often somebody asked for an attachment since this was last called.
    pub(crate) fn look_ups(&self) -> usize {
        self.looked_up.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl Catalog for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        self.inner.begin(draft).await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        self.inner.reserve(id, bytes, quota).await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        self.inner.commit(id, stored).await
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        self.looked_up.fetch_add(1, Ordering::SeqCst);
        self.inner.find(id).await
    }

    async fn find_uncached(&self, id: &AttachmentId) -> Result<Attachment> {
        self.looked_up.fetch_add(1, Ordering::SeqCst);
        self.inner.find_uncached(id).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        self.inner.list(page).await
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        self.inner.retire(id).await
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        self.inner.abandon(id).await
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.inner.forget(id).await
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        self.inner.unfinished(after, limit).await
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        self.inner.take_over(id, now).await
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        self.inner.replicas().await
    }

    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        self.inner.list_by_key(after, limit).await
    }

    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool> {
        self.inner.is_referenced(key).await
    }

    async fn restore(&self, attachment: &Attachment) -> Result<()> {
        self.inner.restore(attachment).await
    }

    async fn note_store_tags(
        &self,
        tags: Vec<(AttachmentId, Option<String>)>,
    ) -> Result<Vec<bool>> {
        self.inner.note_store_tags(tags).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.inner.totals().await
    }

    async fn probe(&self) -> Result<()> {
        self.inner.probe().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
