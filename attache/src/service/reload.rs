//! A new configuration takes the place of the old one.

use std::sync::{Arc, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::{Attache, Parts};
use crate::config::{Config, load};
use crate::error::{Error, Result};
use crate::observe::status::{LastReload, ReloadReport};

impl Attache {
    /// Swaps in a new configuration. Builds what changed, probes it with one authenticated call, and only then swaps;
    /// requests that run keep the parts they began with.
    ///
    /// # Errors
    ///
    /// What is wrong with the new configuration; the old one serves on.
    pub async fn reload(&self, config: Config) -> Result<ReloadReport> {
        self.reload_with(config, ReloadReport::default()).await
    }

    /// As [`reload`](Self::reload), for a program that has settings of its own: `beside` is what it builds anew, keeps, or
    /// does not change before a restart, together with this, and becomes a part of the report.
    ///
    /// Once this has returned, or failed, the program swaps its own settings, or does not. Dropping the future before that
    /// leaves the old configuration in effect.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload).
    pub async fn reload_with(&self, config: Config, beside: ReloadReport) -> Result<ReloadReport> {
        // One at a time; requests do not wait for it.
        let _turn = self.0.reloading.lock().await;
        let outcome = self.swap(config, beside).await;
        let word = match &outcome {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        self.note_reload(word, outcome.as_ref());
        outcome
    }

    /// A new configuration could not even be read; the old one serves on.
    pub fn reload_failed(&self, error: &Error) {
        self.note_reload("failed", Err(error));
    }

    fn note_reload(&self, word: &'static str, outcome: Result<&ReloadReport, &Error>) {
        self.0.metrics.config_reloaded(word);
        match outcome {
            Ok(report) => tracing::info!(?report, "configuration reloaded"),
            Err(error) => {
                tracing::error!(
                    error = error.report(),
                    "the new configuration is not used; the previous one stays in effect"
                );
            }
        }
        let last = LastReload {
            at: OffsetDateTime::now_utc(),
            error: outcome.err().map(|error| error.to_string()),
            report: outcome.ok().cloned(),
        };
        *self.last_reload() = Some(last);
    }

    async fn swap(&self, mut config: Config, beside: ReloadReport) -> Result<ReloadReport> {
        let old = self.parts();
        let start_only = load::keep_start_only(&mut config, &old.config);
        let metrics = self.0.metrics.clone();
        let built = tokio::task::spawn_blocking({
            let old = old.clone();
            move || Parts::build(config, Some(&old), &metrics)
        });
        let (parts, mut report) = built.await.map_err(|error| {
            Error::internal("building the new parts failed").with_source(error)
        })??;
        report.start_only = beside.start_only;
        report.start_only.extend(start_only);
        report.rebuilt.extend(beside.rebuilt);
        report.kept.extend(beside.kept);
        if report.rebuilt.contains(&"storage") {
            match parts.storage.moving() {
                // Of an old store that is away later, what has moved is there all the same; one that never was there is a mistake.
                Some(moving) => {
                    moving.to().probe().await?;
                    self.probe_old(moving).await?;
                }
                None => {
                    parts.storage.probe().await?;
                }
            }
        }
        self.0.parts.store(Arc::new(parts));
        Ok(report)
    }

    pub(super) fn last_reload(&self) -> MutexGuard<'_, Option<LastReload>> {
        self.0
            .last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
