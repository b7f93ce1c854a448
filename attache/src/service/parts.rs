//! What one configuration builds, and what the next one keeps of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::error::Result;
use crate::inspect::Inspectors;
use crate::observe::metrics::Metrics;
use crate::observe::status::ReloadReport;
use crate::storage::bucket::{Bucket, BucketPlace};
use crate::storage::{Blocks, Content, Facts, Storage};
use crate::transfer::budget::Budget;

/// What was built from one configuration.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// Where bytes lie.
    pub storage: Arc<dyn Storage>,
    /// Whose memory transfers use.
    pub budget: Budget,
    /// Who looks at uploads.
    pub inspectors: Inspectors,
    /// Its buckets that were asked for.
    pub(super) buckets: Mutex<HashMap<BucketPlace, Arc<dyn Bucket>>>,
    /// Counts up with every swap; the first is 1.
    pub generation: u64,
    /// The storage was handed in, so no configuration describes it.
    given: bool,
}

impl Parts {
    /// Builds the parts of `config`; carries over from `old` what is equal.
    pub(super) fn build(
        config: Config,
        old: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<(Self, ReloadReport)> {
        let mut report = ReloadReport::default();
        let storage = match old {
            Some(old) if old.given || old.config.storage() == config.storage() => {
                report.kept.push("storage");
                old.storage.clone()
            }
            _ => {
                report.rebuilt.push("storage");
                let storage = config.storage().open()?;
                metrics.client_built(storage.name());
                storage
            }
        };
        Self::around(storage, config, old, report)
    }

    /// Builds the parts of `config` around a storage that was handed in; every next configuration keeps it.
    pub(super) fn given(storage: Arc<dyn Storage>, config: Config) -> Result<Self> {
        let (mut parts, _) = Self::around(storage, config, None, ReloadReport::default())?;
        parts.given = true;
        Ok(parts)
    }

    /// The parts that have nothing to do with the storage.
    fn around(
        storage: Arc<dyn Storage>,
        config: Config,
        old: Option<&Self>,
        mut report: ReloadReport,
    ) -> Result<(Self, ReloadReport)> {
        let inspectors = match old {
            Some(old) if old.config.hooks == config.hooks => {
                report.kept.push("hooks");
                old.inspectors.clone()
            }
            _ => {
                report.rebuilt.push("hooks");
                Inspectors::new(&config.hooks)?
            }
        };
        let budget = match old {
            Some(old) if old.config.memory.transfer_bytes == config.memory.transfer_bytes => {
                report.kept.push("memory");
                old.budget.clone()
            }
            _ => {
                report.rebuilt.push("memory");
                Budget::new(config.memory.transfer_bytes)
            }
        };
        let parts = Self {
            storage,
            budget,
            inspectors,
            buckets: Mutex::default(),
            generation: old.map_or(0, |old| old.generation) + 1,
            given: old.is_some_and(|old| old.given),
            config,
        };
        report.generation = parts.generation;
        Ok((parts, report))
    }

    /// How the bytes of uploads travel.
    pub(super) fn blocks(&self) -> Blocks {
        Blocks {
            bytes: self.config.upload.block_bytes,
            concurrency: self.config.upload.concurrency,
            budget: self.budget.clone(),
        }
    }

    /// What is stored with the bytes of an attachment, as far as it is known before them.
    pub(super) fn content(&self, facts: Facts, size: Option<u64>) -> Content {
        let inline = &self.config.delivery.inline_types;
        Content::new(facts, inline, size, self.blocks())
    }
}
