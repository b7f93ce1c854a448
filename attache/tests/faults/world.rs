//! A service over a storage and a catalog that outlive it, as a disk outlives a process, and what is known of it outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attache::attachment::AttachmentId;
use attache::attachment::NewAttachment;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Page};
use attache::service::verify::VerifyOptions;
use attache::storage::Storage;
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::memory::MemoryStorage;
use attache::{Attache, Attachment, Config};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::runtime::Runtime;

use super::frail::{BlockStorage, FrailCatalog, FrailStorage, Lie};
use super::fuse::Fuse;

/// Small, so that a small upload has several.
const BLOCK: u64 = 4 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ground {
    Memory,
    Local,
    Blocks,
}

pub(crate) struct World {
    pub(crate) fuse: Arc<Fuse>,
    folder: tempfile::TempDir,
    kept: Kept,
    lie: Option<Lie>,
}

/// What a process does not take with it.
enum Kept {
    Memory(Arc<MemoryStorage>),
    Local(PathBuf),
    Blocks(Arc<BlockStorage>),
}

/// A process: a runtime, and a service that runs on it.
pub(crate) struct Process {
    pub(crate) runtime: Runtime,
    pub(crate) service: Attache,
    catalog: Arc<SqliteCatalog>,
}

/// What somebody outside was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Uploads that were acknowledged.
    pub(crate) stored: Vec<(AttachmentId, Bytes)>,
    /// What was sent, and not acknowledged.
    pub(crate) sent: Vec<Bytes>,
    /// Deletions that were acknowledged.
    pub(crate) deleted: Vec<AttachmentId>,
    /// What was to be deleted, and not acknowledged.
    pub(crate) doomed: Vec<(AttachmentId, Bytes)>,
}

impl World {
    /// On a disk, which takes its time, or in memory where there is such a place: thousands of commits, and nothing here is
    /// about what a disk keeps.
    pub(crate) fn new(ground: Ground, lie: Option<Lie>, slow: bool) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() && !slow {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        }
        .expect("a folder");
        let fuse = Arc::new(Fuse::new());
        let kept = match ground {
            Ground::Memory => Kept::Memory(Arc::new(MemoryStorage::new())),
            Ground::Local => Kept::Local(folder.path().join("objects")),
            Ground::Blocks => Kept::Blocks(Arc::new(BlockStorage::new(fuse.clone()))),
        };
        Self {
            fuse,
            folder,
            kept,
            lie,
        }
    }

    /// Starts a process.
    pub(crate) fn start(&self) -> Process {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let url = self.folder.path().join("attache.db");
        let catalog = Arc::new(SqliteCatalog::open(&url).expect("a catalog"));
        let frail_catalog = FrailCatalog::new(catalog.clone(), self.fuse.clone(), self.lie);
        let frail_storage = FrailStorage {
            inner: self.storage(),
            fuse: self.fuse.clone(),
            lie: self.lie,
        };
        let mut config = Config {
            catalog: CatalogConfig::of(CatalogUrl::Sqlite(url)),
            ..Config::default()
        };
        config.upload.block_bytes = BLOCK;
        // With a quota, so that what is reserved and never freed is seen, and uploads of unknown length reserve as they go.
        config.upload.total_bytes = Some(1 << 40);
        let opened = Attache::with(config, Arc::new(frail_storage), Arc::new(frail_catalog));
        let service = runtime.block_on(opened).expect("a service");
        Process {
            runtime,
            service,
            catalog,
        }
    }

    fn storage(&self) -> Arc<dyn Storage> {
        match &self.kept {
            Kept::Memory(kept) => kept.clone(),
            Kept::Blocks(kept) => kept.clone(),
            Kept::Local(root) => {
                let root = root.clone();
                Arc::new(LocalStorage::open(&LocalConfig { root }).expect("a folder"))
            }
        }
    }

    /// Things in the store that are no objects.
    fn litter(&self) -> Vec<String> {
        match &self.kept {
            Kept::Memory(_) => Vec::new(),
            Kept::Blocks(kept) => {
                let staged = kept.staged.lock().expect("not poisoned");
                staged.keys().map(ToString::to_string).collect()
            }
            Kept::Local(root) => {
                let mut litter = files(&root.join(".tmp"));
                // Facts are no litter as long as their bytes are there.
                for facts in files(&root.join(".facts")) {
                    let bytes = facts.replace("/.facts/", "/");
                    if !Path::new(bytes.trim_end_matches(".json")).exists() {
                        litter.push(facts);
                    }
                }
                litter
            }
        }
    }

    /// The invariant, and all that was promised to whoever kept this ledger.
    pub(crate) fn check(&self, process: &Process, ledger: &Ledger, what: &str) {
        process
            .runtime
            .block_on(self.checked(process, ledger, what));
    }

    async fn checked(&self, process: &Process, ledger: &Ledger, what: &str) {
        let page = Page {
            owner: None,
            visible: attache::access::Owners::all(),
            after: None,
            limit: attache::service::MAX_PAGE,
        };
        let listing = process.service.list(&page).await.expect("list");
        let rows = listing.attachments;
        let options = VerifyOptions {
            deep: true,
            repair: false,
        };
        let verified: Vec<_> = process
            .service
            .verify(options)
            .try_collect()
            .await
            .expect("verify");
        assert_eq!(verified.len(), rows.len(), "{what}: {verified:#?}");
        for item in &verified {
            assert_eq!(item.finding, None, "{what}: {item:#?}");
        }
        let storage = self.storage();
        let objects = storage.list(None).count().await;
        assert_eq!(objects, rows.len(), "{what}: objects");
        assert_eq!(self.litter(), Vec::<String>::new(), "{what}: litter");
        let catalog = &process.catalog;
        let unfinished = catalog.unfinished(None, 100).await.expect("unfinished");
        assert_eq!(unfinished, [], "{what}");
        let totals = catalog.totals().await.expect("totals");
        let bytes: u64 = rows.iter().map(|row| row.size).sum();
        let counted = (totals.attachments, totals.bytes, totals.reserved_bytes);
        assert_eq!(counted, (rows.len() as u64, bytes, 0), "{what}");
        let workers = files(&self.folder.path().join("attache.db-workers"));
        assert_eq!(workers.len(), 1, "{what}: {workers:?}");

        let mut known = 0;
        for (id, bytes) in &ledger.stored {
            let row = rows.iter().find(|row| row.id == *id);
            let row = row.unwrap_or_else(|| panic!("{what}: {id} was acknowledged and is gone"));
            assert_eq!(&read(&*storage, row).await, bytes, "{what}: {id}");
            known += 1;
        }
        for id in &ledger.deleted {
            let there = rows.iter().any(|row| row.id == *id);
            assert!(!there, "{what}: {id} was deleted and is there");
        }
        for (id, bytes) in &ledger.doomed {
            if let Some(row) = rows.iter().find(|row| row.id == *id) {
                assert_eq!(&read(&*storage, row).await, bytes, "{what}: {id}");
                known += 1;
            }
        }
        let mut sent = ledger.sent.clone();
        for row in &rows {
            let named = |pair: &(AttachmentId, Bytes)| pair.0 == row.id;
            if ledger.stored.iter().any(named) || ledger.doomed.iter().any(named) {
                continue;
            }
            let bytes = read(&*storage, row).await;
            let at = sent.iter().position(|sent| *sent == bytes);
            let at = at.unwrap_or_else(|| panic!("{what}: {} is not what was sent", row.id));
            sent.swap_remove(at);
            known += 1;
        }
        assert_eq!(known, rows.len(), "{what}");
    }
}

impl Process {
    /// Dies at the point that it reached: nothing that waits goes on. What the threads below are in the middle of is
    /// finished, as a disk finishes what it was told.
    pub(crate) fn die(self) {
        drop(self.runtime);
        drop(self.service);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(self.catalog.close());
    }

    /// Waits until no task runs, and ends.
    pub(crate) fn stop(self) {
        self.settle();
        self.runtime
            .block_on(self.service.close(Duration::from_secs(10)));
    }

    /// Waits until no task runs.
    pub(crate) fn settle(&self) {
        let alive = || self.runtime.metrics().num_alive_tasks();
        let wait = async {
            while alive() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let limit = Duration::from_secs(10);
        let wait = async { tokio::time::timeout(limit, wait).await };
        self.runtime.block_on(wait).expect("all tasks end");
    }
}

/// Uploads `bytes`, in chunks that can each break, of a length that is known or not.
pub(crate) async fn upload(
    service: &Attache,
    fuse: &Arc<Fuse>,
    bytes: &Bytes,
    known: bool,
    owner: Option<&str>,
) -> attache::Result<AttachmentId> {
    const CHUNK: usize = 3000;
    let new = NewAttachment {
        size: known.then_some(bytes.len() as u64),
        owner: owner.map(|owner| owner.parse().expect("an owner")),
        ..NewAttachment::default()
    };
    // The end can break, too.
    let state = (fuse.clone(), bytes.clone());
    let body = futures::stream::try_unfold(state, async |(fuse, mut rest): (Arc<Fuse>, Bytes)| {
        let name = if rest.is_empty() { "end" } else { "chunk" };
        let chunk = fuse
            .pass(name, async { Ok(rest.split_to(rest.len().min(CHUNK))) })
            .await?;
        Ok((!chunk.is_empty()).then_some((chunk, (fuse, rest))))
    });
    let uploaded = service.upload(new, body).await?;
    Ok(uploaded.attachment.id)
}

async fn read(storage: &dyn Storage, row: &Attachment) -> Bytes {
    let object = storage.get(&row.key, None).await.expect("its bytes");
    object.body.collect(usize::MAX).await.expect("all of them")
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path().display().to_string()),
            }
        }
    }
    found
}
