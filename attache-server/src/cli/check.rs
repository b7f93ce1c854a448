//! `attache check`: whether the settings work, one line for each thing, and what to do about those that do not.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use attache::access::links::LinkProof;
use attache::attachment::NewAttachment;
use attache::attachment::filename::Disposition;
use attache::catalog::sqlite::SqliteCatalog;
use attache::delivery::config::DeliveryMode;
use attache::delivery::embedding::Embed;
use attache::secret::SignedUrl;
use attache::storage::Vitals;
use attache::storage::azure::CredentialKind;
use attache::storage::config::Backend;
use attache::{Ask, Attache, AttachmentId, Config, Delivery, Error, ErrorKind};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use super::out::{self, print, print_json};
use super::{CLOSE_GRACE, Exit, Failure, Outcome, progress, stored};

/// Test the configuration: credential, clock, storage, catalog; then write, read, sign, open and delete a small file.
///
/// For Azure also reports what soft delete, versioning and CORS of the account mean, if it has permission to read them.
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

/// What is written, read and deleted.
const TEST_FILE: &[u8] = b"attache check wrote this file, and deletes it a moment later\n";

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

const SKIPPED: &str = "skipped, because of the failure above";

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

impl Check {
    pub(super) async fn run(self, file: Option<&Path>) -> Outcome {
        let mut sheet = Sheet {
            json: self.json,
            lines: Vec::new(),
        };
        let exit = match stored(file) {
            Ok(config) => {
                sheet.ok("configuration", source(file, &config))?;
                for remark in config.remarks() {
                    sheet.ok("configuration", format!("note: {remark}"))?;
                }
                if let Some(address) = embedded_by_address(&config) {
                    out::note(format_args!(
                        "note: {address} is an IP address, and in Chromium two ports of one address are not the same site: \
                         pages that are not served from there cannot show pictures, film or sound of it. Set \
                         server.public_url to a name, or delivery.embed = \"cross-origin\""
                    ));
                }
                examine(&mut sheet, config).await?;
                Exit::Done
            }
            Err(Failure::Error(error)) => {
                sheet.failed("configuration", &error)?;
                Exit::Misused
            }
            Err(other) => return Err(other),
        };
        sheet.finish()?;
        let failed = sheet.lines.iter().any(|line| line.status == Status::Failed);
        Ok(match exit {
            Exit::Done if failed => Exit::Failed,
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
fn embedded_by_address(config: &Config) -> Option<String> {
    let address = match &config.server.public_url {
        Some(url) => url.parse::<http::Uri>().ok()?.host()?.to_owned(),
        None => config.server.listen.ip().to_string(),
    };
    let is_ip = address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (config.embed() == Embed::SameSite && is_ip).then_some(address)
}

async fn examine(sheet: &mut Sheet, config: Config) -> Result<(), Failure> {
    let busy = progress::spinner("opening the store");
    let opened = open(config).await;
    busy.finish_and_clear();
    let store = match opened {
        Ok(store) => store,
        Err((step, error)) => return sheet.failed(step, &error),
    };
    let examined = examine_store(sheet, &store).await;
    store.close(CLOSE_GRACE).await;
    examined
}

/// Opens the store, or reports which part of it does not open.
async fn open(config: Config) -> Result<Attache, (&'static str, Error)> {
    let catalog = config.catalog.url.0.clone();
    match Attache::open(config).await {
        Ok(store) => Ok(store),
        Err(error) => {
            let alone = tokio::task::spawn_blocking(move || SqliteCatalog::open(&catalog)).await;
            let step = match alone {
                Ok(Ok(_)) => "storage",
                _ => "catalog",
            };
            Err((step, error))
        }
    }
}

async fn examine_store(sheet: &mut Sheet, store: &Attache) -> Result<(), Failure> {
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
    try_a_file(sheet, store).await
}

/// Whether there is one that works.
fn credential(
    sheet: &mut Sheet,
    config: &Config,
    vitals: &Vitals,
    probed: &attache::Result<attache::storage::Probe>,
) -> Result<bool, Failure> {
    if config.storage.backend != Backend::Azure {
        let backend = config.storage.backend.as_str();
        sheet.ok(
            "credential",
            format!("none is needed for {backend} storage"),
        )?;
        return Ok(true);
    }
    let Some(token) = vitals.leases.iter().find(|l| l.name == "entra_token") else {
        let which = match config.storage.azure.credential_in_use() {
            CredentialKind::ConnectionString => "connection_string",
            _ => "account_key",
        };
        sheet.ok("credential", format!("{which}; it does not expire"))?;
        return Ok(true);
    };
    let asked = config.storage.azure.credential;
    match (token.remaining_s, probed) {
        (Some(left), _) => {
            let chosen = match asked {
                CredentialKind::Default => ", chosen by \"default\"",
                _ => "",
            };
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

fn clock(sheet: &mut Sheet, backend: Backend, skew_s: Option<f64>) -> Result<(), Failure> {
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

/// The whole way of an attachment, through the service.
async fn try_a_file(sheet: &mut Sheet, store: &Attache) -> Result<(), Failure> {
    let busy = progress::spinner("writing, reading, signing, opening and deleting a small file");
    let new = NewAttachment {
        filename: "attache-check.txt".parse().ok(),
        created_by: "attache:check".parse().ok(),
        content_type: Some("text/plain".to_owned()),
        size: Some(TEST_FILE.len() as u64),
        ..NewAttachment::default()
    };
    let bytes = Bytes::from_static(TEST_FILE);
    let written = store.upload(new, futures::stream::iter([Ok(bytes)])).await;
    let id = match written {
        Ok(uploaded) => uploaded.attachment.id,
        Err(error) => {
            busy.finish_and_clear();
            return sheet.failed("write", &error);
        }
    };
    let read = read_back(store, &id).await;
    // Not for anybody: it is never shown.
    let base = "http://localhost";
    let signed = store.url(&id, None, Disposition::Attachment, base).await;
    let opened = match &signed {
        Ok(temporary) => open_signed(store, &id, &temporary.url).await,
        Err(_) => Ok(""),
    };
    let remarks = match store.find(&id).await {
        Ok(attachment) => store.parts().storage.remarks(&attachment.key).await,
        Err(_) => Vec::new(),
    };
    let deleted = delete(store, &id).await;
    busy.finish_and_clear();
    sheet.ok("write", format!("{} bytes, as {id}", TEST_FILE.len()))?;
    match read {
        Ok(()) => sheet.ok("read", "the same bytes")?,
        Err(error) => sheet.failed("read", &error)?,
    }
    match signed {
        Ok(temporary) => {
            let by = match store.parts().config.storage.backend {
                Backend::Azure => "the store serves it",
                _ => "`attache serve` serves it",
            };
            let until = out::timestamp(temporary.expires_at);
            sheet.ok("sign", format!("a URL until {until}; {by}"))?;
            match opened {
                Ok(how) => sheet.ok("open", how)?,
                Err(error) => sheet.failed("open", &error)?,
            }
        }
        Err(error) => {
            sheet.failed("sign", &error)?;
            sheet.skipped("open", SKIPPED)?;
        }
    }
    for remark in remarks {
        match remark.known {
            true => sheet.ok(remark.about, remark.text)?,
            false => sheet.skipped(remark.about, remark.text)?,
        }
    }
    match deleted {
        Ok(()) => sheet.ok("delete", "gone"),
        // What a policy is for is no fault, and worth knowing.
        Err(error) if error.kind() == ErrorKind::Retained => {
            sheet.skipped("delete", error.detail())
        }
        Err(error) => sheet.failed("delete", &error),
    }
}

/// Opens a signed URL of Azure as a browser would; checks a link of our own as a running server would.
async fn open_signed(
    store: &Attache,
    id: &AttachmentId,
    url: &SignedUrl,
) -> attache::Result<&'static str> {
    let storage = store.parts().config.storage();
    if let Some(bytes) = storage.open_signed_url(url, 2 * TEST_FILE.len()).await? {
        same(&bytes)?;
        return Ok("the URL returned the same bytes, without a credential");
    }
    let proof: LinkProof = url.expose().parse()?;
    store.check_link(id, Disposition::Attachment, &proof)?;
    Ok("its signature is valid; a running server accepts it")
}

fn same(bytes: &[u8]) -> attache::Result<()> {
    if bytes == TEST_FILE {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DigestMismatch,
        "the bytes read differ from those written",
    ))
}

async fn read_back(store: &Attache, id: &AttachmentId) -> attache::Result<()> {
    let ask = Ask {
        via: Some(DeliveryMode::Relay),
        ..Ask::default()
    };
    let Delivery::Relay {
        body: Some(body), ..
    } = store.deliver(id, &ask).await?
    else {
        return Err(Error::internal(
            "a relay was asked for, and something else came",
        ));
    };
    same(&body.collect(2 * TEST_FILE.len()).await?)
}

async fn delete(store: &Attache, id: &AttachmentId) -> attache::Result<()> {
    store.delete(id).await?;
    match store.find(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::internal("it was deleted, but is still there")),
    }
}

/// The lines, printed as they come, or together as JSON.
struct Sheet {
    json: bool,
    lines: Vec<Line>,
}

impl Sheet {
    fn ok(&mut self, step: &'static str, detail: impl Into<String>) -> Result<(), Failure> {
        self.add(step, Status::Ok, detail.into(), None)
    }

    fn skipped(&mut self, step: &'static str, detail: impl Into<String>) -> Result<(), Failure> {
        self.add(step, Status::Skipped, detail.into(), None)
    }

    fn failed(&mut self, step: &'static str, error: &Error) -> Result<(), Failure> {
        let mut text = error.detail().to_owned();
        if let Some(advice) = advice(error.kind()) {
            text.push_str("; ");
            text.push_str(advice);
        }
        self.wrong(step, text, Some(error.kind().code()))
    }

    fn wrong(
        &mut self,
        step: &'static str,
        detail: String,
        code: Option<&'static str>,
    ) -> Result<(), Failure> {
        self.add(step, Status::Failed, detail, code)
    }

    fn add(
        &mut self,
        step: &'static str,
        status: Status,
        detail: String,
        code: Option<&'static str>,
    ) -> Result<(), Failure> {
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
    fn finish(&mut self) -> Result<(), Failure> {
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
            Some("check the network and the firewall, and storage.azure.endpoint")
        }
        ErrorKind::StorageFull => Some("free some space, or set storage.local.root"),
        ErrorKind::QuotaExceeded => Some("delete something, or raise upload.total_bytes"),
        ErrorKind::TooLarge => Some("raise upload.max_file_bytes"),
        ErrorKind::Busy => Some("raise memory.transfer_bytes"),
        ErrorKind::Internal => Some("run again with ATTACHE_LOG=debug for details"),
        _ => None,
    }
}
