//! What the service says of itself: its state, its metrics, and what it remembers of the last hour and day.

use std::sync::PoisonError;
use std::time::Instant;

use time::OffsetDateTime;

use super::moving::places;
use super::{Attache, Before};
use crate::catalog::moves::MoveNote;
use crate::observe::health;
use crate::observe::history::{Sample, Window};
use crate::observe::metrics::{Reading, resident_bytes};
use crate::observe::status::{
    CatalogStatus, ConfigurationStatus, Health, LeaseStatus, Level, MemoryStatus, MovingStatus,
    SigningStatus, Status, StorageStatus, StreamStatus, UpstreamStatus,
};

impl Attache {
    /// Everything about the state of the service, for the status page. `open_on` is where the program around it lets everybody
    /// in who connects, if it does.
    pub async fn status(&self, open_on: Option<String>) -> Status {
        let reading = self.reading().await;
        let parts = self.parts();
        let in_place = self.in_place(&parts).await.is_ok();
        let moving = places(&parts).map(|of| moving_status(of, reading.noted_move.as_ref()));
        let metrics = &self.0.metrics;
        let (streams_in, streams_out) = metrics.streams_open();
        let [uploads_ended, downloads_ended] = metrics.streams_ended();
        let uptime_s = (OffsetDateTime::now_utc() - self.0.started).whole_seconds();
        let (urls, failed) = metrics.sums().signed;
        let vitals = reading.vitals;
        let quantile = |q| {
            vitals
                .first_byte
                .as_ref()
                .and_then(|counts| counts.quantile_ms(q))
        };
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.0.started,
            uptime_s,
            health: Health {
                level: Level::Ok,
                sentence: String::new(),
                advice: None,
            },
            backend: parts.storage.name(),
            delivery: parts.config.delivery_mode().as_str(),
            memory: MemoryStatus {
                resident_bytes: reading.resident,
                heap_bytes: reading.heap,
                trend_bytes_per_hour: self.0.history.trend_per_hour(),
                transfer_bytes: reading.transfer_memory,
                transfer_limit_bytes: reading.transfer_memory_limit,
            },
            streams: StreamStatus {
                uploads_open: streams_in,
                downloads_open: streams_out,
                uploads_ended,
                downloads_ended,
            },
            upstream: UpstreamStatus {
                connections_open: vitals.connections_open,
                connections_idle: vitals.connections_idle,
                retries: vitals.retries.iter().copied().collect(),
                clock_skew_s: vitals.clock_skew_s,
                first_byte_p50_ms: quantile(0.5),
                first_byte_p99_ms: quantile(0.99),
            },
            leases: vitals
                .leases
                .iter()
                .map(|lease| LeaseStatus {
                    name: lease.name,
                    source: lease.source.clone(),
                    remaining_s: lease.remaining_s,
                    last_error: lease.last_error.clone(),
                    fetches_ok: lease.fetches_ok,
                    fetches_failed: lease.fetches_failed,
                })
                .collect(),
            signing: SigningStatus {
                urls,
                failed,
                per_second: urls as f64 / (uptime_s.max(1) as f64),
            },
            configuration: ConfigurationStatus {
                generation: parts.generation,
                last_reload: self.last_reload().clone(),
                open_on,
            },
            storage: StorageStatus { in_place, moving },
            catalog: CatalogStatus {
                backend: self.0.catalog.name(),
                replicas: reading.replicas,
                connections_open: reading.catalog_connections.map(|all| all.open),
                connections_idle: reading.catalog_connections.map(|all| all.idle),
                attachments: reading.totals.map(|totals| totals.attachments),
                bytes: reading.totals.map(|totals| totals.bytes),
                reserved_bytes: reading.totals.map(|totals| totals.reserved_bytes),
            },
            sweep: *self
                .0
                .last_sweep
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        };
        status.health = health::assess(&status, &self.0.history.recent(health::LOOKS_BACK));
        status
    }

    /// What the process remembers of itself; empty unless somebody calls [`observe`](Self::observe) regularly.
    pub fn history(&self, window: Window) -> Vec<Sample> {
        self.0.history.samples(window)
    }

    /// Takes a sample for the history. Call it every [`SAMPLE_EVERY`](crate::observe::history::SAMPLE_EVERY).
    pub async fn observe(&self) {
        let reading = self.reading().await;
        let sums = self.0.metrics.sums();
        let (uploads, downloads) = self.0.metrics.streams_open();
        let now = Instant::now();
        let mut before = self.0.before.lock().unwrap_or_else(PoisonError::into_inner);
        let last = before.replace(Before {
            at: now,
            sums: sums.clone(),
            first_byte: reading.vitals.first_byte.clone(),
        });
        // The first one has nothing to be compared with.
        let Some(last) = last else { return };
        let seconds = now.duration_since(last.at).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let first_byte = match (&reading.vitals.first_byte, &last.first_byte) {
            (Some(now), Some(before)) => Some(now.since(before)),
            (now, _) => now.clone(),
        };
        let failed = sums.failed.iter().zip(&last.sums.failed);
        let failed = failed.filter_map(|((cause, now), (_, before))| {
            let new = now.saturating_sub(*before);
            (new > 0).then_some((*cause, new))
        });
        let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let positive = |count: i64| u64::try_from(count).unwrap_or(0);
        self.0.history.push(Sample {
            at_ms: i64::try_from(ms).unwrap_or(0),
            resident_bytes: reading.resident.unwrap_or(0),
            heap_bytes: reading.heap.unwrap_or(0),
            transfer_bytes: reading.transfer_memory,
            uploads: positive(uploads),
            downloads: positive(downloads),
            in_per_s: rate(sums.bytes.0, last.sums.bytes.0),
            out_per_s: rate(sums.bytes.1, last.sums.bytes.1),
            ok_per_s: rate(sums.ok, last.sums.ok),
            refused_per_s: rate(sums.refused, last.sums.refused),
            failed: failed.collect(),
            connections: reading.vitals.connections_open,
            upstream_ms: first_byte
                .and_then(|counts| Some((counts.quantile_ms(0.5)?, counts.quantile_ms(0.99)?))),
            leases: reading
                .vitals
                .leases
                .iter()
                .filter_map(|lease| Some((lease.name, lease.remaining_s?)))
                .collect(),
        });
    }

    /// Says who counts the bytes on the heap of this process. The first one stays.
    pub fn count_heap_with(&self, heap: fn() -> u64) {
        let _ = self.0.heap.set(heap);
    }

    /// The metrics as Prometheus text.
    pub async fn metrics_text(&self) -> String {
        self.0.metrics.encode(&self.reading().await)
    }

    async fn reading(&self) -> Reading {
        let parts = self.parts();
        let catalog = &self.0.catalog;
        // Together: each may take as long as a database that is away is waited for.
        let waiting = async {
            match catalog.partial() {
                Some(partial) => partial.count_waiting().await.ok(),
                None => None,
            }
        };
        let (totals, replicas, uploads_partial, noted_move) = futures::join!(
            catalog.totals(),
            catalog.replicas(),
            waiting,
            self.noted_move(&parts)
        );
        Reading {
            transfer_memory: parts.budget.held(),
            transfer_memory_limit: parts.budget.limit(),
            resident: resident_bytes(),
            heap: self.0.heap.get().map(|heap| heap()),
            vitals: parts.storage.vitals(),
            config_generation: parts.generation,
            totals: totals.ok(),
            catalog_connections: catalog.connections(),
            replicas: replicas.ok().map(|replicas| replicas.len() as u64),
            uploads_partial,
            noted_move,
        }
    }
}

/// How far the move between two stores is, as a mover noted it last.
fn moving_status((from, to): (String, String), noted: Option<&MoveNote>) -> MovingStatus {
    let age = noted.map(|note| OffsetDateTime::now_utc() - note.noted_at);
    MovingStatus {
        from,
        to,
        objects: noted.map(|note| note.objects),
        total_objects: noted.map(|note| note.total_objects),
        bytes: noted.map(|note| note.bytes),
        total_bytes: noted.map(|note| note.total_bytes),
        // The clock of the mover may be ahead of ours.
        changed_s: age.map(|age| age.as_seconds_f64().max(0.0)),
    }
}
