//! Every metric that attache exports: names, labels, units. Names are fixed, because dashboards call them.
//!
//! Counters are moved where things happen. What other parts know about themselves (leases, connections, memory) is read
//! when somebody asks; see [`Metrics::encode`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{
    BackendLabels, BackendOutcomeLabels, DirectionLabels, HookLabels, LimitLabels, OperationLabels,
    OutcomeLabels, PlainOutcomeLabels, S3Labels, StreamLabels,
};
use super::reading::Read;
pub use super::reading::{Reading, resident_bytes};
use crate::error::{Error, ErrorKind};

/// Upper bounds of `attache_operation_seconds`: from a warm redirect to a large upload.
const SECONDS: [f64; 14] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0,
];

type Seconds = Family<OperationLabels, Histogram>;

/// All metrics of one [`Attache`](crate::Attache).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    operations: Family<OutcomeLabels, Counter>,
    operation_seconds: Seconds,
    transferred_bytes: Family<DirectionLabels, Counter>,
    streams_open: Family<DirectionLabels, Gauge>,
    streams: Family<StreamLabels, Counter>,
    signed_urls: Family<BackendOutcomeLabels, Counter>,
    clients_built: Family<BackendLabels, Counter>,
    config_reloads: Family<PlainOutcomeLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
    s3_requests: Family<S3Labels, Counter>,
    inspections: Family<HookLabels, Counter>,
    moved_objects: Family<PlainOutcomeLabels, Counter>,
    tally: Tally,
    read: Read,
}

/// The same counts once more, as sums that can be read back, for the history and the status.
#[derive(Debug, Default)]
struct Tally {
    ok: AtomicU64,
    refused: AtomicU64,
    failed: [AtomicU64; FAILURES.len()],
    signed: AtomicU64,
    unsigned: AtomicU64,
}

/// What is a failure of ours or of the store, and no answer to a caller's mistake.
const FAILURES: [ErrorKind; 8] = [
    ErrorKind::StorageFull,
    ErrorKind::UpstreamUnavailable,
    ErrorKind::UpstreamTimeout,
    ErrorKind::UpstreamRefused,
    ErrorKind::Misconfigured,
    ErrorKind::ContainerNotFound,
    ErrorKind::BytesMissing,
    ErrorKind::Internal,
];

/// Sums since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that were answered with the caller's own mistake.
    pub refused: u64,
    /// Operations that failed, by cause.
    pub failed: Vec<(&'static str, u64)>,
    /// Temporary URLs that were made, and that could not be made.
    pub signed: (u64, u64),
    /// Bytes from clients, and to clients.
    pub bytes: (u64, u64),
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client.
    In,
    /// To a client.
    Out,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let operations = Family::default();
        registry.register(
            "attache_operations",
            "Operations, by outcome",
            operations.clone(),
        );
        let operation_seconds = Seconds::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register(
            "attache_operation_seconds",
            "Duration of operations, to the last byte",
            operation_seconds.clone(),
        );
        let transferred_bytes = Family::default();
        registry.register(
            "attache_transferred_bytes",
            "Bytes of attachments transferred, by direction",
            transferred_bytes.clone(),
        );
        let streams_open = Family::default();
        registry.register(
            "attache_streams_open",
            "Transfers in progress",
            streams_open.clone(),
        );
        let streams = Family::default();
        registry.register("attache_streams", "Transfers, by outcome", streams.clone());
        let signed_urls = Family::default();
        registry.register(
            "attache_signed_urls",
            "Temporary URLs signed",
            signed_urls.clone(),
        );
        let clients_built = Family::default();
        registry.register(
            "attache_clients_built",
            "Storage clients built; one per configuration",
            clients_built.clone(),
        );
        let config_reloads = Family::default();
        registry.register(
            "attache_config_reloads",
            "Configuration reloads, by outcome",
            config_reloads.clone(),
        );
        let s3_requests = Family::default();
        registry.register(
            "attache_s3_requests",
            "Requests of S3 clients, by operation and outcome",
            s3_requests.clone(),
        );
        let limited = Family::default();
        registry.register(
            "attache_limited",
            "Connections and requests refused by a limit",
            limited.clone(),
        );
        let inspections = Family::default();
        registry.register(
            "attache_inspections",
            "Uploads inspected by hooks, by outcome",
            inspections.clone(),
        );
        let moved_objects = Family::default();
        registry.register(
            "attache_moved_objects",
            "Objects that a move in this process has looked at, by outcome",
            moved_objects.clone(),
        );
        let read = Read::default();
        read.register(&mut registry);
        let metrics = Self {
            registry,
            operations,
            operation_seconds,
            transferred_bytes,
            streams_open,
            streams,
            signed_urls,
            clients_built,
            config_reloads,
            limited,
            s3_requests,
            inspections,
            moved_objects,
            tally: Tally::default(),
            read,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Makes the series whose labels are known: a counter that appears with its first event has not risen for Prometheus, so
    /// an alert would miss that event.
    fn begin_at_zero(&self) {
        for direction in [Direction::In, Direction::Out].map(Direction::as_str) {
            let labels = DirectionLabels { direction };
            drop(self.streams_open.get_or_create(&labels));
            drop(self.transferred_bytes.get_or_create(&labels));
            for outcome in STREAM_OUTCOMES {
                let labels = StreamLabels { direction, outcome };
                drop(self.streams.get_or_create(&labels));
            }
        }
        for operation in ["get_object", "put_object"] {
            let labels = S3Labels {
                operation,
                outcome: "ok",
            };
            drop(self.s3_requests.get_or_create(&labels));
        }
        for outcome in ["ok", "failed"] {
            let labels = PlainOutcomeLabels { outcome };
            drop(self.config_reloads.get_or_create(&labels));
        }
        let labels = PlainOutcomeLabels { outcome: "moved" };
        drop(self.moved_objects.get_or_create(&labels));
    }

    /// Counts an object that a move has looked at.
    pub fn object_moved(&self, outcome: &'static str) {
        let labels = PlainOutcomeLabels { outcome };
        self.moved_objects.get_or_create(&labels).inc();
    }

    /// Counts a request of an S3 client. The outcome is "ok", or the code of an error.
    pub fn s3_request(&self, operation: &'static str, outcome: &'static str) {
        let labels = S3Labels { operation, outcome };
        self.s3_requests.get_or_create(&labels).inc();
    }

    /// Counts somebody who met a limit.
    pub fn limited(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts what a hook said of an upload: accepted, refused, or failed to look.
    pub fn inspected(&self, hook: &'static str, outcome: &'static str) {
        let labels = HookLabels { hook, outcome };
        self.inspections.get_or_create(&labels).inc();
    }

    /// Counts an operation that took since `started`.
    pub fn operation(
        &self,
        operation: &'static str,
        backend: &'static str,
        started: Instant,
        outcome: Result<(), &Error>,
    ) {
        self.tally.operation(outcome);
        let outcome = outcome.map_or_else(|error| error.kind().code(), |()| "ok");
        self.operations
            .get_or_create(&OutcomeLabels {
                operation,
                backend,
                outcome,
            })
            .inc();
        self.operation_seconds
            .get_or_create(&OperationLabels { operation, backend })
            .observe(started.elapsed().as_secs_f64());
    }

    /// Counts a temporary URL.
    pub fn signed_url(&self, backend: &'static str, outcome: Result<(), &Error>) {
        let count = if outcome.is_ok() {
            &self.tally.signed
        } else {
            &self.tally.unsigned
        };
        count.fetch_add(1, Ordering::Relaxed);
        let outcome = outcome.map_or_else(|error| error.kind().code(), |()| "ok");
        self.signed_urls
            .get_or_create(&BackendOutcomeLabels { backend, outcome })
            .inc();
    }

    /// Counts a client that was built.
    pub fn client_built(&self, backend: &'static str) {
        self.clients_built
            .get_or_create(&BackendLabels { backend })
            .inc();
    }

    /// Counts a configuration that was loaded again: `ok` or `failed`.
    pub fn config_reloaded(&self, outcome: &'static str) {
        self.config_reloads
            .get_or_create(&PlainOutcomeLabels { outcome })
            .inc();
    }

    /// Counts a transfer, from now until the guard is dropped.
    pub fn stream(self: &Arc<Self>, direction: Direction) -> StreamGuard {
        let labels = DirectionLabels {
            direction: direction.as_str(),
        };
        self.streams_open.get_or_create(&labels).inc();
        StreamGuard {
            bytes: self.transferred_bytes.get_or_create_owned(&labels),
            metrics: self.clone(),
            direction,
            outcome: "client_gone",
        }
    }

    /// Transfers that run now, in and out.
    pub fn streams_open(&self) -> (i64, i64) {
        let open = |direction: Direction| {
            let direction = direction.as_str();
            self.streams_open
                .get_or_create(&DirectionLabels { direction })
                .get()
        };
        (open(Direction::In), open(Direction::Out))
    }

    /// Sums since the start of the process.
    pub fn sums(&self) -> Sums {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = FAILURES.iter().zip(&self.tally.failed);
        let bytes = |direction: Direction| {
            let direction = direction.as_str();
            self.transferred_bytes
                .get_or_create(&DirectionLabels { direction })
                .get()
        };
        Sums {
            ok: count(&self.tally.ok),
            refused: count(&self.tally.refused),
            failed: failed
                .map(|(kind, counter)| (kind.code(), count(counter)))
                .collect(),
            signed: (count(&self.tally.signed), count(&self.tally.unsigned)),
            bytes: (bytes(Direction::In), bytes(Direction::Out)),
        }
    }

    /// How transfers ended, in and out.
    pub fn streams_ended(&self) -> [BTreeMap<&'static str, u64>; 2] {
        [Direction::In, Direction::Out].map(|direction| {
            let direction = direction.as_str();
            let ended = STREAM_OUTCOMES.map(|outcome| {
                let labels = StreamLabels { direction, outcome };
                (outcome, self.streams.get_or_create(&labels).get())
            });
            ended.into_iter().collect()
        })
    }

    /// Everything as Prometheus text (<https://github.com/prometheus/OpenMetrics>).
    pub fn encode(&self, reading: &Reading) -> String {
        self.read.take(reading);
        let mut buffer = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut buffer, &self.registry);
        buffer
    }
}

impl Tally {
    fn operation(&self, outcome: Result<(), &Error>) {
        let counter = match outcome {
            Ok(()) => &self.ok,
            Err(error) => {
                let place = FAILURES.iter().position(|kind| *kind == error.kind());
                place.map_or(&self.refused, |place| &self.failed[place])
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How transfers end; besides, the code of an error that was the sender's own.
const STREAM_OUTCOMES: [&str; 5] = [
    "complete",
    "resumed",
    "client_gone",
    "upstream_failed",
    "timeout",
];

/// A transfer that runs. Counts as left by its client unless told otherwise before it is dropped.
#[derive(Debug)]
pub struct StreamGuard {
    metrics: Arc<Metrics>,
    bytes: Counter,
    direction: Direction,
    outcome: &'static str,
}

impl StreamGuard {
    /// Counts bytes that passed.
    pub fn passed(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// Counts bytes that pass, for a stream that is handed on.
    pub fn counter(&self) -> impl Fn(usize) + Send + 'static {
        let counter = self.bytes.clone();
        move |bytes| {
            counter.inc_by(bytes as u64);
        }
    }

    /// Everything passed.
    pub fn complete(&mut self) {
        self.outcome = "complete";
    }

    /// Everything passed, although it broke on the way.
    pub fn resumed(&mut self) {
        self.outcome = "resumed";
    }

    /// It broke.
    pub fn failed(&mut self, error: &Error) {
        use crate::ErrorKind::{ClientGone, ClientTimeout, UpstreamTimeout};
        self.outcome = match error.kind() {
            UpstreamTimeout | ClientTimeout => "timeout",
            ClientGone => "client_gone",
            kind if kind.is_expected() => kind.code(),
            _ => "upstream_failed",
        };
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let direction = self.direction.as_str();
        self.metrics
            .streams_open
            .get_or_create(&DirectionLabels { direction })
            .dec();
        self.metrics
            .streams
            .get_or_create(&StreamLabels {
                direction,
                outcome: self.outcome,
            })
            .inc();
    }
}
