//! What looks at an upload, and what it may say.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::storage::Facts;

/// Longest reason of a refusal that is passed on, in characters.
const MAX_REASON: usize = 200;

/// Something that looks at uploads.
#[async_trait]
pub trait Inspector: fmt::Debug + Send + Sync + 'static {
    /// Its word in messages and metrics.
    fn name(&self) -> &'static str;

    /// Whether it could look at files of up to `max_file_bytes`, as far as it can be told without one.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if it refuses files of that size; otherwise as [`begin`](Self::begin).
    async fn check(&self, max_file_bytes: Option<u64>) -> Result<()> {
        let _ = max_file_bytes;
        Ok(())
    }

    /// Begins to look at one upload. Dropping what it returns, or any of its futures, ends the inspection, and whoever
    /// looks must not take what it has seen for the whole.
    async fn begin(&self, facts: &Facts) -> Result<Box<dyn Inspection>>;
}

/// One upload under inspection.
#[async_trait]
pub trait Inspection: Send {
    /// The next bytes. Waits for whoever looks: a slow inspection slows its upload down.
    async fn chunk(&mut self, bytes: &Bytes) -> Result<()>;

    /// That was all of it.
    async fn verdict(&mut self) -> Result<Verdict>;
}

/// What came of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Accepted,
    /// It must not be kept, for this reason.
    Refused(String),
}

/// A reason as it may stand in an answer.
pub(super) fn plain(reason: &str) -> String {
    let text: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect();
    match text.trim() {
        "" => "it gives no reason".to_owned(),
        text => text.to_owned(),
    }
}
