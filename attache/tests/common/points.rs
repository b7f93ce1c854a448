//! A fault at each request that an operation makes to a stand-in for S3 or for Google Cloud Storage.

use fake_s3::{Action, AnswerFault, Stage};
use futures::stream::{self, StreamExt as _};

/// More requests than any operation makes.
const ENDLESS: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// It is done, and nobody is told.
    LostAnswer,
    /// It is not done.
    BrokenConnection,
    /// An error that passes.
    Outage,
    /// One that does not.
    Refusal,
}

impl Fault {
    const ALL: [Self; 4] = [
        Self::LostAnswer,
        Self::BrokenConnection,
        Self::Outage,
        Self::Refusal,
    ];

    /// At the request after `skip` others.
    pub(crate) fn at(self, skip: u64) -> AnswerFault {
        let answer = |status, code: &str| Action::Answer {
            status,
            code: code.to_owned(),
            retry_after_seconds: None,
        };
        let (stage, action) = match self {
            Self::LostAnswer => (Stage::AfterCommit, Action::Disconnect),
            Self::BrokenConnection => (Stage::AfterBody, Action::Disconnect),
            Self::Outage => (Stage::AfterBody, answer(500, "InternalError")),
            Self::Refusal => (Stage::AfterBody, answer(403, "AccessDenied")),
        };
        AnswerFault {
            remaining: Some(1),
            skip,
            stage,
            action,
            ..AnswerFault::default()
        }
    }
}

/// With every fault at every request, several worlds at a time. `strike`: once; whether the fault happened.
pub(crate) async fn at_every_request<S>(strike: impl Fn(Fault, u64) -> S)
where
    S: Future<Output = bool>,
{
    for fault in Fault::ALL {
        let points = stream::iter(0..ENDLESS)
            .map(|skip| strike(fault, skip))
            .buffered(8)
            .take_while(|struck| std::future::ready(*struck))
            .count()
            .await as u64;
        assert!((1..ENDLESS).contains(&points), "{fault:?}: {points} points");
    }
}
