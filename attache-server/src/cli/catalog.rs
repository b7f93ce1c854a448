//! `attache catalog copy`: another database becomes the catalog.

use std::path::PathBuf;

use attache::catalog::bulk::Bulk;
use attache::catalog::config::{CatalogConfig, CatalogUrl, DatabaseCredential};
use attache::catalog::copy::{self, Inventory, Mode, Progress, Report};
use attache::catalog::sqlite;
use attache::service::open_for_copy;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde::Serialize;

use super::out::{count, note, print, print_json};
use super::outcome::{CommandError, Exit, Outcome};
use super::progress;
use super::stop::Stop;
use super::store::block_on;
use crate::config::Settings;

/// Move the catalog into another database: SQLite or PostgreSQL, in either direction.
#[derive(Debug, Args)]
pub(super) struct CatalogCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Copy(Copy),
}

/// Copy all attachments, uploads in parts, tokens, access keys, ended sessions and keys of catalog.url into another database.
///
/// The bytes of attachments stay where they are. Both databases are read again in the end, and must be the same, in numbers and in
/// digests. Run it again if it was interrupted, at any moment: it goes on where it was.
///
/// Refused while a server has the source open: stop all of them, or copy with --live first. Refused as well if the target holds
/// anything but an earlier copy of this source; such a copy is brought up to date, which removes from it what the source does not
/// have any more, tokens too. Do not copy into it again once a server has used it.
#[derive(Debug, Args)]
#[command(after_help = "\
From SQLite to PostgreSQL, with servers stopped for seconds:
  attache catalog copy --to 'postgres://attache@db/attache' --to-password-file /run/secrets/db --live
  systemctl stop attache          on every machine
  attache sweep                   finishes what was interrupted, if the copy says so
  attache catalog copy --to 'postgres://attache@db/attache' --to-password-file /run/secrets/db
  # set catalog.url, catalog.password_file and secrets.key_file as it says, and start attache

Keys are copied as they are sealed: the servers on the target need the same secrets.key_file. The way back is the same with a new, \
empty database as the target.

Exit codes: 0 both are the same (with --live: it has caught up), 1 refused or failed, 2 used or configured wrongly.")]
struct Copy {
    /// The other database: sqlite://PATH, which is made, or postgres://USER@HOST/DATABASE, which must exist.
    #[arg(long, value_name = "URL")]
    to: String,

    /// A file that holds the password of the other database alone.
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,

    /// A PEM file of certificates that are trusted for the other database besides those of the system.
    #[arg(long, value_name = "FILE")]
    to_ca_file: Option<PathBuf>,

    /// Copy while servers write to the source, and follow them until little is missing. A copy without it must come after.
    #[arg(long)]
    live: bool,

    /// Print what was done, and what is in both, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ReportJson {
    passes: u32,
    written: u64,
    removed: u64,
    /// Rows that the last pass changed; with `--live` about as many are missing.
    last_changes: u64,
    /// `null` with `--live`: nothing that goes on changing can be compared.
    compared: Option<InventoryJson>,
}

#[derive(Serialize)]
struct InventoryJson {
    attachments: u64,
    bytes: u64,
    uploads: u64,
    reserved_bytes: u64,
    tokens: u64,
    access_keys: u64,
    ended_sessions: u64,
    keys: u64,
    rows_sha256: String,
    access_sha256: String,
}

impl From<Report> for ReportJson {
    fn from(report: Report) -> Self {
        Self {
            passes: report.passes,
            written: report.changes.put,
            removed: report.changes.removed,
            last_changes: report.last.rows(),
            compared: report.compared.map(|both| InventoryJson {
                attachments: both.attachments,
                bytes: both.bytes,
                uploads: both.uploads,
                reserved_bytes: both.reserved_bytes,
                tokens: both.tokens,
                access_keys: both.access_keys,
                ended_sessions: both.ended_sessions,
                keys: both.keys,
                rows_sha256: both.rows_sha256.to_string(),
                access_sha256: both.access_sha256.to_string(),
            }),
        }
    }
}

impl CatalogCommand {
    pub(super) fn run(self, settings: &Settings) -> Outcome {
        match self.command {
            Command::Copy(copy) => copy.run(settings),
        }
    }
}

impl Copy {
    fn run(self, settings: &Settings) -> Outcome {
        let from = &settings.store.catalog;
        // Not read by the parser of arguments, which would repeat it, password and all.
        let to: CatalogUrl = self
            .to
            .parse()
            .map_err(|what| CommandError::Usage(format!("--to {what}")))?;
        if to == from.url {
            return Err(CommandError::Usage(
                "--to is the database of catalog.url itself; name another one".to_owned(),
            ));
        }
        if let Some(file) = from.url.file()
            && !sqlite::exists(file)
        {
            return Err(CommandError::Usage(format!(
                "there is no catalog at {} to copy; is this the right folder, or is --config missing?",
                file.display()
            )));
        }
        let target = self.target(from, to.clone());
        block_on(async {
            let mut stop = Stop::listen()?;
            let (source, target) = open_for_copy(&settings.store, &target).await?;
            let outcome = stop.or(self.copy(&*source, &*target)).await;
            source.close().await;
            target.close().await;
            let report = outcome?;
            match self.json {
                true => print_json(&ReportJson::from(report))?,
                false => self.print(&report)?,
            }
            self.say_what_is_next(settings, &report, &to);
            Ok(Exit::Done)
        })
    }

    /// How the target is reached. Only what tells who one is comes from the configuration, and only where nothing else does.
    fn target(&self, from: &CatalogConfig, to: CatalogUrl) -> CatalogConfig {
        let has_password = match &to {
            CatalogUrl::Postgres(url) => self.to_password_file.is_some() || url.has_password(),
            CatalogUrl::Sqlite(_) => true,
        };
        CatalogConfig {
            password_file: self.to_password_file.clone(),
            ca_file: self.to_ca_file.clone(),
            connections: from.connections,
            credential: match has_password {
                true => DatabaseCredential::Password,
                false => from.credential,
            },
            ..CatalogConfig::of(to)
        }
    }

    async fn copy(&self, source: &dyn Bulk, target: &dyn Bulk) -> Result<Report, CommandError> {
        let mode = match self.live {
            true => Mode::Live,
            false => Mode::Still,
        };
        let bar = progress::rows();
        let mut show = |progress| match progress {
            Progress::Waiting => bar.set_message("waiting for a process that may have been killed"),
            Progress::Copying { pass, rows, of } => {
                bar.set_message(format!("copying, pass {pass}"));
                bar.set_length(of.max(rows));
                bar.set_position(rows);
            }
            Progress::Passed { pass, changes } => bar.suspend(|| {
                note(format_args!(
                    "pass {pass}: {} written, {} removed",
                    count(changes.put, "row"),
                    changes.removed
                ));
            }),
            Progress::Comparing { rows, of } => {
                bar.set_message("comparing");
                bar.set_length(of.max(rows));
                bar.set_position(rows);
            }
        };
        let report = copy::copy(source, target, mode, &mut show).await;
        bar.finish_and_clear();
        Ok(report?)
    }

    fn print(&self, report: &Report) -> Result<(), CommandError> {
        let Some(both) = report.compared else {
            return Ok(());
        };
        let line = described(&both);
        // Two that differ are an error.
        print(&format!("source  {line}\ntarget  {line}\n"))
    }

    fn say_what_is_next(&self, settings: &Settings, report: &Report, to: &CatalogUrl) {
        if self.live {
            note(format_args!(
                "the copy has caught up but for about {}. Now stop all servers of the source, and run it once more without --live: \
                 it takes about {} s, compares all of both, and says how to go on",
                count(report.last.rows(), "row"),
                report.last_took.as_secs() * 2 + 1
            ));
            return;
        }
        let store = &settings.store;
        let file = store.secrets.file(&store.catalog.url.folder());
        note(format_args!(
            "both are the same. Set catalog.url to \"{}\" and start attache; do not use the source any more",
            to
        ));
        if store.secrets.key_file.is_none() && file != store.secrets.file(&to.folder()) {
            note(format_args!(
                "its keys open with {}: set secrets.key_file to that, or to where you copy it",
                file.display()
            ));
        }
    }
}

fn described(both: &Inventory) -> String {
    format!(
        "{} ({}), {} ({} reserved), {}, {}, {}, {}, rows SHA-256 {}, access SHA-256 {}",
        count(both.attachments, "attachment"),
        HumanBytes(both.bytes),
        count(both.uploads, "upload"),
        HumanBytes(both.reserved_bytes),
        count(both.tokens, "token"),
        count(both.access_keys, "access key"),
        count(both.ended_sessions, "ended session"),
        count(both.keys, "key"),
        both.rows_sha256,
        both.access_sha256
    )
}
