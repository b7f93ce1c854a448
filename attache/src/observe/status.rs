//! What the service says about itself: plain values, the JSON of `/v1/status` and of the reports.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Interrupted uploads whose bytes were whole in the store: they are attachments now.
    pub uploads_completed: u64,
    /// Interrupted uploads that were removed.
    pub uploads_removed: u64,
    /// Interrupted deletions that were finished.
    pub deletions_finished: u64,
    /// Litter of dead processes that was removed from the store.
    pub litter_removed: u64,
    /// Deletions that the store refuses as long as a retention policy, a legal hold or a lease stands. Every sweep tries again.
    pub retained: u64,
    /// Things that could not be cleaned up; a later sweep tries again.
    pub failed: u64,
}

/// What a new configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// The generation that serves now.
    pub generation: u64,
    /// Parts that were built anew.
    pub rebuilt: Vec<&'static str>,
    /// Parts that were carried over, with their leases and connections.
    pub kept: Vec<&'static str>,
    /// Keys that changed and take effect at the next start only.
    pub start_only: Vec<&'static str>,
}

/// How the last reload ended.
#[derive(Clone, Debug, Serialize)]
pub struct LastReload {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// It failed, and why.
    pub error: Option<String>,
    /// What it did.
    pub report: Option<ReloadReport>,
}

/// How the last sweep went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LastSweep {
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What it did.
    #[serde(flatten)]
    pub report: SweepReport,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Ok,
    /// It works, but somebody should look.
    Attention,
    /// Something does not work.
    Trouble,
}

/// A sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// How things stand.
    pub level: Level,
    /// What is the case.
    pub sentence: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The state of the service.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the names are the documentation; they are the JSON of /v1/status"
)]
pub struct Status {
    pub version: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    pub uptime_s: i64,
    pub health: Health,
    pub backend: &'static str,
    pub delivery: &'static str,
    pub memory: MemoryStatus,
    pub streams: StreamStatus,
    pub upstream: UpstreamStatus,
    pub leases: Vec<LeaseStatus>,
    pub signing: SigningStatus,
    pub configuration: ConfigurationStatus,
    pub storage: StorageStatus,
    pub catalog: CatalogStatus,
    pub sweep: Option<LastSweep>,
}

macro_rules! status {
    ($($name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Serialize)]
        #[expect(missing_docs, reason = "the names are the documentation; they are the JSON of /v1/status")]
        pub struct $name { $(pub $field: $type),* }
    )*};
}
status! {
    MemoryStatus {
        resident_bytes: Option<u64>,
        heap_bytes: Option<u64>,
        trend_bytes_per_hour: Option<f64>,
        transfer_bytes: u64,
        transfer_limit_bytes: u64,
    }
    StreamStatus {
        uploads_open: i64,
        downloads_open: i64,
        uploads_ended: BTreeMap<&'static str, u64>,
        downloads_ended: BTreeMap<&'static str, u64>,
    }
    UpstreamStatus {
        connections_open: u64,
        connections_idle: u64,
        retries: BTreeMap<&'static str, u64>,
        clock_skew_s: Option<f64>,
        first_byte_p50_ms: Option<f64>,
        first_byte_p99_ms: Option<f64>,
    }
    LeaseStatus {
        name: &'static str,
        source: String,
        remaining_s: Option<f64>,
        last_error: Option<String>,
        fetches_ok: u64,
        fetches_failed: u64,
    }
    SigningStatus { urls: u64, failed: u64, per_second: f64 }
    ConfigurationStatus {
        generation: u64,
        last_reload: Option<LastReload>,
        open_on: Option<String>,
    }
    StorageStatus { in_place: bool, moving: Option<MovingStatus> }
    MovingStatus {
        from: String,
        to: String,
        objects: Option<u64>,
        total_objects: Option<u64>,
        bytes: Option<u64>,
        total_bytes: Option<u64>,
        changed_s: Option<f64>,
    }
    CatalogStatus {
        backend: &'static str,
        replicas: Option<u64>,
        connections_open: Option<usize>,
        connections_idle: Option<usize>,
        attachments: Option<u64>,
        bytes: Option<u64>,
        reserved_bytes: Option<u64>,
    }
}
