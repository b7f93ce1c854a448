//! What is to break, and when.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// What can go wrong with one service only; its fields are fields of its [`Faults`].
pub trait Service: Clone + Debug + Default + Serialize + DeserializeOwned + Send + 'static {
    /// Whether somebody may be waiting for it to change.
    fn silences(&self) -> bool;
}

/// Everything that can be made to go wrong; changed at any time through `faults` of the stand-in.
///
/// The fields are plain data, so a test can set exactly what it means; the methods write the common
/// cases in one line. Requests look at the faults when they need them: a body that is on its way
/// feels a new throttle at its next frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
#[non_exhaustive]
pub struct Faults<O: Operation, S: Service> {
    /// Where the random numbers of the rates start. Setting it again replays the same sequence.
    pub seed: u64,
    /// Answers to spoil; the first rule that matches wins.
    pub answers: Vec<AnswerFault<O>>,
    /// Bodies of objects to spoil on their way out.
    pub responses: Vec<BodyFault<O>>,
    /// Bodies to spoil on their way in.
    pub requests: Vec<BodyFault<O>>,
    /// How long every request is kept waiting before it is looked at.
    #[serde(with = "millis")]
    pub latency: Duration,
    /// The same for single operations, in milliseconds, instead of `latency`.
    pub latency_of_ms: BTreeMap<O, u64>,
    /// Speed of each body of an object on its way out.
    pub download_bytes_per_second: Option<u64>,
    /// Speed of each body on its way in.
    pub upload_bytes_per_second: Option<u64>,
    /// How far the clock of the store is ahead (or, below zero, behind), in seconds: its `Date`, and its notion of
    /// now for tokens, signatures and conditions.
    pub clock_skew_seconds: i64,
    /// Whether the store closes new connections as soon as they are made. Open ones stay.
    pub refuse_connections: bool,
    /// What can go wrong with this service only.
    #[serde(flatten)]
    pub service: S,
}

impl<O: Operation, S: Service> Default for Faults<O, S> {
    fn default() -> Self {
        Self {
            seed: 1,
            answers: Vec::new(),
            responses: Vec::new(),
            requests: Vec::new(),
            latency: Duration::ZERO,
            latency_of_ms: BTreeMap::new(),
            download_bytes_per_second: None,
            upload_bytes_per_second: None,
            clock_skew_seconds: 0,
            refuse_connections: false,
            service: S::default(),
        }
    }
}

impl<O: Operation, S: Service> Deref for Faults<O, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.service
    }
}

impl<O: Operation, S: Service> DerefMut for Faults<O, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.service
    }
}

/// One way to spoil an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub struct AnswerFault<O: Operation> {
    /// The operation; every one if absent.
    pub op: Option<O>,
    /// Share of matching calls, 0 to 1.
    pub rate: f64,
    /// How many more calls; without end if absent.
    pub remaining: Option<u64>,
    /// Matching calls to let pass first.
    pub skip: u64,
    /// How far the call gets.
    pub stage: Stage,
    /// What the caller sees.
    pub action: Action,
}

impl<O: Operation> Default for AnswerFault<O> {
    fn default() -> Self {
        Self {
            op: None,
            rate: 1.0,
            remaining: None,
            skip: 0,
            stage: Stage::default(),
            action: answer(503, O::BUSY, None),
        }
    }
}

/// How far a call gets before it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Answered from the head; the body stays unread. A client that is still sending may see its
    /// connection break before it sees the answer, as with the service.
    Before,
    /// The body is read and thrown away, so the answer surely arrives.
    #[default]
    AfterBody,
    /// The call is carried out, and the caller does not learn of it.
    AfterCommit,
}

/// What the caller of a failing call sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An error answer.
    Answer {
        /// HTTP status.
        status: u16,
        /// The code in the body.
        code: String,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// The connection ends without an answer.
    Disconnect,
    /// No answer; the connection stays open until the rule is gone.
    Hang,
}

/// One way to spoil a body under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub struct BodyFault<O: Operation> {
    /// The operation; every one with a body if absent.
    pub op: Option<O>,
    /// Share of matching bodies, 0 to 1.
    pub rate: f64,
    /// How many more bodies; without end if absent.
    pub remaining: Option<u64>,
    /// Bytes of this body that pass unharmed.
    pub after_bytes: u64,
    /// What happens then.
    pub kind: BodyFaultKind,
}

impl<O: Operation> Default for BodyFault<O> {
    fn default() -> Self {
        Self {
            op: None,
            rate: 1.0,
            remaining: None,
            after_bytes: 0,
            kind: BodyFaultKind::Cut,
        }
    }
}

/// What happens to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFaultKind {
    /// The connection is closed.
    Cut,
    /// Nothing moves any more, and the connection stays open until no rule silences.
    Silence,
    /// The next byte arrives with one bit turned. On the way in, it is stored so.
    Corrupt,
}

impl<O: Operation, S: Service> Faults<O, S> {
    /// Everything works again. Valid secrets and revocations are no faults and stay.
    pub fn clear(&mut self) {
        let seed = self.seed;
        *self = Self {
            seed,
            ..Self::default()
        };
    }

    /// A share of the calls of `op` (of all calls if `None`) is answered `status` and `code`.
    pub fn fail(&mut self, op: impl Into<Option<O>>, rate: f64, status: u16, code: &str) {
        self.answers.push(AnswerFault {
            op: op.into(),
            rate,
            action: answer(status, code, None),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are answered `status` and `code`, then all is well.
    pub fn fail_next(&mut self, op: impl Into<Option<O>>, times: u64, status: u16, code: &str) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: answer(status, code, None),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are answered 503 with `Retry-After`.
    pub fn busy_next(&mut self, op: impl Into<Option<O>>, times: u64, retry_after: Duration) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: answer(503, O::BUSY, Some(retry_after.as_secs())),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are carried out, and the connection ends before the answer.
    pub fn lose_answer(&mut self, op: impl Into<Option<O>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            stage: Stage::AfterCommit,
            action: Action::Disconnect,
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls find their connection closed.
    pub fn disconnect_next(&mut self, op: impl Into<Option<O>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: Action::Disconnect,
            ..AnswerFault::default()
        });
    }

    /// Calls are accepted and never answered, until the faults are cleared.
    pub fn hang(&mut self, op: impl Into<Option<O>>) {
        self.answers.push(AnswerFault {
            op: op.into(),
            action: Action::Hang,
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are read and never answered; other calls go on. Their connections stay open until their
    /// clients close them, or the faults are cleared.
    pub fn swallow_next(&mut self, op: impl Into<Option<O>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            stage: Stage::AfterBody,
            action: Action::Hang,
            ..AnswerFault::default()
        });
    }

    /// The next `times` bodies of objects end after `after_bytes`.
    pub fn cut_response(&mut self, after_bytes: u64, times: u64) {
        self.responses
            .push(body_fault(BodyFaultKind::Cut, after_bytes, times));
    }

    /// The next `times` bodies of objects fall silent after `after_bytes`.
    pub fn silence_response(&mut self, after_bytes: u64, times: u64) {
        self.responses
            .push(body_fault(BodyFaultKind::Silence, after_bytes, times));
    }

    /// The next `times` bodies of objects have one bit turned in the byte at `at`.
    pub fn corrupt_response(&mut self, at: u64, times: u64) {
        self.responses
            .push(body_fault(BodyFaultKind::Corrupt, at, times));
    }

    /// The next `times` uploads lose their connection after `after_bytes`.
    pub fn cut_request(&mut self, after_bytes: u64, times: u64) {
        self.requests
            .push(body_fault(BodyFaultKind::Cut, after_bytes, times));
    }

    /// The next `times` uploads are not read any further after `after_bytes`. What is not read cannot
    /// be seen to end either, so their connections count as open until the faults are cleared.
    pub fn silence_request(&mut self, after_bytes: u64, times: u64) {
        self.requests
            .push(body_fault(BodyFaultKind::Silence, after_bytes, times));
    }

    /// The next `times` uploads are stored with one bit turned in the byte at `at`.
    pub fn corrupt_request(&mut self, at: u64, times: u64) {
        self.requests
            .push(body_fault(BodyFaultKind::Corrupt, at, times));
    }

    /// Whether somebody may be waiting for a rule to go.
    pub fn silences(&self) -> bool {
        let bodies = self.responses.iter().chain(&self.requests);
        self.service.silences()
            || bodies.into_iter().any(|r| r.kind == BodyFaultKind::Silence)
            || self.answers.iter().any(|r| r.action == Action::Hang)
    }
}

fn answer(status: u16, code: &str, retry_after_seconds: Option<u64>) -> Action {
    Action::Answer {
        status,
        code: code.to_owned(),
        retry_after_seconds,
    }
}

fn body_fault<O: Operation>(kind: BodyFaultKind, after_bytes: u64, times: u64) -> BodyFault<O> {
    BodyFault {
        remaining: Some(times),
        after_bytes,
        kind,
        ..BodyFault::default()
    }
}

/// Durations as whole milliseconds.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes one.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads one.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
