//! What `attache check` prints: a line for each thing, and what to do where the error does not say it.

use attache::{Error, ErrorKind};
use serde::Serialize;

use crate::cli::out::{print, print_json};
use crate::cli::outcome::CommandError;

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Failed,
    Skipped,
}

#[derive(Serialize)]
struct Line {
    step: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

pub(super) const SKIPPED: &str = "skipped, because of the failure above";

/// In the order of the lines. What the store's own settings mean stands between "open" and "delete", where it has such.
const STEPS: [&str; 10] = [
    "configuration",
    "credential",
    "clock",
    "storage",
    "catalog",
    "write",
    "read",
    "sign",
    "open",
    "delete",
];

/// The lines, printed as they come, or together as JSON.
pub(super) struct Sheet {
    json: bool,
    lines: Vec<Line>,
}

impl Sheet {
    /// As JSON, or as lines for people.
    pub(super) const fn new(json: bool) -> Self {
        Self {
            json,
            lines: Vec::new(),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lines.iter().any(|line| line.status == Status::Failed)
    }

    pub(super) fn ok(
        &mut self,
        step: &'static str,
        detail: impl Into<String>,
    ) -> Result<(), CommandError> {
        self.add(step, Status::Ok, detail.into(), None)
    }

    pub(super) fn skipped(
        &mut self,
        step: &'static str,
        detail: impl Into<String>,
    ) -> Result<(), CommandError> {
        self.add(step, Status::Skipped, detail.into(), None)
    }

    pub(super) fn failed(&mut self, step: &'static str, error: &Error) -> Result<(), CommandError> {
        let mut text = error.detail().to_owned();
        if let Some(advice) = advice(error.kind()) {
            text.push_str("; ");
            text.push_str(advice);
        }
        self.wrong(step, text, Some(error.kind().code()))
    }

    pub(super) fn wrong(
        &mut self,
        step: &'static str,
        detail: String,
        code: Option<&'static str>,
    ) -> Result<(), CommandError> {
        self.add(step, Status::Failed, detail, code)
    }

    fn add(
        &mut self,
        step: &'static str,
        status: Status,
        detail: String,
        code: Option<&'static str>,
    ) -> Result<(), CommandError> {
        let line = Line {
            step,
            status,
            detail,
            code,
        };
        if !self.json {
            print(&line.text())?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// Adds what was not come to.
    pub(super) fn finish(&mut self) -> Result<(), CommandError> {
        for step in STEPS {
            if !self.lines.iter().any(|line| line.step == step) {
                self.skipped(step, SKIPPED)?;
            }
        }
        if self.json {
            print_json(&self.lines)?;
        }
        Ok(())
    }
}

impl Line {
    fn text(&self) -> String {
        let mark = match self.status {
            Status::Ok => '✓',
            Status::Failed => '✗',
            Status::Skipped => '–',
        };
        let detail = self.detail.replace('\n', "\n                 ");
        format!("{mark} {:<13}  {detail}\n", self.step)
    }
}

/// What to do, where the message itself does not tell.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::UpstreamTimeout => {
            Some("check the network and the firewall, and the endpoint of the store")
        }
        ErrorKind::StorageFull => Some("free some space, or set storage.local.root"),
        ErrorKind::QuotaExceeded => Some("delete something, or raise upload.total_bytes"),
        ErrorKind::TooLarge => Some("raise upload.max_file_bytes"),
        ErrorKind::Busy => Some("raise memory.transfer_bytes"),
        ErrorKind::Internal => Some("run again with ATTACHE_LOG=debug for details"),
        _ => None,
    }
}
