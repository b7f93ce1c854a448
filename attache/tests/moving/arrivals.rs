//! Objects that a move has brought are noted many at a time: whenever a mover stops, an attachment that was deleted meanwhile leaves no
//! object in the new store.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;
use attache::attachment::{AttachmentId, ByteRange, ObjectKey};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Content, Object, ObjectInfo, Probe, Stored};
use attache::transfer::body::Body;
use futures::stream::BoxStream;
use tokio::sync::{Barrier, Notify};

use super::*;

/// A new store that objects come into in an order of the test's.
#[derive(Debug)]
struct Watched {
    inner: MemoryStorage,
    attache: OnceLock<Attache>,
    /// Attachments that somebody deletes while their bytes are on their way, so that the deletion finds nothing here.
    deleted_meanwhile: Mutex<Vec<AttachmentId>>,
    /// What cannot be taken away once it has come.
    stuck: Mutex<HashSet<ObjectKey>>,
    /// What never comes.
    slow: Mutex<HashSet<ObjectKey>>,
    /// Those that come, come together.
    together: Barrier,
    came: Notify,
}

impl Watched {
    async fn has(&self, row: &Attachment) -> bool {
        self.inner.head(&row.key).await.expect("asked").is_some()
    }
}

#[async_trait]
impl Storage for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> attache::Result<Stored> {
        if self.slow.lock().expect("not poisoned").contains(key) {
            return std::future::pending().await;
        }
        let deleted = {
            let deleted = self.deleted_meanwhile.lock().expect("not poisoned");
            deleted.iter().find(|id| key.id() == **id).cloned()
        };
        if let Some(id) = deleted {
            let attache = self.attache.get().expect("it is open");
            attache.delete(&id).await?;
        }
        self.together.wait().await;
        let stored = self.inner.put(key, content, body).await;
        self.came.notify_one();
        stored
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> attache::Result<Object> {
        self.inner.get(key, range).await
    }

    async fn delete(&self, key: &ObjectKey) -> attache::Result<()> {
        let is_stuck = self.stuck.lock().expect("not poisoned").contains(key);
        if is_stuck && self.inner.head(key).await?.is_some() {
            return Err(attache::Error::new(
                ErrorKind::UpstreamUnavailable,
                "on order",
            ));
        }
        self.inner.delete(key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, attache::Result<ObjectInfo>> {
        self.inner.list(after)
    }

    async fn probe(&self) -> attache::Result<Probe> {
        self.inner.probe().await
    }

    async fn discard(&self, key: &ObjectKey) -> attache::Result<()> {
        self.inner.discard(key).await
    }
}

/// Two attachments in an old store, and the new one.
async fn two() -> (tempfile::TempDir, Attache, Arc<Watched>, [Attachment; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let old: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let open = async |storage| over(folder.path(), StorageSections::default(), storage).await;
    let first = open(old.clone()).await;
    let rows = [
        upload(&first, pattern(1000, 1)).await,
        upload(&first, pattern(1000, 2)).await,
    ];
    first.close(Duration::ZERO).await;
    let new = Arc::new(Watched {
        inner: MemoryStorage::new(),
        attache: OnceLock::new(),
        deleted_meanwhile: Mutex::default(),
        stuck: Mutex::default(),
        slow: Mutex::default(),
        together: Barrier::new(2),
        came: Notify::new(),
    });
    let attache = open(Arc::new(Moving::new(new.clone(), old))).await;
    new.attache.set(attache.clone()).expect("once");
    (folder, attache, new, rows)
}

fn set<T>(of: &Mutex<T>, to: T) {
    *of.lock().expect("not poisoned") = to;
}

fn ids(rows: &[Attachment; 2]) -> Vec<AttachmentId> {
    rows.iter().map(|row| row.id.clone()).collect()
}

#[tokio::test]
async fn one_that_came_is_told_while_another_is_still_on_its_way() {
    let (_folder, attache, new, [one, other]) = two().await;
    set(&new.slow, HashSet::from([other.key.clone()]));
    let mut walk = attache.move_objects(MoveOptions::default());
    let (first, _) = futures::join!(walk.try_next(), new.together.wait());
    let moved = first.expect("moves").expect("one");
    assert_eq!((moved.attachment, moved.outcome), (one, MoveOutcome::Moved));
}

#[tokio::test]
async fn all_that_were_deleted_meanwhile_go_also_where_the_first_cannot() {
    let (_folder, attache, new, rows) = two().await;
    set(&new.deleted_meanwhile, ids(&rows));
    let [one, other] = rows;
    set(&new.stuck, HashSet::from([one.key.clone()]));
    let moved = moved(&attache, MoveOptions::default()).await;
    let error = moved.expect_err("one of them stays");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(new.has(&one).await);
    assert!(!new.has(&other).await);
}

#[tokio::test]
async fn what_a_move_that_is_given_up_has_brought_is_noted_all_the_same() {
    let (_folder, attache, new, rows) = two().await;
    set(&new.deleted_meanwhile, ids(&rows));
    let [one, other] = rows;
    let mut walk = attache.move_objects(MoveOptions::default());
    tokio::select! {
        biased;
        told = walk.try_next() => panic!("it was noted at once: {told:?}"),
        () = new.came.notified() => drop(walk),
    }
    attache.close(Duration::from_secs(60)).await;
    assert!(!new.has(&one).await && !new.has(&other).await);
}
