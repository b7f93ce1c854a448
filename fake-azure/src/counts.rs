//! What happened, for tests to assert on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use stand_in::scene::{Gauge, Traffic};

use crate::op::Op;

/// A snapshot of everything counted since the start or the last reset.
///
/// Gauges (`*_open`, `open_*`, `uncommitted_blocks`, `blobs`) are of this moment and survive a reset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Calls by operation name (see [`Op::name`]); an attempt that is refused counts too.
    pub operations: BTreeMap<&'static str, u64>,
    /// Answers by HTTP status, blob and Entra together.
    pub answers: BTreeMap<u16, u64>,
    /// Answers by error code.
    pub errors: BTreeMap<String, u64>,
    /// Calls for a token: client credentials and managed identity together.
    pub token_requests: u64,
    /// Tokens given out.
    pub tokens_issued: u64,
    /// Calls for a user delegation key.
    pub delegation_key_requests: u64,
    /// Token calls that proved themselves by a client assertion.
    pub assertions_presented: u64,
    /// Connections accepted by the blob listeners.
    pub connections_accepted: u64,
    /// Connections to the blob listeners open now.
    pub connections_open: u64,
    /// Connections accepted by the Entra listener.
    pub entra_connections_accepted: u64,
    /// Connections to the Entra listener open now.
    pub entra_connections_open: u64,
    /// Bytes of request bodies read by the blob service.
    pub bytes_in: u64,
    /// Bytes of blob content handed to the network.
    pub bytes_out: u64,
    /// Blob bodies being sent now.
    pub open_reads: u64,
    /// Blob or block bodies being received now.
    pub open_writes: u64,
    /// Blocks staged and not committed, over all blobs.
    pub uncommitted_blocks: u64,
    /// Committed blobs, without snapshots.
    pub blobs: u64,
    /// Requests authorised by a bearer token.
    pub bearer_requests: u64,
    /// Requests authorised by a Shared Key signature.
    pub shared_key_requests: u64,
    /// Requests authorised by a shared access signature.
    pub sas_requests: u64,
    /// Requests refused for want of a valid authorisation.
    pub refused: u64,
    /// Uses of each token, by its serial number (1 is the first token issued).
    pub tokens_used: BTreeMap<u64, u64>,
    /// Every secret that was ever valid, in the order in which it was first configured.
    pub secrets: Vec<SecretUse>,
    /// Token calls with a secret that was never valid.
    pub unknown_secrets_presented: u64,
    /// Faults that took effect.
    pub faults_fired: u64,
}

impl Counts {
    /// Calls of one operation.
    pub fn of(&self, op: Op) -> u64 {
        self.operations.get(op.name()).copied().unwrap_or_default()
    }

    /// Calls of all blob operations together.
    pub fn blob_requests(&self) -> u64 {
        let entra = [Op::Token, Op::ManagedIdentityToken, Op::Discovery];
        let all: u64 = self.operations.values().sum();
        all - entra.iter().map(|op| self.of(*op)).sum::<u64>()
    }
}

/// How one client secret was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SecretUse {
    /// Whether Entra takes it now.
    pub valid: bool,
    /// How often it was presented, taken or not.
    pub presented: u64,
    /// When it was last presented, as milliseconds since the start; compare with `FakeAzure::elapsed`.
    pub last_presented_ms: Option<u64>,
}

/// One call of the blob service, as it came and as it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallInfo {
    /// The operation.
    pub op: Op,
    /// The path as sent, still encoded.
    pub path: String,
    /// `Range` or `x-ms-range`.
    pub range: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// `x-ms-client-request-id`.
    pub client_request_id: Option<String>,
    /// `x-ms-request-id` of the answer.
    pub request_id: String,
    /// Status of the answer; `None` if the connection ended without one.
    pub status: Option<u16>,
    /// `x-ms-error-code` of the answer.
    pub code: Option<String>,
}

/// Where counting happens.
#[derive(Debug)]
pub(crate) struct Tally {
    started: Instant,
    counts: Mutex<Counts>,
    calls: Mutex<VecDeque<CallInfo>>,
    pub(crate) blob_connections: Gauge,
    pub(crate) entra_connections: Gauge,
}

impl Tally {
    pub(crate) fn new(secrets: usize) -> Self {
        let mut counts = Counts::default();
        counts.secrets.resize(
            secrets,
            SecretUse {
                valid: true,
                ..SecretUse::default()
            },
        );
        Self {
            started: Instant::now(),
            counts: Mutex::new(counts),
            calls: Mutex::default(),
            blob_connections: Gauge::default(),
            entra_connections: Gauge::default(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Changes the counters under their lock.
    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().expect("no holder of this lock panics"))
    }

    pub(crate) fn log(&self, call: CallInfo) {
        let mut calls = self.calls.lock().expect("no holder of this lock panics");
        if calls.len() == CALLS_KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(crate) fn calls(&self) -> Vec<CallInfo> {
        let calls = self.calls.lock().expect("no holder of this lock panics");
        calls.iter().cloned().collect()
    }

    pub(crate) fn snapshot(&self, traffic: &Traffic) -> Counts {
        let mut counts = self.note(|counts| counts.clone());
        counts.connections_accepted = self.blob_connections.total();
        counts.connections_open = self.blob_connections.open_now();
        counts.entra_connections_accepted = self.entra_connections.total();
        counts.entra_connections_open = self.entra_connections.open_now();
        counts.open_reads = traffic.reads.open_now();
        counts.open_writes = traffic.writes.open_now();
        counts.bytes_in = traffic.bytes_in.load(Ordering::Relaxed);
        counts.bytes_out = traffic.bytes_out.load(Ordering::Relaxed);
        counts.faults_fired = traffic.faults_fired();
        counts
    }

    pub(crate) fn reset(&self, traffic: &Traffic) {
        self.calls
            .lock()
            .expect("no holder of this lock panics")
            .clear();
        self.note(|counts| {
            let mut secrets = std::mem::take(&mut counts.secrets);
            for secret in &mut secrets {
                secret.presented = 0;
                secret.last_presented_ms = None;
            }
            *counts = Counts {
                secrets,
                ..Counts::default()
            };
        });
        for gauge in [&self.blob_connections, &self.entra_connections] {
            gauge.reset_total();
        }
        traffic.reset();
    }
}

/// Calls remembered: enough for a test, and little memory in a benchmark.
const CALLS_KEPT: usize = 10_000;
