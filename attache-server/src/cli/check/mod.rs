//! `attache check`: whether the settings work, one line for each thing, and what to do about those that do not.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use attache::delivery::embedding::Embed;
use attache::service::open_database;
use attache::storage::Vitals;
use attache::storage::azure::CredentialKind;
use attache::storage::config::Backend;
use attache::storage::gcs::GcsCredentialKind;
use attache::storage::s3::S3CredentialKind;
use attache::{Attache, Config, Error, ErrorKind};
use clap::Args;
use time::OffsetDateTime;

use super::outcome::{CommandError, Exit, Outcome};
use super::store::{CLOSE_GRACE, stored};
use super::{out, progress};
use crate::config::Settings;
use crate::config::s3::S3Config;

mod sheet;
mod trial;

use sheet::{SKIPPED, Sheet};
use trial::try_a_file;

/// Test the configuration: credential, clock, storage, catalog; then write, read, sign, open and delete a small file.
///
/// For Azure also reports what soft delete, versioning and CORS of the account mean, for S3 and Google Cloud Storage versioning, CORS,
/// object lock and whether the store creates without replacing, if it has permission to read them.
///
/// Prints a line for each, and what to do about a failure. What depends on something that failed is skipped.
/// Never prints a secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  attache check --config attache.toml

Exit code 1: something failed. Exit code 2: the configuration itself is wrong.")]
pub(super) struct Check {
    /// Print a list of {"step", "status", "detail"} as JSON; the status is "ok", "failed" or "skipped".
    #[arg(long)]
    json: bool,
}

/// The store answers requests up to a quarter of an hour off (Shared Key), and tokens five minutes off; an error of a
/// minute is a broken clock all the same, but not what keeps the store from working.
const MAX_SKEW_S: f64 = 5.0 * 60.0;

impl Check {
    pub(super) async fn run(self, file: Option<&Path>) -> Outcome {
        let mut sheet = Sheet::new(self.json);
        let exit = match stored(file) {
            Ok(settings) => {
                sheet.ok("configuration", source(file, &settings.store))?;
                for remark in settings.remarks() {
                    sheet.ok("configuration", format!("note: {remark}"))?;
                }
                if let Some(address) = embedded_by_address(&settings) {
                    out::note(format_args!(
                        "note: {address} is an IP address, and in Chromium two ports of one address are not the same site: \
                         pages that are not served from there cannot show pictures, film or sound of it. Set \
                         server.public_url to a name, or delivery.embed = \"cross-origin\""
                    ));
                }
                examine(&mut sheet, settings.store, &settings.s3).await?;
                Exit::Done
            }
            Err(CommandError::Error(error)) => {
                sheet.failed("configuration", &error)?;
                Exit::Misused
            }
            Err(other) => return Err(other),
        };
        sheet.finish()?;
        Ok(match exit {
            Exit::Done if sheet.has_failed() => Exit::Failed,
            exit => exit,
        })
    }
}

fn source(file: Option<&Path>, config: &Config) -> String {
    let backend = config.storage.backend.as_str();
    match file {
        Some(path) => format!(
            "{} and the environment; storage is {backend}",
            path.display()
        ),
        None => format!("no file, the environment and the defaults; storage is {backend}"),
    }
}

/// The IP address under which pages would embed attachments, if they may only do so on the same site.
fn embedded_by_address(settings: &Settings) -> Option<String> {
    let address = match &settings.server.public_url {
        Some(url) => url.parse::<http::Uri>().ok()?.host()?.to_owned(),
        None => settings.server.listen.ip().to_string(),
    };
    let is_ip = address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (settings.embed() == Embed::SameSite && is_ip).then_some(address)
}

async fn examine(sheet: &mut Sheet, config: Config, s3: &S3Config) -> Result<(), CommandError> {
    let busy = progress::spinner("opening the store");
    let opened = open(config).await;
    busy.finish_and_clear();
    let store = match opened {
        Ok(store) => store,
        Err((step, error)) => return sheet.failed(step, &error),
    };
    let examined = examine_store(sheet, &store, s3).await;
    store.close(CLOSE_GRACE).await;
    examined
}

/// Opens the store, or reports which part of it does not open.
async fn open(config: Config) -> Result<Attache, (&'static str, Error)> {
    match Attache::open(config.clone()).await {
        Ok(store) => Ok(store),
        Err(error) => {
            let step = match open_database(&config).await {
                Ok(alone) => {
                    alone.catalog.close().await;
                    "storage"
                }
                Err(_) => "catalog",
            };
            Err((step, error))
        }
    }
}

async fn examine_store(
    sheet: &mut Sheet,
    store: &Attache,
    s3: &S3Config,
) -> Result<(), CommandError> {
    let parts = store.parts();
    let busy = progress::spinner("asking the store");
    let probed = parts.storage.probe().await;
    busy.finish_and_clear();

    let vitals = parts.storage.vitals();
    let has_credential = credential(sheet, &parts.config, &vitals, &probed)?;
    if has_credential {
        let skew = match &probed {
            Ok(probe) => probe.clock_skew_s.or(vitals.clock_skew_s),
            Err(_) => vitals.clock_skew_s,
        };
        clock(sheet, parts.config.storage.backend, skew)?;
        match &probed {
            Ok(probe) => sheet.ok("storage", probe.summary.clone())?,
            Err(error) => sheet.failed("storage", error)?,
        }
    } else {
        sheet.skipped("clock", SKIPPED)?;
        sheet.skipped("storage", SKIPPED)?;
    }
    let busy = progress::spinner("asking the store that is moved from");
    let old = store.old_store().await;
    busy.finish_and_clear();
    match old {
        None => {}
        Some(Ok(probe)) => sheet.ok("moving_from", probe.summary)?,
        Some(Err(error)) => sheet.failed("moving_from", &error)?,
    }
    if probed.is_err() {
        // The catalog is another thing, and may have a fault of its own.
        return match store.limits(None).await {
            Ok(_) => sheet.ok("catalog", "can be read"),
            Err(error) => sheet.failed("catalog", &error),
        };
    }
    match store.ready().await {
        Ok(_) => {
            let totals = store.limits(None).await?;
            let used = indicatif::HumanBytes(totals.used_bytes);
            let url = &parts.config.catalog.url;
            sheet.ok(
                "catalog",
                format!("{url} can be read and written; {used} in use"),
            )?;
        }
        Err(error) => return sheet.failed("catalog", &error),
    }
    for (name, outcome) in parts
        .inspectors
        .check(parts.config.upload.max_file_bytes)
        .await
    {
        match outcome {
            Ok(()) => sheet.ok(name, "responds, and accepts files of upload.max_file_bytes".to_owned())?,
            Err(error) if error.kind() == ErrorKind::TooLarge => sheet.failed(
                name,
                &Error::new(
                    ErrorKind::Misconfigured,
                    "clamd refuses files as long as upload.max_file_bytes; raise StreamMaxLength, MaxFileSize and MaxScanSize \
                     in clamd.conf, and set AlertExceedsMax yes",
                ),
            )?,
            Err(error) => sheet.failed(name, &error)?,
        }
    }
    buckets(sheet, store, s3).await?;
    try_a_file(sheet, store).await
}

/// Whether each bucket of the S3 endpoint can be used.
async fn buckets(sheet: &mut Sheet, store: &Attache, s3: &S3Config) -> Result<(), CommandError> {
    let backend = store.parts().config.storage.backend;
    for (name, config) in &s3.buckets {
        let bucket = store.bucket(&config.place(name), &config.prefix);
        let probed = match bucket {
            Ok(bucket) => bucket.probe().await,
            Err(error) => Err(error),
        };
        match probed {
            Ok(probe) => sheet.ok("bucket", format!("{name}: {}", probe.summary))?,
            Err(error)
                if error.kind() == ErrorKind::ContainerNotFound && backend == Backend::Local =>
            {
                sheet.ok(
                    "bucket",
                    format!("{name}: its folder is made when the server starts"),
                )?;
            }
            Err(error) => {
                let what = match backend {
                    Backend::S3 | Backend::Gcs => "bucket",
                    _ => "container",
                };
                let text = format!(
                    "{name}: {}; create the {what}, or set s3.buckets.{name}.container",
                    error.detail()
                );
                sheet.wrong("bucket", text, Some(error.kind().code()))?;
            }
        }
    }
    Ok(())
}

/// Whether there is one that works.
fn credential(
    sheet: &mut Sheet,
    config: &Config,
    vitals: &Vitals,
    probed: &attache::Result<attache::storage::Probe>,
) -> Result<bool, CommandError> {
    let storage = &config.storage;
    // The lease of what expires, the credential that does not, and whether "default" chose it.
    let (lease, lasting, chosen) = match storage.backend {
        Backend::Local | Backend::Memory => {
            let backend = storage.backend.as_str();
            let text = format!("none is needed for {backend} storage");
            sheet.ok("credential", text)?;
            return Ok(true);
        }
        Backend::Azure => (
            "entra_token",
            storage.azure.credential_in_use().as_str(),
            storage.azure.credential == CredentialKind::Default,
        ),
        Backend::S3 => (
            "s3_credential",
            storage.s3.credential_in_use().as_str(),
            storage.s3.credential == S3CredentialKind::Default,
        ),
        Backend::Gcs => (
            "gcs_token",
            storage.gcs.credential_in_use().as_str(),
            storage.gcs.credential == GcsCredentialKind::Default,
        ),
    };
    let Some(token) = vitals.leases.iter().find(|held| held.name == lease) else {
        sheet.ok("credential", format!("{lasting}; it does not expire"))?;
        return Ok(true);
    };
    let chosen = if chosen {
        ", chosen by \"default\""
    } else {
        ""
    };
    match (token.remaining_s, probed) {
        (Some(left), _) => {
            let left = Duration::from_secs(
                Duration::try_from_secs_f64(left)
                    .unwrap_or_default()
                    .as_secs(),
            );
            let text = format!(
                "{} issued a token{chosen}, valid until {} ({})",
                token.source,
                out::minute(OffsetDateTime::now_utc() + left),
                humantime::format_duration(left)
            );
            sheet.ok("credential", text)?;
            Ok(true)
        }
        (None, Err(error)) => {
            sheet.failed("credential", error)?;
            Ok(false)
        }
        // It had one, and it was dropped in the moment between.
        (None, Ok(_)) => {
            sheet.ok("credential", format!("{} issued a token", token.source))?;
            Ok(true)
        }
    }
}

fn clock(sheet: &mut Sheet, backend: Backend, skew_s: Option<f64>) -> Result<(), CommandError> {
    match skew_s {
        _ if backend == Backend::Local => sheet.ok("clock", "the store has no clock of its own"),
        None => sheet.skipped("clock", "the store did not report its time"),
        Some(skew) => {
            let way = if skew > 0.0 { "behind" } else { "ahead of" };
            let off = skew.abs();
            if off < 1.5 {
                sheet.ok("clock", "the same as the store's")
            } else if off < MAX_SKEW_S {
                sheet.ok("clock", format!("{off:.0} s {way} the store's"))
            } else {
                let text =
                    format!("this machine's clock is {off:.0} s {way} the store's; set it (NTP)");
                sheet.wrong("clock", text, None)
            }
        }
    }
}
