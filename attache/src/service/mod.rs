//! The product: [`Attache`] owns ids, limits, hashing, order and metrics. Storage only moves bytes, the catalog only
//! remembers.
//!
//! A request takes one snapshot of the [`Parts`] and keeps it to its end; a new configuration swaps in new parts.

pub mod adopt;
mod arrivals;
mod beginning;
mod bucket;
mod checked;
mod database;
mod deliver;
mod finding;
mod holds;
mod limits;
mod listing;
mod locks;
mod moved;
pub mod moving;
mod partial;
mod parts;
mod presence;
mod read;
mod relay;
mod reload;
mod remove;
mod report;
mod reserving;
mod sweep;
mod unsettled;
mod upload;
mod uploading;
pub mod verify;
mod walk;

pub use bucket::{
    BucketHandle, BucketUpload, CompleteUpload, ObjectBody, ObjectDigests, PutObject, RunningUpload,
};
pub use database::{open_database, open_for_copy};
pub use deliver::TemporaryUrl;
pub use limits::UploadLimits;
pub use listing::{Listing, MAX_PAGE};
pub use partial::{Append, Appended, DirectPut, NewPartial};
pub use parts::Parts;
pub use remove::{MAX_BULK, MAX_OWNED};
pub use upload::Uploaded;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adopt::{AdoptOptions, Adopted};
use arc_swap::ArcSwap;
use futures::stream::BoxStream;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::level_filters::LevelFilter;
use verify::{Verified, VerifyOptions};

use crate::access::access_keys::AccessKeys;
use crate::access::key_file::FileKeys;
use crate::access::keys::{self, KeyStore};
use crate::access::links::LinkKey;
use crate::access::seal::Sealer;
use crate::access::tokens::TokenStore;
use crate::attachment::{Attachment, AttachmentId};
use crate::bounded::Bounded;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::observe::history::History;
use crate::observe::latency::LatencyCounts;
use crate::observe::metrics::{Metrics, Sums, resident_bytes};
use crate::observe::status::{LastReload, LastSweep};
use crate::observe::trace;
use crate::storage::Storage;
use crate::transfer::blocks::LAST_BLOCKS;
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::gather::GATHER_BYTES;
use checked::Checked;
use holds::Holds;
use locks::RemovalLocks;
use unsettled::Unsettled;

/// Attachments of which it is remembered that they could not be read.
const REMEMBERED_UNREADABLE: usize = 1024;

/// The attachment store. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Attache(Arc<Shared>);

struct Shared {
    parts: ArcSwap<Parts>,
    catalog: Arc<dyn Catalog>,
    links: LinkKey,
    keys: Arc<dyn KeyStore>,
    /// Made when the first upload in parts is.
    upload_sealer: tokio::sync::OnceCell<Arc<Sealer>>,
    access: Option<Access>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    removal_locks: RemovalLocks,
    unsettled: Unsettled,
    /// Uploads on which requests of this process work.
    holds: Holds,
    /// Cancelled when transfers are cut.
    cut: CancellationToken,
    started: OffsetDateTime,
    reloading: tokio::sync::Mutex<()>,
    last_reload: std::sync::Mutex<Option<LastReload>>,
    last_sweep: std::sync::Mutex<Option<LastSweep>>,
    history: History,
    /// What the last sample of the history was compared with.
    before: std::sync::Mutex<Option<Before>>,
    /// Attachments whose bytes were missing, or kept where nobody can read them, when somebody last tried.
    unreadable: std::sync::Mutex<Bounded<AttachmentId, ()>>,
    checked: Checked,
    /// Who counts the heap.
    heap: std::sync::OnceLock<fn() -> u64>,
}

/// What the database of the catalog keeps of those who may do something.
struct Access {
    tokens: Arc<dyn TokenStore>,
    access_keys: Arc<AccessKeys>,
}

/// The sums at the last sample.
struct Before {
    at: Instant,
    sums: Sums,
    first_byte: Option<LatencyCounts>,
}

impl Attache {
    /// Opens the store: builds the client (and connects to nothing yet), opens or makes the catalog.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured), naming what to change.
    pub async fn open(config: Config) -> Result<Self> {
        let database = open_database(&config).await?;
        let links = LinkKey::new(database.keys.key(keys::LINKS).await?);
        let metrics = Arc::new(Metrics::new());
        let built = tokio::task::spawn_blocking({
            let metrics = metrics.clone();
            move || Parts::build(config, None, &metrics)
        });
        let built = built
            .await
            .map_err(|error| Error::internal("opening failed").with_source(error));
        let (parts, _) = match built.flatten() {
            Ok(built) => built,
            Err(error) => {
                database.catalog.close().await;
                return Err(error);
            }
        };
        let access = Access {
            tokens: database.tokens,
            access_keys: database.access_keys,
        };
        Ok(Self::assemble(
            parts,
            database.catalog,
            (links, database.keys),
            Some(access),
            metrics,
        ))
    }

    /// Opens the store over a storage and a catalog of your own: ones that attache does not know, or that it shall share
    /// with the rest of your program. What `config` says of storage and catalog is not used, except that the key of
    /// attache's own links lies beside `catalog.url`; a [`reload`](Self::reload) keeps both.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the key of links can be neither read nor made.
    pub async fn with(
        config: Config,
        storage: Arc<dyn Storage>,
        catalog: Arc<dyn Catalog>,
    ) -> Result<Self> {
        let files = FileKeys::new(config.data_folder());
        let links = LinkKey::new(files.key(keys::LINKS).await?);
        let parts = Parts::given(storage, config)?;
        Ok(Self::assemble(
            parts,
            catalog,
            (links, Arc::new(files)),
            None,
            Arc::new(Metrics::new()),
        ))
    }

    fn assemble(
        parts: Parts,
        catalog: Arc<dyn Catalog>,
        (links, keys): (LinkKey, Arc<dyn KeyStore>),
        access: Option<Access>,
        metrics: Arc<Metrics>,
    ) -> Self {
        tracing::info!(
            transfer_memory = parts.budget.limit(),
            upload_bytes =
                (parts.config.upload.concurrency as u64 + 1) * parts.config.upload.block_bytes,
            relay_bytes = RELAY_BYTES + GATHER_BYTES,
            "all transfer buffers together never exceed transfer_memory; one upload holds at most upload_bytes, one relay relay_bytes"
        );
        Self(Arc::new(Shared {
            parts: ArcSwap::from_pointee(parts),
            catalog,
            links,
            keys,
            upload_sealer: tokio::sync::OnceCell::new(),
            access,
            metrics,
            tasks: TaskTracker::new(),
            removal_locks: RemovalLocks::default(),
            unsettled: Unsettled::default(),
            holds: Holds::default(),
            cut: CancellationToken::new(),
            started: OffsetDateTime::now_utc(),
            reloading: tokio::sync::Mutex::new(()),
            last_reload: std::sync::Mutex::new(None),
            last_sweep: std::sync::Mutex::new(None),
            history: History::default(),
            before: std::sync::Mutex::new(None),
            unreadable: std::sync::Mutex::new(Bounded::new(REMEMBERED_UNREADABLE)),
            checked: Checked::default(),
            heap: std::sync::OnceLock::new(),
        }))
    }

    /// The parts that serve now. Keep them for one request, and no longer.
    pub fn parts(&self) -> Arc<Parts> {
        self.0.parts.load_full()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Who keeps API tokens: the database of the catalog. `None` for a catalog of your own.
    pub fn tokens(&self) -> Option<&Arc<dyn TokenStore>> {
        self.0.access.as_ref().map(|access| &access.tokens)
    }

    /// The access keys of programs that speak S3, in the database of the catalog. `None` for a catalog of your own.
    pub fn access_keys(&self) -> Option<&Arc<AccessKeys>> {
        self.0.access.as_ref().map(|access| &access.access_keys)
    }

    /// The key of attache's own links, for other proofs that must outlive the process.
    pub fn links(&self) -> &LinkKey {
        &self.0.links
    }

    /// Metadata of an attachment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    pub async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        self.0.catalog.find(id).await
    }

    /// Compares the store with the catalog: one item for every key that either knows, in ascending order, with what is
    /// wrong with it. Memory does not grow with their number. Safe at any time: what runs beside it, in this process or
    /// another one, is not a finding. Dropping the stream ends it.
    ///
    /// # Errors
    ///
    /// Those of storage and catalog end the stream. Bytes that cannot be read are a finding, and it goes on.
    pub fn verify(&self, options: VerifyOptions) -> BoxStream<'static, Result<Verified>> {
        let parts = self.parts();
        verify::run(
            self.0.catalog.clone(),
            parts.storage.clone(),
            parts.budget.clone(),
            parts.config.delivery.inline_types.clone(),
            options,
        )
    }

    /// Makes attachments of what other programs put into the store: an item for every object, in the order of their names, each
    /// when it is done. Nothing in the store is moved or changed. May be repeated, and dropped at any time: what was done is found to be known.
    /// Reads all bytes once, because an attachment has a digest; memory grows with neither bytes nor objects.
    ///
    /// # Errors
    ///
    /// Those of storage and catalog end the stream. What cannot be an attachment is an item that says why, and it goes on.
    pub async fn adopt(
        &self,
        options: AdoptOptions,
    ) -> Result<BoxStream<'static, Result<Adopted>>> {
        let parts = self.parts();
        self.in_place(&parts).await?;
        Ok(adopt::run(
            self.0.catalog.clone(),
            parts.storage.clone(),
            parts.budget.clone(),
            options,
        ))
    }

    /// Waits for uploads and deletions that run, at most `grace`; then cuts uploads, waits until they are cleaned up, and
    /// closes the catalog. No call may follow.
    pub async fn close(&self, grace: Duration) {
        self.0.tasks.close();
        if tokio::time::timeout(grace, self.0.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                running = self.0.tasks.len(),
                "aborting transfers still in progress"
            );
            self.cut();
            // Cleaning up talks to the store; what takes longer is left for the sweep of the next start.
            if tokio::time::timeout(CLEANUP_TIME, self.0.tasks.wait())
                .await
                .is_err()
            {
                tracing::warn!(running = self.0.tasks.len(), "left for the sweep");
            }
        }
        self.0.catalog.close().await;
    }

    /// Ends all uploads that run, now.
    pub fn cut(&self) {
        self.0.cut.cancel();
    }

    /// An operation begins.
    fn start(&self, operation: &'static str) -> Instant {
        self.trace_operation(operation, "start");
        Instant::now()
    }

    /// Tells, at debug, an operation with the memory at its start or end. Costs nothing unless somebody listens.
    fn trace_operation(&self, operation: &'static str, phase: &'static str) {
        // Not `tracing::enabled!`, which can swallow the next line of a log with several layers.
        if LevelFilter::current() >= LevelFilter::DEBUG {
            let context = trace::Context::current();
            let request_id = context.as_ref().map_or("", |context| context.request_id());
            let heap = self.0.heap.get().map(|heap| heap());
            let transfer = self.parts().budget.held();
            tracing::debug!(
                operation,
                phase,
                heap,
                transfer,
                resident = resident_bytes(),
                request_id,
                "memory"
            );
        }
    }

    fn count<T>(
        &self,
        operation: &'static str,
        parts: &Parts,
        started: Instant,
        outcome: &Result<T>,
    ) {
        let outcome = outcome.as_ref().map(|_| ());
        let backend = parts.storage.name();
        self.0
            .metrics
            .operation(operation, backend, started, outcome);
        self.trace_operation(
            operation,
            outcome.err().map_or("ok", |error| error.kind().code()),
        );
    }
}

/// How long `close` waits for uploads that it cut to clean up after themselves: for their last blocks, and 5 s to take them away.
const CLEANUP_TIME: Duration = LAST_BLOCKS.saturating_add(Duration::from_secs(5));

impl fmt::Debug for Attache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attache")
            .field("parts", &*self.0.parts.load())
            .finish_non_exhaustive()
    }
}
