//! A headless Chromium behind chromedriver.

use std::path::{Path, PathBuf};
use std::process::Command;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

use crate::child::Guarded;
use crate::tool;

/// A browser of its own for one test: fresh profile, window of 1280 × 900, nothing remembered.
///
/// Dropping it kills the browser. [`close`](Self::close) ends it in peace and is not needed.
#[derive(Debug)]
pub struct Chromium {
    client: Client,
    // Dropped in this order: the process first, then the profile that it writes to.
    _driver: Guarded,
    profile: TempDir,
}

impl Chromium {
    /// Starts chromedriver on a free port of 127.0.0.1 and opens a session in it.
    ///
    /// Uses `ATTACHE_TEST_CHROMEDRIVER` and `ATTACHE_TEST_CHROMIUM`, else the search path.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// One that trusts every certificate: those of servers that a test has started.
    pub async fn start_trusting_all() -> Option<Self> {
        Self::start_with(&["--ignore-certificate-errors"]).await
    }

    async fn start_with(flags: &[&str]) -> Option<Self> {
        let chromedriver = tool::find("chromedriver", "ATTACHE_TEST_CHROMEDRIVER", || {
            tool::on_path(&["chromedriver"])
        })?;
        let chromium = tool::find("Chromium", "ATTACHE_TEST_CHROMIUM", || {
            tool::on_path(&["chromium", "chromium-browser", "google-chrome"])
        })?;
        let profile = TempDir::with_prefix("attache-chromium-").expect("a temporary folder");

        let mut command = Command::new("sh");
        command
            .args(["-c", ENDS_WITH_STDIN])
            .arg(chromedriver)
            .args(["--port=0", "--log-level=SEVERE"]);
        let (driver, port) = Guarded::start(command, |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        })
        .await;

        let mut arguments: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut capabilities = Capabilities::new();
        let downloads = profile.path().join("downloads");
        capabilities.insert(
            "goog:chromeOptions".to_owned(),
            json!({
                "binary": chromium,
                "args": arguments,
                "prefs": {
                    "download.default_directory": downloads,
                    "download.prompt_for_download": false,
                    // More than one from a page, without asking.
                    "profile.default_content_setting_values.automatic_downloads": 1,
                },
            }),
        );
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("chromedriver opened no session: {error}"));
        Some(Self {
            client,
            _driver: driver,
            profile,
        })
    }

    /// The session to drive the browser with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The folder of this browser's profile.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// The folder into which this browser saves; made by the first download.
    pub fn downloads(&self) -> PathBuf {
        self.profile.path().join("downloads")
    }

    /// Ends the session and waits for the browser to go.
    pub async fn close(self) {
        // A browser that is gone already is what was wanted.
        let _ = self.client.clone().close().await;
    }
}

/// Runs its arguments, and kills them with all that they started when stdin ends.
const ENDS_WITH_STDIN: &str = r#""$0" "$@" </dev/null & cat >/dev/null; kill -KILL 0"#;

const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
];
