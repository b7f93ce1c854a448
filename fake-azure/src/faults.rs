//! What is to break, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::op::Op;

/// Everything that can be made to go wrong; changed at any time through `FakeAzure::faults`.
///
/// The fields are plain data, so a test can set exactly what it means; the methods write the common
/// cases in one line. Requests look at the faults when they need them: a body that is on its way
/// feels a new throttle at its next frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Faults {
    /// Where the random numbers of the rates start. Setting it again replays the same sequence.
    pub seed: u64,
    /// Answers to spoil; the first rule that matches wins.
    pub answers: Vec<AnswerFault>,
    /// Blob bodies to spoil on their way out.
    pub responses: Vec<BodyFault>,
    /// Bodies to spoil on their way in.
    pub requests: Vec<BodyFault>,
    /// How long every request is kept waiting before it is looked at.
    #[serde(with = "millis")]
    pub latency: Duration,
    /// The same for single operations, in milliseconds, instead of `latency`.
    pub latency_of_ms: BTreeMap<Op, u64>,
    /// Speed of each blob body on its way out.
    pub download_bytes_per_second: Option<u64>,
    /// Speed of each body on its way in.
    pub upload_bytes_per_second: Option<u64>,
    /// Life of the tokens given out from now on.
    #[serde(with = "millis")]
    pub token_lifetime: Duration,
    /// Longest life of a delegation key, whatever was asked for.
    #[serde(with = "millis")]
    pub delegation_key_lifetime: Duration,
    /// How far the clock of the blob service is ahead (or, below zero, behind), in seconds: its
    /// `Date`, and its notion of now for tokens, signatures and conditions.
    pub clock_skew_seconds: i64,
    /// The state of Entra.
    pub entra: Entra,
    /// Whether the blob service closes new connections as soon as they are made. Open ones stay.
    pub refuse_connections: bool,
}

impl Default for Faults {
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
            token_lifetime: TOKEN_LIFETIME,
            delegation_key_lifetime: DELEGATION_KEY_LIFETIME,
            clock_skew_seconds: 0,
            entra: Entra::Up,
            refuse_connections: false,
        }
    }
}

/// Whether Entra answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entra {
    /// As usual.
    #[default]
    Up,
    /// 503 for every call.
    Unavailable,
    /// Accepts calls and never answers.
    Hang,
}

/// One way to spoil an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerFault {
    /// The operation; every one if absent.
    pub op: Option<Op>,
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

impl Default for AnswerFault {
    fn default() -> Self {
        Self {
            op: None,
            rate: 1.0,
            remaining: None,
            skip: 0,
            stage: Stage::default(),
            action: Action::default(),
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
        /// `x-ms-error-code`, and the code in the body.
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

impl Default for Action {
    fn default() -> Self {
        Self::Answer {
            status: 503,
            code: "ServerBusy".to_owned(),
            retry_after_seconds: None,
        }
    }
}

/// One way to spoil a body under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BodyFault {
    /// The operation; every one with a body if absent.
    pub op: Option<Op>,
    /// Share of matching bodies, 0 to 1.
    pub rate: f64,
    /// How many more bodies; without end if absent.
    pub remaining: Option<u64>,
    /// Bytes of this body that pass unharmed.
    pub after_bytes: u64,
    /// What happens then.
    pub kind: BodyFaultKind,
}

impl Default for BodyFault {
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

impl Faults {
    /// Everything works again. Valid secrets and revocations are no faults and stay.
    pub fn clear(&mut self) {
        let seed = self.seed;
        *self = Self {
            seed,
            ..Self::default()
        };
    }

    /// A share of the calls of `op` (of all calls if `None`) is answered `status` and `code`.
    pub fn fail(&mut self, op: impl Into<Option<Op>>, rate: f64, status: u16, code: &str) {
        self.answers.push(AnswerFault {
            op: op.into(),
            rate,
            action: answer(status, code, None),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are answered `status` and `code`, then all is well.
    pub fn fail_next(&mut self, op: impl Into<Option<Op>>, times: u64, status: u16, code: &str) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: answer(status, code, None),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are answered 503 `ServerBusy` with `Retry-After`.
    pub fn busy_next(&mut self, op: impl Into<Option<Op>>, times: u64, retry_after: Duration) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: answer(503, "ServerBusy", Some(retry_after.as_secs())),
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are carried out, and the connection ends before the answer.
    pub fn lose_answer(&mut self, op: impl Into<Option<Op>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            stage: Stage::AfterCommit,
            action: Action::Disconnect,
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls find their connection closed.
    pub fn disconnect_next(&mut self, op: impl Into<Option<Op>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            action: Action::Disconnect,
            ..AnswerFault::default()
        });
    }

    /// Calls are accepted and never answered, until the faults are cleared.
    pub fn hang(&mut self, op: impl Into<Option<Op>>) {
        self.answers.push(AnswerFault {
            op: op.into(),
            action: Action::Hang,
            ..AnswerFault::default()
        });
    }

    /// The next `times` calls are read and never answered; other calls go on. Their connections stay open until their
    /// clients close them, or the faults are cleared.
    pub fn swallow_next(&mut self, op: impl Into<Option<Op>>, times: u64) {
        self.answers.push(AnswerFault {
            op: op.into(),
            remaining: Some(times),
            stage: Stage::AfterBody,
            action: Action::Hang,
            ..AnswerFault::default()
        });
    }

    /// The next `times` blob bodies end after `after_bytes`.
    pub fn cut_response(&mut self, after_bytes: u64, times: u64) {
        self.responses
            .push(body_fault(BodyFaultKind::Cut, after_bytes, times));
    }

    /// The next `times` blob bodies fall silent after `after_bytes`.
    pub fn silence_response(&mut self, after_bytes: u64, times: u64) {
        self.responses
            .push(body_fault(BodyFaultKind::Silence, after_bytes, times));
    }

    /// The next `times` blob bodies have one bit turned in the byte at `at`.
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
    pub(crate) fn silences(&self) -> bool {
        let bodies = self.responses.iter().chain(&self.requests);
        self.entra == Entra::Hang
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

fn body_fault(kind: BodyFaultKind, after_bytes: u64, times: u64) -> BodyFault {
    BodyFault {
        remaining: Some(times),
        after_bytes,
        kind,
        ..BodyFault::default()
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// What Entra gives an application by default is 60 to 90 minutes; the shortest of them.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Azure's own limit of seven days.
const DELEGATION_KEY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
