//! What clients upload to: attache, alone or behind nginx, with a proxy before it that breaks connections.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fake_azure::FakeAzure;
use sha2::{Digest as _, Sha256};

use crate::proxy::{Plan, Proxy};
use crate::support::bucket::hex;
use crate::support::nginx::Nginx;
use crate::support::{self, Server, files_below};

/// How attache is reached, and where it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// In a folder.
    Direct,
    /// On the stand-in for Azure.
    Azure,
    /// Behind nginx as it is shipped for attache: without a limit, and bodies are passed on as they come.
    Nginx,
    /// Behind nginx that keeps a body until it has all of it, which is its default.
    Buffering,
}

pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    variables: Vec<(&'static str, String)>,
    /// What lay in the store before.
    before: BTreeSet<String>,
    azure: Option<(FakeAzure, tokio::runtime::Runtime)>,
    _nginx: Option<Nginx>,
    _certificates: tempfile::TempDir,
}

impl Ground {
    /// `None` where something is not installed.
    pub(crate) fn start(place: Where, plan: Plan, more: &[(&'static str, String)]) -> Option<Self> {
        let certificates = tempfile::tempdir().unwrap();
        let mut variables: Vec<(&str, String)> = vec![
            ("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB".to_owned()),
            ("ATTACHE_UPLOAD__PARTIAL_LIFETIME", "1h".to_owned()),
            ("ATTACHE_DELIVERY__MODE", "relay".to_owned()),
        ];
        variables.extend_from_slice(more);
        let azure = (place == Where::Azure).then(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let azure = runtime.block_on(async {
                let builder = FakeAzure::builder().account("acme").container("files");
                builder.secret("a-secret").start().await.unwrap()
            });
            variables.extend(support::on_azure(&azure, certificates.path()));
            (azure, runtime)
        });
        let borrowed: Vec<(&str, &str)> = borrow(&variables).collect();
        // An address of its own, so that nobody takes its port while it is dead.
        static COUNT: AtomicU8 = AtomicU8::new(2);
        let listen = format!("127.0.1.{}:0", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = Server::start_at(&listen, &borrowed);
        let objects = server.folder.path().join("attache-data/objects");
        let nginx = match place {
            Where::Direct | Where::Azure => None,
            Where::Nginx => Some(Nginx::start(server.address, &objects, None)?),
            Where::Buffering => Some(Nginx::with(|_, address| {
                format!(
                    "server {{
                        listen {address};
                        client_max_body_size 0;
                        location / {{
                            proxy_pass http://{};
                            proxy_http_version 1.1;
                            proxy_set_header Host $http_host;
                        }}
                    }}",
                    server.address
                )
            })?),
        };
        let upstream = nginx.as_ref().map_or(server.address, |nginx| nginx.address);
        Some(Self {
            before: files_below(&objects).into_iter().collect(),
            proxy: Proxy::before(upstream, plan),
            server,
            variables,
            azure,
            _nginx: nginx,
            _certificates: certificates,
        })
    }

    /// SIGKILL while the proxy holds a request, and the same again at the same address, a moment after the client has noticed.
    pub(crate) fn kill_and_restart(&mut self) {
        self.proxy.await_hold();
        self.server.kill();
        self.proxy.release();
        self.await_that(|| self.proxy.refused() > 0);
        let borrowed: Vec<(&str, &str)> = borrow(&self.variables).collect();
        self.server.restart_there(&borrowed);
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/v1/uploads", self.proxy.address)
    }

    /// The attachment that an upload has become has these bytes, by its digest and by what is downloaded; what is said of it.
    pub(crate) fn assert_stored(&self, url: &str, bytes: &[u8]) -> serde_json::Value {
        let id = self.id(url);
        let answer = self.server.get(&format!("/v1/attachments/{id}"));
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.seen());
        let json = answer.json();
        assert_eq!(json["size"], bytes.len(), "{json}\n{}", self.seen());
        assert_eq!(
            json["sha256"],
            hex(&Sha256::digest(bytes)),
            "{}",
            self.seen()
        );
        let download = self.server.get(&format!("/download/{id}"));
        assert!(download.body == bytes, "other bytes\n{}", self.seen());
        json
    }

    /// Besides these attachments there are so many uploads that are not complete, of which nothing is left once their time is over.
    pub(crate) fn assert_left(&self, urls: &[&str], partial: u64) {
        let count = || self.server.figure("attache_uploads_partial");
        // A connection that was cut a moment ago may not be noticed yet.
        self.await_that(|| count() == partial);
        let catalog = self.server.folder.path().join("attache-data/attache.db");
        let database = rusqlite::Connection::open(catalog).unwrap();
        let late = "UPDATE uploads SET expires_ms = 1; UPDATE attachments SET upload_expires_ms = 1 WHERE upload_expires_ms IS NOT NULL";
        database.execute_batch(late).unwrap();
        let swept = self.server.request("POST", "/v1/admin/sweep", &[], b"");
        assert_eq!(swept.json()["uploads_removed"], partial, "{}", swept.text());
        assert_eq!(count(), 0);
        let status = self.server.get("/v1/status").json();
        assert_eq!(
            status["catalog"]["attachments"],
            urls.len(),
            "{}",
            self.seen()
        );
        assert_eq!(status["catalog"]["reserved_bytes"], 0);
        let ids: Vec<&str> = urls.iter().map(|url| self.id(url)).collect();
        let is_known = |name: &str| ids.iter().any(|id| name.contains(id));
        if let Some((azure, _)) = &self.azure {
            assert_eq!(azure.counts().uncommitted_blocks, 0);
            let blobs = azure.blobs();
            let stray = blobs.iter().find(|blob| !is_known(&blob.name));
            assert!(stray.is_none(), "{stray:?}");
        }
        let objects = self.server.folder.path().join("attache-data/objects");
        let left = files_below(&objects);
        let stray = left
            .iter()
            .find(|name| !self.before.contains(*name) && !is_known(name));
        assert!(stray.is_none(), "{stray:?}");
    }

    /// Waits until the client has sent such a request, and such an answer has passed.
    pub(crate) fn await_seen(&self, request: &str, answer: &str) {
        self.await_that(|| {
            let seen = self.proxy.seen();
            let mut lines = seen.lines();
            lines.any(|line| line.starts_with(request) && line.ends_with(answer))
        });
    }

    fn await_that(&self, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            let late = start.elapsed() > Duration::from_secs(20);
            assert!(!late, "{}", self.seen());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn id<'a>(&self, url: &'a str) -> &'a str {
        let id = url.strip_prefix(&format!("{}/", self.endpoint()));
        id.unwrap_or_else(|| panic!("{url:?} is no upload here\n{}", self.seen()))
    }

    /// What the client did, and what the server said of it.
    pub(crate) fn seen(&self) -> String {
        format!("{}\n{}", self.proxy.seen(), self.server.log_end())
    }
}

fn borrow<'a>(variables: &'a [(&'static str, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
}
