//! What happened, for tests to assert on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use serde::Serialize;
use stand_in::scene::{Gauge, Traffic};

use crate::op::Op;

/// A snapshot of everything counted since the start or the last reset.
///
/// Gauges (`*_open`, `open_*`, `objects`, `uploads`) are of this moment and survive a reset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Calls by operation name (see [`Op::name`]); an attempt that is refused counts too.
    pub operations: BTreeMap<&'static str, u64>,
    /// Answers by HTTP status.
    pub answers: BTreeMap<u16, u64>,
    /// Answers by error code.
    pub errors: BTreeMap<String, u64>,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of objects handed to the network.
    pub bytes_out: u64,
    /// Objects being sent now.
    pub open_reads: u64,
    /// Bodies being received now.
    pub open_writes: u64,
    /// Objects, without older versions.
    pub objects: u64,
    /// Uploads in parts that are neither completed nor aborted.
    pub uploads: u64,
    /// Requests authorised by a signature in their headers.
    pub signed_requests: u64,
    /// Requests authorised by a signature in their URL.
    pub presigned_requests: u64,
    /// Requests authorised by a bearer token.
    pub bearer_requests: u64,
    /// Requests refused for want of a valid authorisation, or of rights.
    pub refused: u64,
    /// Calls for a token.
    pub token_requests: u64,
    /// Tokens given out.
    pub tokens_issued: u64,
    /// Faults that took effect.
    pub faults_fired: u64,
}

impl Counts {
    /// Calls of one operation.
    pub fn of(&self, op: Op) -> u64 {
        self.operations.get(op.name()).copied().unwrap_or_default()
    }

    /// Calls of all operations of the store together.
    pub fn requests(&self) -> u64 {
        self.operations.values().sum::<u64>() - self.of(Op::Token)
    }
}

/// One call, as it came and as it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallInfo {
    /// The operation.
    pub op: Op,
    /// The path as sent, still encoded.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// Status of the answer; `None` if the connection ended without one.
    pub status: Option<u16>,
    /// Code of an error.
    pub code: Option<String>,
}

/// Where counting happens.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    calls: Mutex<VecDeque<CallInfo>>,
    pub(crate) connections: Gauge,
}

impl Tally {
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
        counts.connections_accepted = self.connections.total();
        counts.connections_open = self.connections.open_now();
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
        self.note(|counts| *counts = Counts::default());
        self.connections.reset_total();
        traffic.reset();
    }
}

/// Calls remembered: enough for a test, and little memory in a benchmark.
const CALLS_KEPT: usize = 10_000;
