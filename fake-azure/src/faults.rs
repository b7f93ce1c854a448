//! What can go wrong with Azure only.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stand_in::faults::{self, millis};

use crate::op::Op;

/// Everything that can be made to go wrong; changed at any time through `FakeAzure::faults`.
pub type Faults = faults::Faults<Op, Service>;

/// One way to spoil an answer.
pub type AnswerFault = faults::AnswerFault<Op>;

/// One way to spoil a body under way.
pub type BodyFault = faults::BodyFault<Op>;

/// What is Azure's own; the fields are those of [`Faults`], too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Service {
    /// Life of the tokens given out from now on.
    #[serde(with = "millis")]
    pub token_lifetime: Duration,
    /// Longest life of a delegation key, whatever was asked for.
    #[serde(with = "millis")]
    pub delegation_key_lifetime: Duration,
    /// The state of Entra.
    pub entra: Entra,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            token_lifetime: TOKEN_LIFETIME,
            delegation_key_lifetime: DELEGATION_KEY_LIFETIME,
            entra: Entra::Up,
        }
    }
}

impl faults::Service for Service {
    fn silences(&self) -> bool {
        self.entra == Entra::Hang
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

/// What Entra gives an application by default is 60 to 90 minutes; the shortest of them.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Azure's own limit of seven days.
const DELEGATION_KEY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
