//! `attache url`: a temporary URL.

use std::time::Duration;

use attache::Attache;
use attache::attachment::AttachmentId;
use attache::attachment::filename::Disposition;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use super::out::{self, note, print, print_json};
use super::outcome::{Exit, Outcome};
use crate::config::server::ServerConfig;

/// Print a URL that opens one attachment, read-only, for a while.
///
/// Anyone who has the URL can read the attachment until it expires.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  attache url 01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11 --lifetime 2m --download

A store that signs URLs (azure, s3, gcs) serves them itself. Other URLs lead to `attache serve`, at server.public_url, or at \
server.listen if that is not set. Exit code 3: no such attachment.")]
pub(super) struct Url {
    /// The attachment's id.
    id: AttachmentId,

    /// Longest time until it expires, 5s to 2h; if unset delivery.url_lifetime, or 2m where that is "auto".
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    lifetime: Option<Duration>,

    /// A URL that saves the file instead of showing it.
    #[arg(long)]
    download: bool,

    /// Print {"url", "expires_at", "expires_in"} as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct UrlJson<'a> {
    url: &'a str,
    expires_at: String,
    expires_in: u64,
}

impl Url {
    pub(super) async fn run(self, store: &Attache, server: &ServerConfig) -> Outcome {
        let disposition = match self.download {
            true => Disposition::Attachment,
            false => Disposition::Inline,
        };
        let base = match &server.public_url {
            Some(url) => url.clone(),
            None => format!("http://{}", server.listen),
        };
        let temporary = store
            .url(&self.id, self.lifetime, disposition, &base)
            .await?;
        let left: Duration = (temporary.expires_at - OffsetDateTime::now_utc())
            .try_into()
            .unwrap_or_default();
        if self.json {
            print_json(&UrlJson {
                url: temporary.url.expose(),
                expires_at: out::timestamp(temporary.expires_at),
                expires_in: left.as_secs(),
            })?;
        } else {
            print(&format!("{}\n", temporary.url.expose()))?;
            note(format_args!(
                "works until {} ({})",
                out::timestamp(temporary.expires_at),
                humantime::format_duration(Duration::from_secs(left.as_secs()))
            ));
        }
        Ok(Exit::Done)
    }
}
