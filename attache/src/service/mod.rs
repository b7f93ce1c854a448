//! The product: [`Attache`] owns ids, limits, hashing, order and figures. Storage only moves bytes, the catalog only
//! remembers.
//!
//! A request takes one snapshot of the [`Parts`] and keeps it to its end; a new configuration swaps in new parts.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use futures::future::FutureExt as _;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use serde::Serialize;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::level_filters::LevelFilter;

use crate::access::Owners;
use crate::access::links::{LinkKey, LinkProof};
use crate::attachment::filename::{Disposition, Filename};
use crate::attachment::media::{self, SNIFF_BYTES};
use crate::attachment::{Attachment, AttachmentId, ByteRange, NewAttachment, ObjectKey, Owner};
use crate::bounded::Bounded;
use crate::catalog::cached::Recent;
use crate::catalog::sqlite::SqliteCatalog;
use crate::catalog::{Begun, Catalog, Draft, Page};
use crate::config::{Backend, Config, DeliveryMode, MAX_URL_LIFETIME, MIN_URL_LIFETIME};
use crate::delivery::lifetime::{Lifetime, UrlLifetime};
use crate::delivery::{self, Ask, Delivery, Plan, Representation};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::{Inspected, Inspectors};
use crate::observe::history::History;
use crate::observe::latency::LatencyCounts;
use crate::observe::metrics::{Direction, Metrics, StreamGuard, Sums, resident_bytes};
use crate::observe::status::{LastReload, LastSweep, ReloadReport, SweepReport};
use crate::observe::trace;
use crate::secret::SignedUrl;
use crate::storage::azure::{AzureStorage, TransportConfig};
use crate::storage::local::LocalStorage;
use crate::storage::memory::MemoryStorage;
use crate::storage::{Blocks, Content, Facts, Object, Offer, Probe, Storage, Stored};
use crate::transfer::body::{self, Body, Expected};
use crate::transfer::budget::{Budget, RELAY_BYTES};
use crate::transfer::ranges::Part;
use verify::{Verified, VerifyOptions};

mod relay;
pub mod verify;
mod watch;

use relay::{Held, Relay};

/// How much of the quota an upload reserves at a time, ahead of the bytes that have come: whoever announces a gigabyte and
/// sends little takes little away from the others.
const RESERVE_STEP: u64 = 8 * 1024 * 1024;

/// What must come of an upload within two idle limits: 546 bytes a second by default, less than the slowest of mobile networks.
const MIN_SPEED: u64 = 64 * 1024;

/// Most ids of one bulk deletion.
pub const MAX_BULK: usize = 1000;

/// Most attachments that one deletion of an owner deletes.
pub const MAX_OWNED: usize = 10 * MAX_BULK;

/// Most attachments of one page of a listing.
pub const MAX_PAGE: u32 = 1000;

/// Rows that a sweep takes at a time.
const SWEEP_PAGE: u32 = 100;

/// Deletions of a bulk that run at a time.
const BULK_CONCURRENCY: usize = 8;

/// Removals of one process that do not wait for each other. Two ids that share a place wait, which costs a moment.
const TURNS: usize = 256;

/// Attachments of which it is remembered that they could not be read.
const REMEMBERED_UNREADABLE: usize = 1024;

/// The attachment store. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Attache(Arc<Shared>);

struct Shared {
    parts: ArcSwap<Parts>,
    catalog: Arc<dyn Catalog>,
    links: LinkKey,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    /// Whoever removes the bytes of an id holds the lock at its place, so that a sweep and a deletion never work on the
    /// same object: the one would forget the row while the other still writes under its key.
    turns: [tokio::sync::Mutex<()>; TURNS],
    /// Uploads of this process that ended and whose rows may be pending still, because the catalog failed. No other
    /// process takes them while this one lives.
    left: std::sync::Mutex<HashSet<AttachmentId>>,
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
    /// Who counts the heap.
    heap: std::sync::OnceLock<fn() -> u64>,
}

/// The sums at the last sample.
struct Before {
    at: Instant,
    sums: Sums,
    first_byte: Option<LatencyCounts>,
}

/// What was built from one configuration.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// Where bytes lie.
    pub storage: Arc<dyn Storage>,
    /// Whose memory transfers use.
    pub budget: Budget,
    /// Who looks at uploads.
    pub inspectors: Inspectors,
    /// Counts up with every swap; the first is 1.
    pub generation: u64,
    /// The storage was handed in, so no configuration describes it.
    given: bool,
}

/// An attachment that was uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Uploaded {
    /// The attachment.
    pub attachment: Attachment,
    /// It is the result of an earlier try with the same idempotency key.
    pub repeated: bool,
}

/// A temporary URL.
#[derive(Clone, Debug)]
pub struct TemporaryUrl {
    /// The URL.
    pub url: SignedUrl,
    /// When it stops working.
    pub expires_at: OffsetDateTime,
}

/// Whether a file may be uploaded now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// It may.
    pub uploadable: bool,
    /// Why not, as the code of an error.
    pub reason: Option<&'static str>,
    /// Largest file.
    pub max_file_bytes: Option<u64>,
    /// All files together.
    pub total_bytes: Option<u64>,
    /// Bytes that are used or reserved.
    pub used_bytes: u64,
}

impl Parts {
    /// Builds the parts of `config`; carries over from `old` what is equal. The list of backends is here.
    fn build(
        config: Config,
        old: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<(Self, ReloadReport)> {
        let mut report = ReloadReport::default();
        let storage = match old {
            Some(old) if old.given || storage_key(&old.config) == storage_key(&config) => {
                report.kept.push("storage");
                old.storage.clone()
            }
            _ => {
                report.rebuilt.push("storage");
                let storage: Arc<dyn Storage> = match config.storage.backend {
                    Backend::Local => Arc::new(LocalStorage::open(&config.storage.local)?),
                    Backend::Memory => Arc::new(MemoryStorage::new()),
                    Backend::Azure => Arc::new(AzureStorage::new(
                        &config.storage.azure,
                        &transport_config(&config),
                    )?),
                };
                metrics.client_built(storage.name());
                storage
            }
        };
        Self::around(storage, config, old, report)
    }

    /// The parts that have nothing to do with the storage.
    fn around(
        storage: Arc<dyn Storage>,
        config: Config,
        old: Option<&Self>,
        mut report: ReloadReport,
    ) -> Result<(Self, ReloadReport)> {
        let inspectors = match old {
            Some(old) if old.config.hooks == config.hooks => {
                report.kept.push("hooks");
                old.inspectors.clone()
            }
            _ => {
                report.rebuilt.push("hooks");
                Inspectors::new(&config.hooks)?
            }
        };
        let budget = match old {
            Some(old) if old.config.transfer_bytes == config.transfer_bytes => {
                report.kept.push("memory");
                old.budget.clone()
            }
            _ => {
                report.rebuilt.push("memory");
                Budget::new(config.transfer_bytes)
            }
        };
        let parts = Self {
            storage,
            budget,
            inspectors,
            generation: old.map_or(0, |old| old.generation) + 1,
            given: old.is_some_and(|old| old.given),
            config,
        };
        report.generation = parts.generation;
        Ok((parts, report))
    }
}

/// How connections to Azure behave under `config`.
pub fn transport_config(config: &Config) -> TransportConfig {
    TransportConfig {
        ca_pem: config.storage.azure.ca_pem.clone(),
        idle_after: config.clients_idle_after,
        // Half, so that a silent response is resumed, and has moved, before the download itself is given up.
        body_idle: config.download.idle_timeout / 2,
        route: config.network.clone(),
        ..TransportConfig::default()
    }
}

/// Everything that the storage is built from, and nothing else: equal keys, same storage.
fn storage_key(config: &Config) -> impl PartialEq {
    let storage = &config.storage;
    match storage.backend {
        Backend::Local => (Some(storage.local.clone()), None),
        Backend::Memory => (None, None),
        Backend::Azure => (
            None,
            Some((storage.azure.clone(), transport_config(config))),
        ),
    }
}

impl Attache {
    /// Opens the store: builds the client (and connects to nothing yet), opens or makes the catalog.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming what to change.
    pub async fn open(config: Config) -> Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let opened = tokio::task::spawn_blocking({
            let metrics = metrics.clone();
            move || {
                let catalog = SqliteCatalog::open(&config.catalog.0)?;
                let links = LinkKey::open(&config.data_folder())?;
                let (parts, _) = Parts::build(config, None, &metrics)?;
                Ok::<_, Error>((catalog, links, parts))
            }
        });
        let (catalog, links, parts) = opened
            .await
            .map_err(|error| Error::internal("opening failed").with_source(error))??;
        let catalog = Arc::new(Recent::over(Arc::new(catalog)));
        Ok(Self::assemble(parts, catalog, links, metrics))
    }

    /// Opens the store over a storage and a catalog of your own: ones that attache does not know, or that it shall share
    /// with the rest of your program. What `config` says of storage and catalog is not used, except that the key of
    /// attache's own links lies beside `catalog.url`; a [`reload`](Self::reload) keeps both.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the key of links can be neither read nor made.
    pub async fn with(
        config: Config,
        storage: Arc<dyn Storage>,
        catalog: Arc<dyn Catalog>,
    ) -> Result<Self> {
        let folder = config.data_folder();
        let links = tokio::task::spawn_blocking(move || LinkKey::open(&folder))
            .await
            .map_err(|error| Error::internal("opening failed").with_source(error))??;
        let (mut parts, _) = Parts::around(storage, config, None, ReloadReport::default())?;
        parts.given = true;
        Ok(Self::assemble(
            parts,
            catalog,
            links,
            Arc::new(Metrics::new()),
        ))
    }

    fn assemble(
        parts: Parts,
        catalog: Arc<dyn Catalog>,
        links: LinkKey,
        metrics: Arc<Metrics>,
    ) -> Self {
        tracing::info!(
            transfer_memory = parts.budget.limit(),
            upload_bytes =
                (parts.config.upload.concurrency as u64 + 1) * parts.config.upload.block_bytes,
            relay_bytes = RELAY_BYTES,
            "all transfer buffers together never exceed transfer_memory; one upload holds at most upload_bytes, one relay relay_bytes"
        );
        Self(Arc::new(Shared {
            parts: ArcSwap::from_pointee(parts),
            catalog,
            links,
            metrics,
            tasks: TaskTracker::new(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            left: std::sync::Mutex::default(),
            cut: CancellationToken::new(),
            started: OffsetDateTime::now_utc(),
            reloading: tokio::sync::Mutex::new(()),
            last_reload: std::sync::Mutex::new(None),
            last_sweep: std::sync::Mutex::new(None),
            history: History::default(),
            before: std::sync::Mutex::new(None),
            unreadable: std::sync::Mutex::new(Bounded::new(REMEMBERED_UNREADABLE)),
            heap: std::sync::OnceLock::new(),
        }))
    }

    /// The parts that serve now. Keep them for one request, and no longer.
    pub fn parts(&self) -> Arc<Parts> {
        self.0.parts.load_full()
    }

    /// The figures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// The key of attache's own links, for other proofs that must outlive the process.
    pub fn links(&self) -> &LinkKey {
        &self.0.links
    }

    /// Stores a file. It is complete and on disk, or in the cloud, when this returns.
    ///
    /// Runs to its end in a task of its own: if this future is dropped, what was received completely is stored all the
    /// same, and anything else leaves nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) and [`QuotaExceeded`](ErrorKind::QuotaExceeded) as soon as it is known;
    /// [`DigestMismatch`](ErrorKind::DigestMismatch); [`ClientTimeout`](ErrorKind::ClientTimeout); the errors of `body`;
    /// [`Busy`](ErrorKind::Busy) if there is no memory; the errors of storage and catalog. Nothing is kept after any.
    pub async fn upload(
        &self,
        new: NewAttachment,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Uploaded> {
        let this = self.clone();
        let parts = self.parts();
        let task = self.0.tasks.spawn(trace::carried(async move {
            let started = this.start("upload");
            let mut stream = this.0.metrics.stream(Direction::In);
            let outcome = this.run_upload(&parts, new, body, &mut stream).await;
            match &outcome {
                Ok(_) => stream.complete(),
                Err(error) => stream.failed(error),
            }
            this.count("upload", &parts, started, &outcome);
            outcome
        }));
        task.await
            .map_err(|error| Error::internal("the upload task failed").with_source(error))?
    }

    async fn run_upload(
        &self,
        parts: &Arc<Parts>,
        new: NewAttachment,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        stream: &mut StreamGuard,
    ) -> Result<Uploaded> {
        self.in_place(parts).await?;
        let limits = &parts.config.upload;
        if let (Some(size), Some(max)) = (new.size, limits.max_file_bytes)
            && size > max
        {
            return Err(body::too_large(max));
        }
        let cut = self.0.cut.clone();
        // As they come, and not when all of it is stored: a large upload would be a peak at its end.
        let passed = stream.counter();
        let body = body
            .inspect(move |chunk| passed(chunk.as_ref().map_or(0, Bytes::len)))
            .take_until(async move { cut.cancelled().await });
        let mut body = Body::new(body)
            .paced(
                limits.idle_timeout,
                limits.timeout,
                new.size,
                body::sender_late,
            )
            .no_slower_than(MIN_SPEED);
        let Beginning { head, read } = beginning(&mut body).await?;
        let claim = new.content_type.as_deref();
        let content_type = media::decide(claim, &head, new.filename.as_ref());
        drop(head);
        let filename = new
            .filename
            .unwrap_or_else(|| Filename::unnamed(media::extension(&content_type)));
        let id = AttachmentId::generate();
        let key = ObjectKey::new(&id, new.owner.is_some(), filename.extension().as_deref());
        let quota = limits.total_bytes;
        let draft = Draft {
            id: id.clone(),
            key: key.clone(),
            owner: new.owner,
            filename,
            content_type,
            created_by: new.created_by,
            created_at: whole_millis(OffsetDateTime::now_utc()),
            size: new.size,
            reserve: new.size.unwrap_or(0).min(RESERVE_STEP),
            quota,
            idempotency_key: new.idempotency_key,
        };
        let pending = Pending::new(self, &id);
        match self.0.catalog.begin(&draft).await {
            Ok(Begun::New) => {}
            Ok(Begun::Repeated(attachment)) => {
                pending.settled();
                return Ok(Uploaded {
                    attachment: *attachment,
                    repeated: true,
                });
            }
            Err(error) if error.kind().is_expected() => {
                // A refusal leaves no row.
                pending.settled();
                return Err(error);
            }
            Err(error) => {
                // A failure may have happened after the row was written, with its share of the quota.
                self.undo(parts, pending, None).await;
                return Err(error.during("upload", id.as_str()));
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let content = content(parts, &draft, new.size);
        let inspected = parts.inspectors.begin(&content.facts, &self.0.metrics);
        let inspected = match inspected.await {
            Ok(inspected) => inspected,
            Err(error) => {
                self.undo(parts, pending, None).await;
                return Err(error.during("upload", id.as_str()));
            }
        };
        let guarded = Guarded {
            body,
            first: read,
            catalog: self.0.catalog.clone(),
            cut: self.0.cut.clone(),
            id: id.clone(),
            quota,
            size: new.size,
            taken: 0,
            reserved: draft.reserve,
            asked: asked.clone(),
            inspected,
        };
        let body = Body::new(stream::unfold(guarded, Guarded::step))
            .hashed(limits.md5)
            .expecting(Expected {
                size: new.size,
                max_size: limits.max_file_bytes,
                sha256: new.sha256,
                md5: new.md5,
                crc64: None,
            });
        let stored = parts.storage.put(&key, &content, body).await;
        match self.settle(&id, stored).await {
            Ok(attachment) => {
                pending.settled();
                Ok(Uploaded {
                    attachment,
                    repeated: false,
                })
            }
            Err(error) => {
                // A conflict is somebody else's object; a storage that asked for no byte has sent none.
                let sent = error.kind() != ErrorKind::Conflict && asked.load(Ordering::Relaxed);
                let key = sent.then_some(&key);
                self.undo(parts, pending, key).await;
                Err(error.during("upload", id.as_str()))
            }
        }
    }

    async fn settle(&self, id: &AttachmentId, stored: Result<Stored>) -> Result<Attachment> {
        let stored = stored?;
        match self.0.catalog.commit(id, &stored).await {
            // It may have happened all the same, and somebody may have seen it: ask again before it is taken back.
            Err(error) if !error.kind().is_expected() => self.0.catalog.commit(id, &stored).await,
            outcome => outcome,
        }
    }

    /// Takes back an upload that failed. What cannot be taken back now is left for the sweep.
    async fn undo(&self, parts: &Parts, pending: Pending<'_>, key: Option<&ObjectKey>) {
        let id = pending.id.clone();
        let outcome = async {
            let _turn = self.turn(&id).await;
            self.0.catalog.retire(&id).await?;
            // From here on the row says what is to be done.
            pending.settled();
            if let Some(key) = key {
                parts.storage.discard(key).await?;
            }
            self.0.catalog.forget(&id).await
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%id, error = error.report(), "a failed upload is left for the sweep");
        }
    }

    /// Waits until nobody else in this process removes the bytes of `id`.
    async fn turn(&self, id: &AttachmentId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let place = hasher.finish() % TURNS as u64;
        let place = usize::try_from(place).unwrap_or_default();
        self.0.turns[place].lock().await
    }

    fn left(&self) -> MutexGuard<'_, HashSet<AttachmentId>> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Metadata of an attachment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    pub async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        self.0.catalog.find(id).await
    }

    /// Attachments, newest first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`] if the page is larger than [`MAX_PAGE`] or empty.
    pub async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        if !(1..=MAX_PAGE).contains(&page.limit) {
            return Err(Error::bad_request(format!("limit is 1 to {MAX_PAGE}")));
        }
        let (parts, started) = (self.parts(), self.start("list"));
        let outcome = self.0.catalog.list(page).await;
        self.count("list", &parts, started, &outcome);
        outcome
    }

    /// Decides how a client gets an attachment, and opens it if the bytes pass through us.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), [`PreconditionFailed`](ErrorKind::PreconditionFailed),
    /// [`BadRange`](ErrorKind::BadRange), [`Busy`](ErrorKind::Busy), and the errors of the store.
    pub async fn deliver(&self, id: &AttachmentId, ask: &Ask) -> Result<Delivery> {
        let (parts, started) = (self.parts(), self.start("deliver"));
        let mode = delivery::mode(&parts.config, ask);
        let outcome = self.plan_delivery(&parts, mode, id, ask, started).await;
        // A relay that streams is counted when its last byte has passed.
        if !matches!(outcome, Ok(Delivery::Relay { body: Some(_), .. })) {
            self.count(mode.as_str(), &parts, started, &outcome);
        }
        outcome
    }

    async fn plan_delivery(
        &self,
        parts: &Arc<Parts>,
        mode: DeliveryMode,
        id: &AttachmentId,
        ask: &Ask,
        started: Instant,
    ) -> Result<Delivery> {
        let attachment = self.0.catalog.find(id).await?;
        let inline_types = &parts.config.delivery.inline_types;
        let mode = delivery::mode_for(mode, ask, &attachment, inline_types);
        let guarded = delivery::guarded(mode);
        let representation =
            Representation::new(&attachment, ask.disposition, inline_types, guarded);
        let part = match representation.plan(ask)? {
            Plan::NotModified => return Ok(Delivery::NotModified(representation)),
            Plan::Send(part) => part,
        };
        let elsewhere = match mode {
            DeliveryMode::Relay => false,
            DeliveryMode::Redirect => true,
            DeliveryMode::Delegate => delivery::may_delegate(ask, &part),
        };
        // Neither reads anything; what is known to be out of reach is looked at again, in case it is back.
        if (elsewhere || ask.head) && self.unreadable().get(id).is_some() {
            self.read(parts, &attachment, None).await?;
        }
        if elsewhere {
            let config = &parts.config.delivery;
            let lifetime = match mode {
                // The web server in front opens it at once, and shows it to nobody.
                DeliveryMode::Delegate => Lifetime::fixed(config.url_lifetime.or_default()),
                _ => {
                    let (content_type, size) = (&attachment.content_type, attachment.size);
                    Lifetime::for_redirect(config.url_lifetime, content_type, size)
                }
            };
            let wished = self
                .offer(parts, &attachment.key, &representation, lifetime)
                .await;
            let (offer, lifetime) = match wished {
                // What signs may be shorter than that, in the last hours of an outage: a short URL is better than none.
                Err(error) if config.url_lifetime == UrlLifetime::Auto => {
                    tracing::debug!(%id, error = error.report(), "signing for a shorter time");
                    let short = Lifetime::fixed(config.url_lifetime.or_default());
                    let offer = self
                        .offer(parts, &attachment.key, &representation, short)
                        .await;
                    (offer?, short)
                }
                wished => (wished?, lifetime),
            };
            match (mode, offer) {
                (DeliveryMode::Redirect, Some(Offer::SignedUrl { url, expires_at })) => {
                    let now = OffsetDateTime::now_utc();
                    let max_age = delivery::redirect_max_age(expires_at, now, lifetime.need);
                    return Ok(Delivery::Redirect { url, max_age });
                }
                (DeliveryMode::Delegate, Some(offer)) => {
                    return Ok(Delivery::Delegate {
                        representation,
                        part,
                        internal: delivery::internal(&config.internal_prefix, offer)?,
                    });
                }
                // The store has nothing of that kind to offer.
                _ => {}
            }
        }
        let body = if ask.head {
            None
        } else {
            let body = self.relay(parts, &attachment, part.clone(), started);
            Some(Box::new(body.await?))
        };
        Ok(Delivery::Relay {
            representation,
            part,
            body,
        })
    }

    async fn offer(
        &self,
        parts: &Parts,
        key: &ObjectKey,
        representation: &Representation,
        lifetime: Lifetime,
    ) -> Result<Option<Offer>> {
        let offer = parts
            .storage
            .offer(key, &representation.grant(lifetime))
            .await;
        match &offer {
            Ok(Some(Offer::SignedUrl { .. })) => {
                self.0.metrics.signed_url(parts.storage.name(), Ok(()))
            }
            Err(error) => self.0.metrics.signed_url(parts.storage.name(), Err(error)),
            Ok(_) => {}
        }
        offer
    }

    /// Opens the bytes of an attachment for a client: they are checked, limited in time, hold a permit and are counted.
    async fn relay(
        &self,
        parts: &Arc<Parts>,
        attachment: &Attachment,
        part: Part,
        started: Instant,
    ) -> Result<Body> {
        let permit = parts.budget.acquire(RELAY_BYTES).await?;
        let mut stream = self.0.metrics.stream(Direction::Out);
        let opened = self.open_part(parts, attachment, part).await;
        let (size, body) = opened.inspect_err(|error| stream.failed(error))?;
        let limits = &parts.config.download;
        let body = body.paced(
            limits.idle_timeout,
            limits.timeout,
            Some(size),
            body::store_late,
        );
        let held = Held {
            service: self.clone(),
            parts: parts.clone(),
            _permit: permit,
        };
        Ok(Body::new(Relay::new(body, size, stream, held, started)))
    }

    /// The body of an answer, and its length.
    async fn open_part(
        &self,
        parts: &Arc<Parts>,
        attachment: &Attachment,
        part: Part,
    ) -> Result<(u64, Body)> {
        match part {
            Part::Whole => {
                let body = self.read(parts, attachment, None).await?;
                Ok((attachment.size, body))
            }
            Part::One(range) => {
                let body = self.read(parts, attachment, Some(range)).await?;
                Ok((range.len(), body))
            }
            Part::Several(multipart) => {
                let source = Arc::new((self.clone(), parts.clone(), attachment.clone()));
                let open = move |range| {
                    let source = source.clone();
                    let opened = async move {
                        let (this, parts, attachment) = &*source;
                        this.read(parts, attachment, Some(range)).await
                    };
                    opened.boxed()
                };
                Ok((multipart.length(), multipart.body(open).await?))
            }
        }
    }

    /// The bytes as they come from the store; they are what the catalog says, or end with an error.
    async fn read(
        &self,
        parts: &Parts,
        attachment: &Attachment,
        range: Option<ByteRange>,
    ) -> Result<Body> {
        let opened = self.open_object(parts, attachment, range).await;
        match &opened {
            Ok(_) => self.unreadable().remove(&attachment.id),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BytesMissing | ErrorKind::Archived | ErrorKind::CustomerKey
                ) =>
            {
                self.unreadable().insert(attachment.id.clone(), ());
            }
            Err(_) => {}
        }
        let verified = range.is_none() && parts.config.download.verify;
        Ok(opened?.body.expecting(Expected {
            size: Some(range.map_or(attachment.size, |range| range.len())),
            crc64: attachment.crc64.filter(|_| verified),
            ..Expected::default()
        }))
    }

    fn unreadable(&self) -> MutexGuard<'_, Bounded<AttachmentId, ()>> {
        self.0
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of an attachment, if it is the one that the catalog knows, as far as the store tells without its bytes.
    async fn open_object(
        &self,
        parts: &Parts,
        attachment: &Attachment,
        range: Option<ByteRange>,
    ) -> Result<Object> {
        let object = match parts.storage.get(&attachment.key, range).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Deleted since its row was read, most likely; then it is simply not there.
                self.0.catalog.find_now(&attachment.id).await?;
                return Err(lost(error, attachment));
            }
            // The catalog knows that the range lies within the attachment.
            Err(error)
                if error.kind() == ErrorKind::BadRange
                    && range.is_none_or(|range| range.start < attachment.size) =>
            {
                return Err(lost(error, attachment));
            }
            outcome => outcome?,
        };
        // Known before the first byte leaves, so that it is an answer and not a connection that breaks.
        if object.info.size != attachment.size {
            let error = Error::internal("the store has another number of bytes than the catalog");
            return Err(lost(error, attachment));
        }
        Ok(object)
    }

    /// A URL that opens one attachment, read-only, for at most `lifetime` (if unset, `delivery.url_lifetime` where that is a
    /// duration, and 120 s where it is `auto`).
    ///
    /// `base` is the front of attache's own links, for stores that cannot sign. Costs no network call while the signing
    /// key is warm.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound); [`BadRequest`](ErrorKind::BadRequest) if the lifetime is out of bounds.
    pub async fn url(
        &self,
        id: &AttachmentId,
        lifetime: Option<Duration>,
        disposition: Disposition,
        base: &str,
    ) -> Result<TemporaryUrl> {
        let (parts, started) = (self.parts(), self.start("url"));
        let outcome = self
            .temporary_url(&parts, id, lifetime, disposition, base)
            .await;
        self.count("url", &parts, started, &outcome);
        outcome
    }

    async fn temporary_url(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        lifetime: Option<Duration>,
        disposition: Disposition,
        base: &str,
    ) -> Result<TemporaryUrl> {
        let setting = parts.config.delivery.url_lifetime;
        let lifetime = lifetime.unwrap_or_else(|| setting.or_default());
        if !(MIN_URL_LIFETIME..=MAX_URL_LIFETIME).contains(&lifetime) {
            return Err(Error::bad_request("lifetime is between 5s and 2h"));
        }
        let attachment = self.0.catalog.find(id).await?;
        let inline_types = &parts.config.delivery.inline_types;
        let representation =
            Representation::new(&attachment, disposition, inline_types, media::Guarded::No);
        match self
            .offer(
                parts,
                &attachment.key,
                &representation,
                Lifetime::fixed(lifetime),
            )
            .await?
        {
            Some(Offer::SignedUrl { url, expires_at }) => Ok(TemporaryUrl { url, expires_at }),
            _ => {
                let now = OffsetDateTime::now_utc();
                let (url, expires_at) = self.0.links.sign(base, id, disposition, now, lifetime);
                self.0.metrics.signed_url(parts.storage.name(), Ok(()));
                Ok(TemporaryUrl { url, expires_at })
            }
        }
    }

    /// Checks one of attache's own links.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_link(
        &self,
        id: &AttachmentId,
        disposition: Disposition,
        proof: &LinkProof,
    ) -> Result<()> {
        self.0
            .links
            .check(id, disposition, proof, OffsetDateTime::now_utc())
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
                let _turn = this.turn(&id).await;
                let Some(key) = this.0.catalog.retire(&id).await? else {
                    return Ok(false);
                };
                parts.storage.delete(&key).await.map_err(kept)?;
                this.0.catalog.forget(&id).await?;
                Ok(true)
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

    /// Whether a file of `size` bytes could be uploaded now.
    ///
    /// # Errors
    ///
    /// Those of the catalog.
    pub async fn limits(&self, size: Option<u64>) -> Result<Limits> {
        let parts = self.parts();
        let limits = &parts.config.upload;
        let totals = self.0.catalog.totals().await?;
        let used_bytes = totals.bytes + totals.reserved_bytes;
        let size = size.unwrap_or(0);
        let reason = if limits.max_file_bytes.is_some_and(|max| size > max) {
            Some(ErrorKind::TooLarge.code())
        } else if limits
            .total_bytes
            .is_some_and(|total| used_bytes.saturating_add(size) > total)
        {
            Some(ErrorKind::QuotaExceeded.code())
        } else {
            None
        };
        Ok(Limits {
            uploadable: reason.is_none(),
            reason,
            max_file_bytes: limits.max_file_bytes,
            total_bytes: limits.total_bytes,
            used_bytes,
        })
    }

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

    async fn sweep_once(&self) -> Result<SweepReport> {
        let parts = self.parts();
        self.in_place(&parts).await?;
        let mut report = SweepReport::default();
        // An id goes when it is done with, not before: this future may be dropped, or fail, at any of them.
        let left: Vec<AttachmentId> = self.left().iter().cloned().collect();
        for id in left {
            let done = match self.0.catalog.find_now(&id).await {
                // One that turned out to be stored may have been seen, and stays.
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Its sender was told that it failed.
                    self.clean_up(&parts, &id, true, None, &mut report).await
                }
                Err(error) => return Err(error),
            };
            if done {
                self.left().remove(&id);
            }
        }
        let mut after = None;
        loop {
            let page = self
                .0
                .catalog
                .unfinished(after.as_ref(), SWEEP_PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for row in page {
                let key = row.upload.then_some(&row.key);
                self.clean_up(&parts, &row.id, row.upload, key, &mut report)
                    .await;
            }
        }
        match parts.storage.tidy().await {
            Ok(removed) => report.litter_removed = removed,
            Err(error) => {
                report.failed += 1;
                tracing::warn!(
                    error = error.report(),
                    "sweep: temporary files are left for the next one"
                );
            }
        }
        Ok(report)
    }

    /// Finishes what was interrupted, and counts it; `false` if that failed.
    ///
    /// An upload whose bytes are whole in the store, under `key`, becomes an attachment: if this catalog is a copy from a
    /// backup, its sender was told that it is one. Everything else is removed, bytes first.
    async fn clean_up(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        upload: bool,
        key: Option<&ObjectKey>,
        report: &mut SweepReport,
    ) -> bool {
        let outcome = async {
            let _turn = self.turn(id).await;
            if let Some(key) = key
                && self.complete(parts, id, key).await?
            {
                return Ok(Swept::Completed);
            }
            // Somebody else was faster.
            let Some(key) = self.0.catalog.retire(id).await? else {
                return Ok(Swept::Nothing);
            };
            // A retired row may be a failed upload, whose parts nobody sees: discard takes both.
            parts.storage.discard(&key).await?;
            self.0.catalog.forget(id).await?;
            Ok(Swept::Removed)
        };
        match outcome.await {
            Ok(Swept::Completed) => report.uploads_completed += 1,
            Ok(Swept::Removed) if upload => report.uploads_removed += 1,
            Ok(Swept::Removed) => report.deletions_finished += 1,
            Ok(Swept::Nothing) => {}
            Err(error) => {
                let error: Error = error;
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
        match self.0.catalog.commit(id, &stored).await {
            Ok(_) => Ok(true),
            // Swept or deleted by somebody else meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
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

    /// Whether storage and catalog can be used now.
    ///
    /// # Errors
    ///
    /// What is wrong, naming the setting to change.
    pub async fn ready(&self) -> Result<Probe> {
        self.0.catalog.probe().await?;
        let parts = self.parts();
        self.in_place(&parts).await?;
        parts.storage.probe().await
    }

    /// Whether the store is the one that the catalog tells of. Bytes that are put into the empty folder of a disk that is not
    /// mounted are lost when it is, and those that are deleted there are not deleted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamUnavailable`].
    async fn in_place(&self, parts: &Parts) -> Result<()> {
        if parts.storage.is_in_place(false).await? {
            return Ok(());
        }
        let totals = self.0.catalog.totals().await?;
        match parts.storage.is_in_place(totals.attachments == 0).await? {
            true => Ok(()),
            false => Err(missing_disk(totals.attachments)),
        }
    }

    /// Swaps in a new configuration. Builds what changed, probes it with one authenticated call, and only then swaps;
    /// requests that run keep the parts they began with.
    ///
    /// # Errors
    ///
    /// What is wrong with the new configuration; the old one serves on.
    pub async fn reload(&self, config: Config) -> Result<ReloadReport> {
        // One at a time; requests do not wait for it.
        let _turn = self.0.reloading.lock().await;
        let outcome = self.swap(config).await;
        let word = match &outcome {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        self.note_reload(word, outcome.as_ref());
        outcome
    }

    /// A new configuration could not even be read; the old one serves on.
    pub fn reload_failed(&self, error: &Error) {
        self.note_reload("failed", Err(error));
    }

    fn note_reload(&self, word: &'static str, outcome: Result<&ReloadReport, &Error>) {
        self.0.metrics.config_reloaded(word);
        match outcome {
            Ok(report) => tracing::info!(?report, "configuration reloaded"),
            Err(error) => {
                tracing::error!(
                    error = error.report(),
                    "the new configuration is not used; the previous one stays in effect"
                );
            }
        }
        let last = LastReload {
            at: OffsetDateTime::now_utc(),
            error: outcome.err().map(|error| error.to_string()),
            report: outcome.ok().cloned(),
        };
        *self.last_reload() = Some(last);
    }

    async fn swap(&self, mut config: Config) -> Result<ReloadReport> {
        let old = self.parts();
        let start_only = config.keep_start_only(&old.config);
        let tls_changed = old.config.server.tls != config.server.tls;
        let metrics = self.0.metrics.clone();
        let built = tokio::task::spawn_blocking({
            let old = old.clone();
            move || Parts::build(config, Some(&old), &metrics)
        });
        let (parts, mut report) = built.await.map_err(|error| {
            Error::internal("building the new parts failed").with_source(error)
        })??;
        report.start_only = start_only;
        if tls_changed {
            report.rebuilt.push("tls");
        }
        if report.rebuilt.contains(&"storage") {
            parts.storage.probe().await?;
        }
        self.0.parts.store(Arc::new(parts));
        Ok(report)
    }

    fn last_reload(&self) -> MutexGuard<'_, Option<LastReload>> {
        self.0
            .last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

/// What a sweep did with a row.
enum Swept {
    /// Its bytes are whole; it is an attachment.
    Completed,
    Removed,
    /// There is no such row any more.
    Nothing,
}

/// How long `close` waits for uploads that it cut to clean up after themselves.
const CLEANUP_TIME: Duration = Duration::from_secs(5);

impl fmt::Debug for Attache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attache")
            .field("parts", &*self.0.parts.load())
            .finish_non_exhaustive()
    }
}

/// What is stored with the bytes of a draft.
fn content(parts: &Parts, draft: &Draft, size: Option<u64>) -> Content {
    let facts = Facts {
        id: draft.id.clone(),
        owner: draft.owner.clone(),
        filename: draft.filename.clone(),
        content_type: draft.content_type.clone(),
        created_at: draft.created_at,
        created_by: draft.created_by.clone(),
    };
    let blocks = Blocks {
        bytes: parts.config.upload.block_bytes,
        concurrency: parts.config.upload.concurrency,
        budget: parts.budget.clone(),
    };
    Content::new(facts, &parts.config.delivery.inline_types, size, blocks)
}

/// The beginning of a body, from which its type is told.
struct Beginning {
    /// At most [`SNIFF_BYTES`], whatever pieces they came in: the type must not depend on how a network cuts an upload.
    head: Bytes,
    /// Everything that was read.
    read: VecDeque<Bytes>,
}

/// Reads until the type can be told.
///
/// What comes in small pieces is copied into one buffer: a piece keeps the whole buffer that the connection read into, so a
/// sender of single bytes would have us hold 8,192 of those.
async fn beginning(body: &mut Body) -> Result<Beginning> {
    let mut copied = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if copied.is_empty() && chunk.len() >= SNIFF_BYTES {
            let head = chunk.slice(..SNIFF_BYTES);
            let read = VecDeque::from([chunk]);
            return Ok(Beginning { head, read });
        }
        copied.reserve(SNIFF_BYTES - copied.len());
        let (here, rest) = chunk.split_at(chunk.len().min(SNIFF_BYTES - copied.len()));
        copied.extend_from_slice(here);
        if copied.len() == SNIFF_BYTES {
            let (head, rest) = (copied.freeze(), chunk.slice_ref(rest));
            let read = [head.clone(), rest];
            let read = read.into_iter().filter(|piece| !piece.is_empty()).collect();
            return Ok(Beginning { head, read });
        }
    }
    let head = copied.freeze();
    let read = Some(head.clone()).filter(|head| !head.is_empty());
    Ok(Beginning {
        head,
        read: read.into_iter().collect(),
    })
}

/// An upload whose row may be pending. Unless it is settled, its end, a panic included, leaves it to the next sweep.
struct Pending<'a> {
    service: &'a Attache,
    id: AttachmentId,
    settled: AtomicBool,
}

impl<'a> Pending<'a> {
    fn new(service: &'a Attache, id: &AttachmentId) -> Self {
        Self {
            service,
            id: id.clone(),
            settled: AtomicBool::new(false),
        }
    }

    /// There is no pending row any more.
    fn settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.service.left().insert(self.id.clone());
        }
    }
}

/// The bytes of an upload, with its share of the quota reserved ahead of them.
struct Guarded {
    body: Body,
    first: VecDeque<Bytes>,
    catalog: Arc<dyn Catalog>,
    cut: CancellationToken,
    id: AttachmentId,
    quota: Option<u64>,
    size: Option<u64>,
    taken: u64,
    reserved: u64,
    /// Whether the storage asked for a byte.
    asked: Arc<AtomicBool>,
    inspected: Inspected,
}

impl Guarded {
    async fn step(mut self) -> Option<(Result<Bytes>, Self)> {
        self.asked.store(true, Ordering::Relaxed);
        let chunk = match self.first.pop_front() {
            Some(chunk) => chunk,
            None => match self.body.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some((Err(error), self)),
                // The stream that is cut ends; an upload that is cut must not.
                None if self.cut.is_cancelled() => return Some((Err(shutting_down()), self)),
                None => {
                    // The end reaches the store only if nobody objects.
                    let outcome = self.inspected.end().await;
                    return outcome.err().map(|error| (Err(error), self));
                }
            },
        };
        let outcome = async {
            self.reserve(chunk.len() as u64).await?;
            self.inspected.chunk(&chunk).await
        };
        let outcome = outcome.await;
        Some((outcome.map(|()| chunk), self))
    }

    /// Only where there is a quota to keep.
    async fn reserve(&mut self, more: u64) -> Result<()> {
        self.taken += more;
        let need = self.taken;
        if self.quota.is_none() || need <= self.reserved {
            return Ok(());
        }
        let ahead = need + RESERVE_STEP;
        let ahead = self.size.map_or(ahead, |size| ahead.min(size.max(need)));
        match self.catalog.reserve(&self.id, ahead, self.quota).await {
            Ok(()) => self.reserved = ahead,
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
                self.catalog.reserve(&self.id, need, self.quota).await?;
                self.reserved = need;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A ready attachment without bytes is a fault of the store, not an answer to the client.
fn lost(error: Error, attachment: &Attachment) -> Error {
    Error::new(
        ErrorKind::BytesMissing,
        "this attachment's data is missing or incomplete in the store; `attache verify` lists what else is",
    )
    .with_source(error)
    .during("deliver", attachment.id.as_str())
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

/// The catalog names attachments, and the store is empty.
fn missing_disk(attachments: u64) -> Error {
    Error::new(
        ErrorKind::UpstreamUnavailable,
        format!(
            "the catalog names {attachments} attachments, but storage.local.root is an empty folder: is its disk mounted? If \
             the files are lost, put a copy back, or make a folder \".attache\" in it"
        ),
    )
}

fn shutting_down() -> Error {
    Error::new(
        ErrorKind::Busy,
        "the server is shutting down; send the file again",
    )
    .retry_after(Duration::from_secs(5))
}

/// What the catalog keeps.
fn whole_millis(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}
