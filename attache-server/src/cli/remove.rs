//! `attache rm` and `attache sweep`: what goes.

use std::collections::HashSet;

use attache::Attache;
use attache::attachment::AttachmentId;
use attache::observe::status::SweepReport;
use attache::service::MAX_BULK;
use clap::Args;
use serde::Serialize;

use super::out::{count, error, note, print, print_json};
use super::outcome::{Exit, Outcome};

/// Delete attachments: bytes, snapshots and record.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache rm 01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11
  attache ls --owner page:42 --json | jq -r .id | xargs attache rm

All that are there are deleted, whatever becomes of the others. Exit code 1: some could not be deleted (`attache sweep` \
finishes that). Exit code 3: some were not there, and nothing failed.")]
pub(super) struct Rm {
    /// The ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<AttachmentId>,

    /// Print {"id", "outcome"} of each as a line of JSON; the outcome is "deleted", "absent" or "failed".
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RemovedJson<'a> {
    id: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl Rm {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        let mut seen = HashSet::new();
        let mut ids = self.ids;
        ids.retain(|id| seen.insert(id.clone()));
        let (mut absent, mut failed) = (false, false);
        for some in ids.chunks(MAX_BULK) {
            for (id, outcome) in store.delete_all(some.to_vec()).await? {
                let word = match &outcome {
                    Ok(true) => "deleted",
                    Ok(false) => "absent",
                    Err(_) => "failed",
                };
                match &outcome {
                    Ok(true) => {}
                    Ok(false) => {
                        absent = true;
                        note(format_args!("{id} was not there"));
                    }
                    Err(failure) => {
                        failed = true;
                        error(failure);
                    }
                }
                if self.json {
                    print_json(&RemovedJson {
                        id: id.as_str(),
                        outcome: word,
                        code: outcome.err().map(|error| error.kind().code()),
                    })?;
                }
            }
        }
        Ok(match (failed, absent) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::NotFound,
            (false, false) => Exit::Done,
        })
    }
}

/// Finish or remove what interrupted work left behind, and print what was done.
///
/// Safe at any time, also while a server is running: what a running process works on is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  attache sweep

A server sweeps by itself, at its start and every hour. Exit code 1: something could not be cleaned up; a later sweep \
tries again.")]
pub(super) struct Sweep {
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

impl Sweep {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        let report = store.sweep().await?;
        if self.json {
            print_json(&report)?;
        } else {
            print(&format!("{}\n", summary(&report)))?;
        }
        Ok(match report.failed {
            0 => Exit::Done,
            _ => Exit::Failed,
        })
    }
}

fn summary(report: &SweepReport) -> String {
    if *report == SweepReport::default() {
        return "nothing to do".to_owned();
    }
    [
        (report.uploads_completed, "interrupted upload", "completed"),
        (report.uploads_removed, "interrupted upload", "removed"),
        (
            report.deletions_finished,
            "interrupted deletion",
            "finished",
        ),
        (report.litter_removed, "leftover file", "removed"),
        (report.failed, "failure", "left for the next sweep"),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, what, done)| format!("{} {done}", count(number, what)))
    .collect::<Vec<_>>()
    .join(", ")
}
