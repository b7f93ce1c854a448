//! Looking at uploads while their bytes pass: a virus scanner, a webhook of the application.
//!
//! An inspection sees every byte once, on its way to the store, and gives its verdict at the end, before the end reaches
//! the store: a refusal is an error in place of the end, and so nothing of the upload stays. Nothing is read twice and
//! nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::inspect::config::{HooksConfig, WhenDown};
use crate::observe::metrics::Metrics;
use crate::storage::Facts;

mod clamd;
pub mod config;
mod inspector;
mod webhook;

use inspector::plain;
pub use inspector::{Inspection, Inspector, Verdict};

/// All that look at uploads, by one configuration.
#[derive(Clone, Debug, Default)]
pub struct Inspectors {
    all: Vec<Arc<dyn Inspector>>,
    timeout: Duration,
    when_down: WhenDown,
}

impl Inspectors {
    /// Those that `config` names. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`].
    pub(crate) fn new(config: &HooksConfig) -> Result<Self> {
        let mut all: Vec<Arc<dyn Inspector>> = Vec::new();
        if let Some(address) = &config.clamd {
            all.push(Arc::new(clamd::Clamd::new(address.clone())));
        }
        if let Some(url) = &config.webhook {
            all.push(Arc::new(webhook::Webhook::new(url)?));
        }
        Ok(Self {
            all,
            timeout: config.timeout,
            when_down: config.when_down,
        })
    }

    /// Whether nobody looks at uploads.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What stands between each inspector and files of up to `max_file_bytes`; nothing if all is well. Connects.
    pub async fn check(&self, max_file_bytes: Option<u64>) -> Vec<(&'static str, Result<()>)> {
        let mut checked = Vec::new();
        for inspector in &self.all {
            let outcome = within(self.timeout, inspector.check(max_file_bytes)).await;
            checked.push((inspector.name(), outcome));
        }
        checked
    }

    /// Begins to look at an upload.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamUnavailable`] if one that must look does not answer.
    pub(crate) async fn begin(&self, facts: &Facts, metrics: &Arc<Metrics>) -> Result<Inspected> {
        let mut inspected = Inspected {
            running: Vec::new(),
            timeout: self.timeout,
            when_down: self.when_down,
            metrics: metrics.clone(),
        };
        for inspector in &self.all {
            let name = inspector.name();
            let begun = within(self.timeout, inspector.begin(facts)).await;
            if let Some(inspection) = inspected.judge(name, begun)? {
                inspected.running.push((name, inspection));
            }
        }
        Ok(inspected)
    }
}

/// An upload that is looked at by all.
pub(crate) struct Inspected {
    running: Vec<(&'static str, Box<dyn Inspection>)>,
    timeout: Duration,
    when_down: WhenDown,
    metrics: Arc<Metrics>,
}

impl Inspected {
    /// Shows the next bytes to all.
    ///
    /// # Errors
    ///
    /// As [`Inspectors::begin`].
    pub(crate) async fn chunk(&mut self, bytes: &Bytes) -> Result<()> {
        for (name, mut inspection) in std::mem::take(&mut self.running) {
            let seen = within(self.timeout, inspection.chunk(bytes)).await;
            if self.judge(name, seen)?.is_some() {
                self.running.push((name, inspection));
            }
        }
        Ok(())
    }

    /// Hears what all say at the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the reason; as [`Inspectors::begin`].
    pub(crate) async fn end(&mut self) -> Result<()> {
        for (name, mut inspection) in std::mem::take(&mut self.running) {
            let verdict = within(self.timeout, inspection.verdict()).await;
            match self.judge(name, verdict)? {
                Some(Verdict::Accepted) => self.metrics.inspected(name, "accepted"),
                Some(Verdict::Refused(reason)) => {
                    self.metrics.inspected(name, "refused");
                    return Err(Error::new(
                        ErrorKind::Refused,
                        format!("{name} refuses this file: {}", plain(&reason)),
                    ));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// `None` if it failed, and that is no reason to refuse.
    fn judge<T>(&self, name: &'static str, outcome: Result<T>) -> Result<Option<T>> {
        let error = match outcome {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        // Of its own, and never a failure that may pass: whoever chooses the size of a file would otherwise choose whether
        // anybody looks at it.
        if error.kind() == ErrorKind::TooLarge {
            self.metrics.inspected(name, "refused");
            return Err(error);
        }
        self.metrics.inspected(name, "failed");
        match self.when_down {
            WhenDown::Accept => {
                tracing::warn!(
                    hook = name,
                    error = error.report(),
                    "an upload is accepted without inspection"
                );
                Ok(None)
            }
            WhenDown::Refuse => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("{name}, which must inspect every upload, does not respond"),
            )
            .with_source(error)
            .retry_after(Duration::from_secs(10))),
        }
    }
}

async fn within<T>(timeout: Duration, step: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(timeout, step)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::UpstreamTimeout,
                "timed out: it was silent for longer than hooks.timeout",
            ))
        })
}
