//! Metrics that are read when somebody asks: memory, leases, connections, the catalog.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{LeaseLabels, LeaseNameLabels, ReasonLabels, StateLabels};
use crate::catalog::moves::MoveNote;
use crate::catalog::{Connections, Totals};
use crate::storage::Vitals;

/// Figures that are read when somebody asks.
#[derive(Debug, Default)]
pub(super) struct Read {
    transfer_memory: Gauge,
    transfer_memory_limit: Gauge,
    resident: Gauge,
    heap: Gauge,
    lease_requests: Family<LeaseLabels, Counter>,
    lease_fetches: Family<LeaseLabels, Counter>,
    lease_remaining: Family<LeaseNameLabels, Gauge<f64, AtomicU64>>,
    config_generation: Gauge,
    upstream_connections: Family<StateLabels, Gauge>,
    upstream_retries: Family<ReasonLabels, Counter>,
    clock_skew: Gauge<f64, AtomicU64>,
    catalog_attachments: Gauge,
    catalog_bytes: Gauge,
    catalog_connections: Family<StateLabels, Gauge>,
    replicas: Gauge,
    uploads_partial: Gauge,
    move_objects: Family<StateLabels, Gauge>,
    move_bytes: Family<StateLabels, Gauge>,
    move_changed: Gauge,
}

/// What is read when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Bytes in transfer buffers.
    pub transfer_memory: u64,
    /// `memory.transfer_bytes`
    pub transfer_memory_limit: u64,
    /// Resident memory of the process, if the system reports it.
    pub resident: Option<u64>,
    /// Bytes that are allocated on the heap, if somebody counts them.
    pub heap: Option<u64>,
    /// What the store's parts say.
    pub vitals: Vitals,
    /// Number of the configuration in effect.
    pub config_generation: u64,
    /// What the catalog holds, if it answered.
    pub totals: Option<Totals>,
    /// Connections to the database of the catalog, if it has any.
    pub catalog_connections: Option<Connections>,
    /// Replicas that have the catalog open and live, if it answered.
    pub replicas: Option<u64>,
    /// Uploads of several requests that are not complete, if the catalog answered.
    pub uploads_partial: Option<u64>,
    /// How far the move from one store into another is, if there is one and a mover has noted it.
    pub noted_move: Option<MoveNote>,
}

impl Read {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "attache_transfer_memory_bytes",
            "Bytes in transfer buffers",
            self.transfer_memory.clone(),
        );
        registry.register(
            "attache_transfer_memory_limit_bytes",
            "Limit of the bytes in all transfer buffers together",
            self.transfer_memory_limit.clone(),
        );
        registry.register(
            "attache_process_resident_bytes",
            "Resident memory of the process",
            self.resident.clone(),
        );
        registry.register(
            "attache_heap_allocated_bytes",
            "Bytes allocated on the heap",
            self.heap.clone(),
        );
        registry.register(
            "attache_lease_requests",
            "Requests for a token or key, by outcome",
            self.lease_requests.clone(),
        );
        registry.register(
            "attache_lease_fetches",
            "Fetches of a token or key from its service",
            self.lease_fetches.clone(),
        );
        registry.register(
            "attache_lease_remaining_seconds",
            "Remaining lifetime of the current token or key",
            self.lease_remaining.clone(),
        );
        registry.register(
            "attache_config_generation",
            "Number of the configuration in effect",
            self.config_generation.clone(),
        );
        registry.register(
            "attache_upstream_connections",
            "Connections to the store",
            self.upstream_connections.clone(),
        );
        registry.register(
            "attache_upstream_retries",
            "Requests to the store that were retried, by reason",
            self.upstream_retries.clone(),
        );
        registry.register(
            "attache_upstream_clock_skew_seconds",
            "How far the clock of the store is ahead of this machine's",
            self.clock_skew.clone(),
        );
        registry.register(
            "attache_catalog_attachments",
            "Attachments stored",
            self.catalog_attachments.clone(),
        );
        registry.register(
            "attache_catalog_bytes",
            "Bytes of attachments stored",
            self.catalog_bytes.clone(),
        );
        registry.register(
            "attache_catalog_connections",
            "Connections to the database of the catalog",
            self.catalog_connections.clone(),
        );
        registry.register(
            "attache_uploads_partial",
            "Uploads of several requests that are not complete",
            self.uploads_partial.clone(),
        );
        registry.register(
            "attache_replicas",
            "Replicas that have the catalog open and live, this one included",
            self.replicas.clone(),
        );
        registry.register(
            "attache_move_objects",
            "Attachments of which the bytes are in the new store, or are not, while storage.moving_from is set",
            self.move_objects.clone(),
        );
        registry.register("attache_move_bytes", "Their bytes", self.move_bytes.clone());
        registry.register(
            "attache_move_changed_timestamp_seconds",
            "When a mover last noted how far it is, in seconds since 1970; 0 if none has",
            self.move_changed.clone(),
        );
    }

    pub(super) fn take(&self, reading: &Reading) {
        set(&self.transfer_memory, reading.transfer_memory);
        set(&self.transfer_memory_limit, reading.transfer_memory_limit);
        if let Some(resident) = reading.resident {
            set(&self.resident, resident);
        }
        if let Some(heap) = reading.heap {
            set(&self.heap, heap);
        }
        set(&self.config_generation, reading.config_generation);
        for lease in &reading.vitals.leases {
            let count = |family: &Family<LeaseLabels, Counter>, outcome, value| {
                let labels = LeaseLabels {
                    lease: lease.name,
                    outcome,
                };
                family
                    .get_or_create(&labels)
                    .inner()
                    .store(value, Ordering::Relaxed);
            };
            count(&self.lease_requests, "hit", lease.hits);
            count(&self.lease_requests, "waited", lease.waited);
            count(&self.lease_requests, "failed", lease.failed);
            count(&self.lease_fetches, "ok", lease.fetches_ok);
            count(&self.lease_fetches, "failed", lease.fetches_failed);
            self.lease_remaining
                .get_or_create(&LeaseNameLabels { lease: lease.name })
                .set(lease.remaining_s.unwrap_or(0.0));
        }
        for (state, value) in [
            ("open", reading.vitals.connections_open),
            ("idle", reading.vitals.connections_idle),
        ] {
            set(
                &self
                    .upstream_connections
                    .get_or_create_owned(&StateLabels { state }),
                value,
            );
        }
        for (reason, value) in &reading.vitals.retries {
            self.upstream_retries
                .get_or_create(&ReasonLabels { reason })
                .inner()
                .store(*value, Ordering::Relaxed);
        }
        if let Some(skew) = reading.vitals.clock_skew_s {
            self.clock_skew.set(skew);
        }
        if let Some(totals) = &reading.totals {
            set(&self.catalog_attachments, totals.attachments);
            set(&self.catalog_bytes, totals.bytes);
        }
        if let Some(connections) = &reading.catalog_connections {
            for (state, value) in [("open", connections.open), ("idle", connections.idle)] {
                let gauge = self
                    .catalog_connections
                    .get_or_create_owned(&StateLabels { state });
                set(&gauge, value as u64);
            }
        }
        if let Some(waiting) = reading.uploads_partial {
            set(&self.uploads_partial, waiting);
        }
        if let Some(replicas) = reading.replicas {
            set(&self.replicas, replicas);
        }
        self.take_move(reading.noted_move.as_ref());
    }
}

impl Read {
    /// All at zero where nothing is moved.
    fn take_move(&self, noted: Option<&MoveNote>) {
        let of = |count: fn(&MoveNote) -> u64| noted.map_or(0, count);
        let objects = (of(|note| note.objects), of(|note| note.total_objects));
        let bytes = (of(|note| note.bytes), of(|note| note.total_bytes));
        for (family, (moved, total)) in [(&self.move_objects, objects), (&self.move_bytes, bytes)] {
            for (state, value) in [("moved", moved), ("left", total.saturating_sub(moved))] {
                set(&family.get_or_create_owned(&StateLabels { state }), value);
            }
        }
        self.move_changed
            .set(noted.map_or(0, |note| note.noted_at.unix_timestamp()));
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Resident memory of this process, where the system tells (`/proc/self/statm` on Linux).
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // 4 KiB is the page size of every system on which this file is read as such: x86-64, and arm64 by default.
    Some(pages * 4096)
}
