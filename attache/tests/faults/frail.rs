//! A storage and a catalog that break on order, and that can lie about the order in which things happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use attache::attachment::AttachmentId;
use attache::attachment::{ByteRange, ObjectKey};
use attache::catalog::workers::Replica;
use attache::catalog::{Abandoned, Begun, Catalog, Draft, Page, Totals, Unfinished};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Content, Object, ObjectInfo, Probe, Storage, Stored};
use attache::transfer::blocks::{BlockLimits, BlockTarget};
use attache::transfer::body::{Body, Digests};
use attache::{Attachment, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use time::OffsetDateTime;

use super::fuse::Fuse;

/// One way to lie, for the tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The row is gone before the bytes are.
    ForgetsBeforeTheBytesGo,
    /// The row comes after the bytes.
    BeginsAfterTheBytesCame,
    /// What an interrupted upload left stays.
    DiscardsNothing,
    /// What is deleted stays.
    DeletesNothing,
    /// A part of the bytes is not stored.
    LosesTheTail,
}

#[derive(Debug)]
pub(crate) struct FrailStorage {
    pub(crate) inner: Arc<dyn Storage>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) lie: Option<Lie>,
}

#[async_trait]
impl Storage for FrailStorage {
    fn name(&self) -> &'static str {
        "frail"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, mut body: Body) -> Result<Stored> {
        let put = async {
            if self.lie != Some(Lie::LosesTheTail) {
                return self.inner.put(key, content, body).await;
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            bytes.truncate(bytes.len().saturating_sub(1));
            let body = Body::from_bytes(bytes).hashed(true);
            self.inner.put(key, content, body).await
        };
        self.fuse.pass("put", put).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        self.fuse.pass("get", self.inner.get(key, range)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let delete = async {
            match self.lie {
                Some(Lie::DeletesNothing) => Ok(()),
                _ => self.inner.delete(key).await,
            }
        };
        self.fuse.pass("delete", delete).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        self.inner.list(after)
    }

    async fn probe(&self) -> Result<Probe> {
        self.inner.probe().await
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        let discard = async {
            match self.lie {
                Some(Lie::DiscardsNothing) => Ok(()),
                _ => self.inner.discard(key).await,
            }
        };
        self.fuse.pass("discard", discard).await
    }

    async fn remove_temporary_files(&self) -> Result<u64> {
        self.fuse
            .pass(
                "remove_temporary_files",
                self.inner.remove_temporary_files(),
            )
            .await
    }
}

#[derive(Debug)]
pub(crate) struct FrailCatalog {
    pub(crate) inner: Arc<dyn Catalog>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) lie: Option<Lie>,
    drafts: Mutex<Vec<Draft>>,
}

impl FrailCatalog {
    pub(crate) fn new(inner: Arc<dyn Catalog>, fuse: Arc<Fuse>, lie: Option<Lie>) -> Self {
        Self {
            inner,
            fuse,
            lie,
            drafts: Mutex::default(),
        }
    }

    /// The draft that a lie kept back.
    fn draft(&self, id: &AttachmentId) -> Option<Draft> {
        let drafts = self.drafts.lock().expect("not poisoned");
        drafts.iter().find(|draft| draft.id == *id).cloned()
    }
}

#[async_trait]
impl Catalog for FrailCatalog {
    fn name(&self) -> &'static str {
        "frail"
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        let begin = async {
            if self.lie == Some(Lie::BeginsAfterTheBytesCame) {
                let mut drafts = self.drafts.lock().expect("not poisoned");
                drafts.push(draft.clone());
                return Ok(Begun::New);
            }
            self.inner.begin(draft).await
        };
        self.fuse.pass("begin", begin).await
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        let reserve = async {
            match self.draft(id) {
                Some(_) => Ok(()),
                None => self.inner.reserve(id, bytes, quota).await,
            }
        };
        self.fuse.pass("reserve", reserve).await
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        let commit = async {
            if let Some(draft) = self.draft(id) {
                self.inner.begin(&draft).await?;
            }
            self.inner.commit(id, stored).await
        };
        self.fuse.pass("commit", commit).await
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        self.fuse.pass("find", self.inner.find(id)).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        self.fuse.pass("list", self.inner.list(page)).await
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        let retire = async {
            let key = self.inner.retire(id).await?;
            if self.lie == Some(Lie::ForgetsBeforeTheBytesGo) {
                self.inner.forget(id).await?;
            }
            Ok(key)
        };
        self.fuse.pass("retire", retire).await
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        let abandon = async {
            let abandoned = self.inner.abandon(id).await?;
            if self.lie == Some(Lie::ForgetsBeforeTheBytesGo) {
                self.inner.forget(id).await?;
            }
            Ok(abandoned)
        };
        self.fuse.pass("abandon", abandon).await
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.fuse.pass("forget", self.inner.forget(id)).await
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        let unfinished = self.inner.unfinished(after, limit);
        self.fuse.pass("unfinished", unfinished).await
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        let take_over = self.inner.take_over(id, now);
        self.fuse.pass("take_over", take_over).await
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

/// Objects that are put together from blocks, as Azure's are: staged under their name until they are committed. The
/// uploader is the real one; each of its calls can break.
#[derive(Debug)]
pub(crate) struct BlockStorage {
    pub(crate) objects: MemoryStorage,
    pub(crate) staged: Mutex<BTreeMap<ObjectKey, Vec<(u32, Bytes)>>>,
    pub(crate) fuse: Arc<Fuse>,
}

impl BlockStorage {
    pub(crate) fn new(fuse: Arc<Fuse>) -> Self {
        Self {
            objects: MemoryStorage::new(),
            staged: Mutex::default(),
            fuse,
        }
    }
}

struct Target<'a> {
    storage: &'a BlockStorage,
    key: &'a ObjectKey,
    content: &'a Content,
}

#[async_trait]
impl BlockTarget for Target<'_> {
    type Receipt = u32;

    fn limits(&self) -> BlockLimits {
        BlockLimits {
            min_bytes: 1,
            max_bytes: u64::MAX,
            max_blocks: 1000,
            alike: false,
        }
    }

    async fn put_whole(&self, bytes: Bytes, _: &Digests) -> Result<()> {
        let body = Body::from_bytes(bytes).hashed(true);
        let put = self.storage.objects.put(self.key, self.content, body);
        self.storage.fuse.pass("put_whole", put).await.map(|_| ())
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<u32> {
        let put = async {
            tokio::task::yield_now().await;
            let bytes = Bytes::copy_from_slice(&bytes);
            let mut staged = self.storage.staged.lock().expect("not poisoned");
            let blocks = staged.entry(self.key.clone()).or_default();
            blocks.push((number, bytes));
            Ok(number)
        };
        self.storage.fuse.pass("put_block", put).await
    }

    async fn commit(&self, numbers: &[u32], _: &Digests) -> Result<()> {
        let commit = async {
            let staged = || self.storage.staged.lock().expect("not poisoned");
            let blocks = staged().get(self.key).cloned().unwrap_or_default();
            let bytes: Vec<u8> = numbers
                .iter()
                .flat_map(|number| {
                    &blocks
                        .iter()
                        .find(|block| block.0 == *number)
                        .expect("staged")
                        .1
                })
                .copied()
                .collect();
            let body = Body::from_bytes(bytes).hashed(true);
            self.storage
                .objects
                .put(self.key, self.content, body)
                .await?;
            staged().remove(self.key);
            Ok(())
        };
        self.storage.fuse.pass("commit_blocks", commit).await
    }

    async fn abort(&self) {
        let abort = async {
            let mut staged = self.storage.staged.lock().expect("not poisoned");
            staged.remove(self.key);
            Ok(())
        };
        let _ = self.storage.fuse.pass("abort", abort).await;
    }
}

#[async_trait]
impl Storage for BlockStorage {
    fn name(&self) -> &'static str {
        "blocks"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        let target = Target {
            storage: self,
            key,
            content,
        };
        let digests =
            attache::transfer::blocks::upload(&target, body, content.size, &content.blocks).await?;
        Ok(digests.into())
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        self.objects.get(key, range).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.objects.delete(key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        self.objects.list(after)
    }

    async fn probe(&self) -> Result<Probe> {
        self.objects.probe().await
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.staged.lock().expect("not poisoned").remove(key);
        self.objects.delete(key).await
    }
}
