//! What can go wrong with S3 and with Google only.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stand_in::faults::{self, millis};

use crate::op::Op;

/// Everything that can be made to go wrong; changed at any time through `FakeS3::faults`.
pub type Faults = faults::Faults<Op, Service>;

/// One way to spoil an answer.
pub type AnswerFault = faults::AnswerFault<Op>;

/// One way to spoil a body under way.
pub type BodyFault = faults::BodyFault<Op>;

/// What is these services' own; the fields are those of [`Faults`], too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Service {
    /// Life of the tokens given out from now on.
    #[serde(with = "millis")]
    pub token_lifetime: Duration,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            token_lifetime: TOKEN_LIFETIME,
        }
    }
}

impl faults::Service for Service {
    fn silences(&self) -> bool {
        false
    }
}

/// What Google gives out (<https://developers.google.com/identity/protocols/oauth2/service-account>).
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
