//! `attache verify`: whether store and catalog say the same.

use attache::Attache;
use attache::attachment::AttachmentId;
use attache::service::verify::{Finding, Verified, VerifyOptions};
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::HumanBytes;
use serde::Serialize;

use super::out::{count, note, print, print_json};
use super::outcome::{CommandError, Exit, Outcome};
use super::progress;
use super::stop::Stop;

/// Compare the store with the catalog, and print a line for every difference.
///
/// Safe at any time, also while a server is running. Never deletes anything.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache verify
  attache verify --deep
  attache verify --repair --json | jq -r 'select(.finding == \"missing\") | .id'

After the catalog was lost, `attache verify --repair` rebuilds it from the metadata that is stored with the bytes.
Exit code 1: something is wrong that was not repaired.")]
pub(super) struct Verify {
    /// Restore rows missing in the catalog from the metadata in the store, and metadata missing in the store from the rows.
    #[arg(long)]
    repair: bool,

    /// Read and hash all bytes, instead of trusting the digests that the store reports.
    #[arg(long)]
    deep: bool,

    /// Print each finding as a line of JSON: {"id", "key", "finding", …}.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    id: &'a AttachmentId,
    key: &'a str,
    size: u64,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// How many of each kind.
#[derive(Default)]
struct Tally {
    keys: u64,
    bytes: u64,
    missing: u64,
    unknown: u64,
    restored: u64,
    no_facts: u64,
    archived: u64,
    wrong: u64,
    interrupted: u64,
}

impl Verify {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        Stop::listen()?.or(self.walk(store)).await
    }

    async fn walk(&self, store: &Attache) -> Outcome {
        let mut walk = store.verify(VerifyOptions {
            deep: self.deep,
            repair: self.repair,
        });
        let mut spinner = progress::counting("verifying");
        let mut tally = Tally::default();
        let mut remain = 0_u64;
        while let Some(verified) = walk.try_next().await? {
            tally.add(&verified);
            if let Some(finding) = &verified.finding {
                remain += u64::from(finding.remains());
                spinner.bar.suspend(|| self.show(&verified, finding))?;
            }
            spinner.tell(|| tally.so_far());
        }
        spinner.bar.finish_and_clear();
        note(tally.summary());
        Ok(match remain {
            0 => Exit::Done,
            _ => Exit::Failed,
        })
    }

    fn show(&self, verified: &Verified, finding: &Finding) -> Result<(), CommandError> {
        if self.json {
            return print_json(&FindingJson {
                id: &verified.id,
                key: verified.key.as_str(),
                size: verified.size,
                finding,
            });
        }
        print(&format!("{}  {}\n", verified.key, words(finding)))
    }
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Missing => "missing: the catalog has it, but its bytes are not in the store; bring them back from a \
                             backup, or delete it with `attache rm`"
            .to_owned(),
        Finding::Unknown { restorable: true } => {
            "unknown: the store has it, the catalog does not; `attache verify --repair` restores its row".to_owned()
        }
        Finding::Unknown { restorable: false } => {
            "unknown: the store has it, the catalog does not, and it has no metadata; `attache adopt` makes it an attachment, or remove it by \
             hand if it is not needed"
                .to_owned()
        }
        Finding::Interrupted => "interrupted: its bytes are whole, but the process that stored them ended before it could say so; \
             `attache sweep` makes it an attachment"
            .to_owned(),
        Finding::Restored => "restored: the catalog has it again".to_owned(),
        Finding::WrongSize { expected, actual } => {
            format!("wrong size: {actual} bytes are in the store, {expected} were uploaded")
        }
        Finding::WrongDigest { expected, actual } => {
            format!("wrong digest: the bytes have SHA-256 {actual}, those that were uploaded had {expected}")
        }
        Finding::Replaced => "replaced: another tool has put something of the same length in its place; `attache verify --deep` reads it and reports whether the bytes differ"
            .to_owned(),
        Finding::NoFacts => "no metadata: another tool dropped the metadata from which the catalog can be rebuilt; `attache verify --repair` writes it again"
            .to_owned(),
        Finding::FactsWritten => "metadata written: the catalog can be rebuilt from it again".to_owned(),
        Finding::Archived => "archived: the store keeps it in its archive tier, where it cannot be read; rehydrate it, and keep \
                              the container out of the rule that archives it"
            .to_owned(),
        Finding::Unreadable { code: "customer_key" } => "unreadable: it is encrypted with a key of its writer's own, which attache does not \
                                                         have"
            .to_owned(),
        Finding::Unreadable { .. } => "unreadable: the store has it, but its bytes cannot be read to their end".to_owned(),
        // A finding that this command does not know yet.
        other => format!("{other:?}"),
    }
}

impl Tally {
    fn add(&mut self, verified: &Verified) {
        self.keys += 1;
        self.bytes += verified.size;
        let Some(finding) = &verified.finding else {
            return;
        };
        *match finding {
            Finding::Missing => &mut self.missing,
            Finding::Unknown { .. } => &mut self.unknown,
            Finding::Restored | Finding::FactsWritten => &mut self.restored,
            Finding::Interrupted => &mut self.interrupted,
            Finding::NoFacts => &mut self.no_facts,
            Finding::Archived => &mut self.archived,
            _ => &mut self.wrong,
        } += 1;
    }

    fn so_far(&self) -> String {
        format!(
            "{}, {}",
            count(self.keys, "attachment"),
            HumanBytes(self.bytes)
        )
    }

    fn summary(&self) -> String {
        let found = [
            (self.missing, "missing"),
            (self.unknown, "unknown"),
            (self.wrong, "wrong or unreadable"),
            (self.interrupted, "interrupted"),
            (self.no_facts, "without facts"),
            (self.archived, "archived"),
            (self.restored, "restored"),
        ];
        let found: Vec<String> = found
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{number} {what}"))
            .collect();
        match found.is_empty() {
            true => format!("verified {}: all is well", self.so_far()),
            false => format!("verified {}: {}", self.so_far(), found.join(", ")),
        }
    }
}
