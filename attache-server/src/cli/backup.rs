//! `attache backup` and `attache restore`.

use std::path::PathBuf;

use attache::service::verify::{Finding, VerifyOptions};
use attache::{Attache, Config};
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::HumanBytes;
use serde::Serialize;

use super::out::{count, minute, note, print_json};
use super::outcome::{Exit, Outcome};
use super::progress;
use super::store::with_store;
use crate::backup;

/// Back up the catalog, the tokens and the keys into a folder.
///
/// Safe while a server runs: the copy is one state of the catalog, checked, and on disk when this returns. Attachments are
/// not copied: copy them after this, with any tool, and nothing that the copied catalog names is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  attache backup /backup/attache
  tar -C attache-data --exclude=.tmp -cf - objects | tar -C /backup -xf -

The folder must be empty or not exist yet. It holds secrets: the key of links and sessions with the key \
that seals it, and the hashes of tokens.")]
pub(super) struct Backup {
    /// Where to; made if it does not exist.
    #[arg(value_name = "DIR")]
    to: PathBuf,

    /// Print what was copied as JSON.
    #[arg(long)]
    json: bool,
}

/// Restore a backup into a data folder without a catalog, and report what else the store has.
///
/// Stop attache first. Nothing is replaced: move what is there away. The backup is checked before anything is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  attache restore /backup/attache
  attache sweep
  attache verify --repair

Uploads that ran while the backup was made are completed by the sweep; those that came after it are brought back by \
`verify --repair`, from the metadata that is stored with their bytes.")]
pub(super) struct Restore {
    /// The folder that `attache backup` made.
    #[arg(value_name = "DIR")]
    from: PathBuf,

    /// Print what was restored, and what else the store has, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RestoredJson<'a> {
    #[serde(flatten)]
    manifest: &'a backup::Manifest,
    store: StoreJson,
}

/// How the store differs from the catalog that was restored.
#[derive(Default, Serialize)]
struct StoreJson {
    /// Objects that came after the backup and that `verify --repair` brings back.
    restorable: u64,
    /// Objects that nothing names and whose metadata is not attache's.
    unknown: u64,
    /// Attachments whose bytes are gone, most likely because they were deleted after the backup.
    missing: u64,
    /// Uploads that ran while the backup was made, and whose bytes are whole; a sweep completes them.
    interrupted: u64,
    /// Attachments whose bytes are not what the catalog says.
    damaged: u64,
}

impl Backup {
    pub(super) fn run(self, config: &Config) -> Outcome {
        let manifest = backup::backup(config, &self.to)?;
        note(format_args!(
            "backed up {} ({}) to {}; now copy the objects",
            count(manifest.attachments, "attachment"),
            HumanBytes(manifest.bytes),
            self.to.display()
        ));
        if self.json {
            print_json(&manifest)?;
        }
        Ok(Exit::Done)
    }
}

impl Restore {
    pub(super) fn run(self, config: Config) -> Outcome {
        let manifest = backup::restore(&config, &self.from)?;
        note(format_args!(
            "restored {} ({}), as of {}",
            count(manifest.attachments, "attachment"),
            HumanBytes(manifest.bytes),
            minute(manifest.made_at)
        ));
        with_store(config, async |store| {
            let store = compare(store).await?;
            store.tell();
            if self.json {
                print_json(&RestoredJson {
                    manifest: &manifest,
                    store,
                })?;
            }
            Ok(Exit::Done)
        })
    }
}

async fn compare(store: &Attache) -> attache::Result<StoreJson> {
    let spinner = progress::spinner("comparing with the store");
    let mut found = StoreJson::default();
    let mut walk = store.verify(VerifyOptions::default());
    while let Some(verified) = walk.try_next().await? {
        match verified.finding {
            None => {}
            Some(Finding::Unknown { restorable: true }) => found.restorable += 1,
            Some(Finding::Unknown { .. }) => found.unknown += 1,
            Some(Finding::Missing) => found.missing += 1,
            Some(Finding::Interrupted) => found.interrupted += 1,
            // Readable again, or not to be read now; nothing differs.
            Some(Finding::NoFacts | Finding::FactsWritten | Finding::Archived) => {}
            Some(_) => found.damaged += 1,
        }
    }
    spinner.finish_and_clear();
    Ok(found)
}

impl StoreJson {
    fn tell(&self) {
        let mut said = false;
        for (number, what, advice) in [
            (
                self.restorable,
                "in the store, but newer than the backup",
                "`attache verify --repair` brings them back",
            ),
            (
                self.interrupted,
                "uploaded while the backup was made, and whole",
                "`attache sweep` completes them",
            ),
            (
                self.unknown,
                "in the store without metadata of attache",
                "`attache verify` lists them",
            ),
            (
                self.missing,
                "in the backup, but not in the store: deleted after the backup, or lost",
                "`attache verify` lists them",
            ),
            (
                self.damaged,
                "in the store with other bytes than the backup says",
                "`attache verify` lists them",
            ),
        ] {
            if number > 0 {
                said = true;
                note(format_args!("{what}: {number}; {advice}"));
            }
        }
        if !said {
            note("the store has nothing else");
        }
    }
}
