//! What becomes of an upload whose process died between the store and the catalog, or whose catalog was copied between the
//! two: bytes that are whole were acknowledged, perhaps, and are never removed.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use attache::attachment::{AttachmentId, ByteRange, ObjectKey};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Draft};
use attache::observe::status::SweepReport;
use attache::service::verify::{Finding, VerifyOptions};
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Content, Object, ObjectInfo, Probe, Storage, Stored};
use attache::transfer::body::Body;
use attache::{Attache, Config, Result};
use common::{Store, facts, fake, fresh_key, open, pattern, put, with_client_secret};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::Notify;

/// A service on `store`, over the catalog of a process that died with these uploads pending.
async fn after_a_crash(folder: &std::path::Path, store: &Store, pending: &[ObjectKey]) -> Attache {
    let path = folder.join("attache.db");
    let dead = SqliteCatalog::open(&path).expect("opened");
    for key in pending {
        let facts = facts(key);
        let draft = Draft {
            id: facts.id,
            key: key.clone(),
            owner: facts.owner,
            filename: facts.filename,
            content_type: facts.content_type,
            created_by: None,
            created_at: facts.created_at,
            size: None,
            reserve: 0,
            quota: None,
            idempotency_key: None,
        };
        dead.begin(&draft).await.expect("begun");
    }
    // Its lock goes with it, as if it had been killed.
    drop(dead);
    let catalog = Arc::new(SqliteCatalog::open(&path).expect("opened again"));
    let url = format!("sqlite://{}", path.display());
    let config = Config {
        catalog: attache::catalog::config::CatalogConfig::of(url.parse().expect("a URL")),
        ..Config::default()
    };
    Attache::with(config, store.clone(), catalog)
        .await
        .expect("opened")
}

async fn completes_what_is_whole(store: Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, empty, absent) = (fresh_key(), fresh_key(), fresh_key());
    let bytes = pattern(300_000, 1);
    put(&*store, &whole, &bytes).await.expect("stored");
    put(&*store, &empty, &pattern(0, 1)).await.expect("stored");
    let pending = [whole.clone(), empty.clone(), absent.clone()];
    let attache = after_a_crash(folder.path(), &store, &pending).await;
    let find = async |key: &ObjectKey| attache.find(&key.id()).await;
    assert!(find(&whole).await.is_err(), "not before the sweep");
    let verified: Vec<_> = attache
        .verify(VerifyOptions::default())
        .try_collect()
        .await
        .expect("verified");
    let interrupted = |key: &ObjectKey| {
        verified
            .iter()
            .any(|one| one.key == *key && one.finding == Some(Finding::Interrupted))
    };
    assert!(interrupted(&whole) && interrupted(&empty), "{verified:?}");
    let report = attache.sweep().await.expect("swept");
    let expected = SweepReport {
        uploads_completed: 2,
        uploads_removed: 1,
        ..SweepReport::default()
    };
    assert_eq!(report, expected);
    let found = find(&whole).await.expect("it is an attachment");
    assert_eq!(found.size, 300_000);
    assert_eq!(find(&empty).await.expect("it is, too").size, 0);
    assert!(find(&absent).await.is_err());
    let got = common::get(&*store, &whole, None).await.expect("read");
    assert!(got.bytes == bytes);
    assert_eq!(Some(found.sha256), got.info.sha256);
    let verified: Vec<_> = attache
        .verify(VerifyOptions {
            deep: true,
            repair: false,
        })
        .try_collect()
        .await
        .expect("verified");
    assert!(
        verified.iter().all(|one| one.finding.is_none()),
        "{verified:?}"
    );
    assert_eq!(
        attache.sweep().await.expect("swept"),
        SweepReport::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_local_disk_a_sweep_completes_what_is_whole_and_removes_the_rest() {
    let root = tempfile::tempdir().expect("a folder");
    let config = LocalConfig {
        root: root.path().to_owned(),
    };
    completes_what_is_whole(Arc::new(LocalStorage::open(&config).expect("opened"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_a_sweep_completes_what_is_whole_and_removes_the_rest() {
    completes_what_is_whole(Arc::new(MemoryStorage::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_azure_a_sweep_completes_what_is_whole_and_removes_the_rest() {
    let azure = fake().await;
    completes_what_is_whole(Arc::new(open(&with_client_secret(&azure)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3_a_sweep_completes_what_is_whole_and_removes_the_rest() {
    let s3 = common::fake_s3().await;
    completes_what_is_whole(Arc::new(common::open_s3(&common::on_s3(&s3)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_google_a_sweep_completes_what_is_whole_and_removes_the_rest() {
    let gcs = common::fake_gcs().await;
    completes_what_is_whole(Arc::new(common::open_gcs(&common::on_gcs(&gcs)))).await;
}

/// A store that does not say what it has until it may.
#[derive(Debug)]
struct Hesitant {
    inner: MemoryStorage,
    asked: Notify,
    may_answer: Notify,
    /// Somebody comes to the end of a sweep.
    tidied: Notify,
}

#[async_trait]
impl Storage for Hesitant {
    fn name(&self) -> &'static str {
        "hesitant"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        self.inner.put(key, content, body).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        self.asked.notify_one();
        self.may_answer.notified().await;
        self.inner.head(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        self.inner.list(after)
    }

    async fn probe(&self) -> Result<Probe> {
        self.inner.probe().await
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.inner.discard(key).await
    }

    async fn remove_temporary_files(&self) -> Result<u64> {
        self.tidied.notify_one();
        self.inner.remove_temporary_files().await
    }
}

#[tokio::test]
async fn a_sweep_ends_after_what_another_sweep_has_in_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = fresh_key();
    let store = Arc::new(Hesitant {
        inner: MemoryStorage::new(),
        asked: Notify::new(),
        may_answer: Notify::new(),
        tidied: Notify::new(),
    });
    put(&*store, &key, &pattern(1000, 1)).await.expect("stored");
    let shared: Store = store.clone();
    let attache = after_a_crash(folder.path(), &shared, std::slice::from_ref(&key)).await;
    let first = tokio::spawn({
        let attache = attache.clone();
        async move { attache.sweep().await }
    });
    store.asked.notified().await;

    let mut second = std::pin::pin!(attache.sweep());
    tokio::select! {
        biased;
        ended = &mut second => panic!("it ended while the first one worked: {ended:?}"),
        () = store.tidied.notified() => {}
    }
    store.may_answer.notify_one();
    let second = second.await.expect("swept");
    attache.find(&key.id()).await.expect("it is an attachment");
    assert_eq!(second, SweepReport::default(), "the first one counts it");
    let first = first.await.expect("not a panic").expect("swept");
    assert_eq!(first.uploads_completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_its_end_is_neither_completed_nor_removed() {
    let (root, folder) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let config = LocalConfig {
        root: root.path().to_owned(),
    };
    let store: Store = Arc::new(LocalStorage::open(&config).expect("opened"));
    let key = fresh_key();
    put(&*store, &key, &pattern(7_000, 1))
        .await
        .expect("stored");
    let path = root.path().join(key.as_str());
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("opened");
    file.set_len(100).expect("cut");
    let attache = after_a_crash(folder.path(), &store, std::slice::from_ref(&key)).await;
    let verified: Vec<_> = attache
        .verify(VerifyOptions::default())
        .try_collect()
        .await
        .expect("verified");
    let cut = Finding::WrongSize {
        expected: 7_000,
        actual: 100,
    };
    assert_eq!(verified[0].finding, Some(cut));
    let report = attache.sweep().await.expect("swept");
    assert_eq!(
        (
            report.failed,
            report.uploads_completed,
            report.uploads_removed
        ),
        (1, 0, 0)
    );
    assert!(path.exists());
    let id: AttachmentId = key.id();
    assert!(attache.find(&id).await.is_err());
}
