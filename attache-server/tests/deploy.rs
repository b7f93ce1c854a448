//! What operators are given: the figures, the dashboard and the alerts that name them, the unit file, the container's way of
//! running. All of it against the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_azure::{Entra, FakeAzure, Op};
use support::{Server, command, noise, request};
use test_support::Postgres;

/// The figures that users can count on, with their labels: names never change, because dashboards call them.
const CONTRACT: [(&str, &[&str]); 29] = [
    (
        "attache_operations_total",
        &["operation", "backend", "outcome"],
    ),
    ("attache_operation_seconds", &["operation", "backend"]),
    ("attache_transferred_bytes_total", &["direction"]),
    ("attache_streams_open", &["direction"]),
    ("attache_streams_total", &["direction", "outcome"]),
    ("attache_transfer_memory_bytes", &[]),
    ("attache_transfer_memory_limit_bytes", &[]),
    ("attache_process_resident_bytes", &[]),
    ("attache_heap_allocated_bytes", &[]),
    ("attache_lease_requests_total", &["lease", "outcome"]),
    ("attache_lease_fetches_total", &["lease", "outcome"]),
    ("attache_lease_remaining_seconds", &["lease"]),
    ("attache_signed_urls_total", &["backend", "outcome"]),
    ("attache_clients_built_total", &["backend"]),
    ("attache_config_generation", &[]),
    ("attache_config_reloads_total", &["outcome"]),
    ("attache_upstream_connections", &["state"]),
    ("attache_upstream_retries_total", &["reason"]),
    ("attache_catalog_attachments", &[]),
    ("attache_catalog_bytes", &[]),
    ("attache_catalog_connections", &["state"]),
    ("attache_replicas", &[]),
    ("attache_uploads_partial", &[]),
    ("attache_moved_objects_total", &["outcome"]),
    // Additions.
    ("attache_limited_total", &["limit"]),
    ("attache_inspections_total", &["hook", "outcome"]),
    ("attache_move_objects", &["state"]),
    ("attache_move_bytes", &["state"]),
    ("attache_move_changed_timestamp_seconds", &[]),
];

/// What `/metrics` says: name, labels, value.
#[derive(Debug)]
struct Figures(Vec<(String, BTreeMap<String, String>, f64)>);

impl Figures {
    fn of(server: &Server) -> Self {
        let answer = server.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// The sum of all series with these labels, and whatever others.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |have: &BTreeMap<String, String>| {
            labels
                .iter()
                .all(|(label, value)| have.get(*label).is_some_and(|have| have == value))
        };
        let all = self.0.iter().filter(|(have, l, _)| have == name && has(l));
        all.map(|(_, _, value)| value).sum()
    }

    /// Families, a histogram by its name alone.
    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _, _)| family(name)).collect()
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("closed")),
    };
    let labels = labels.split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').expect("a label");
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    (name.to_owned(), labels.collect(), value)
}

fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
}

/// A stand-in for Azure, and a server on it.
async fn start(more: &[(&str, &str)]) -> (FakeAzure, Server) {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    let server = tokio::task::block_in_place(|| Server::start_on(&azure, more));
    (azure, server)
}

fn upload(server: &Server, bytes: &[u8]) -> String {
    let json = server.put(
        "filename=a.bin&owner=page:1",
        "application/octet-stream",
        bytes,
    );
    json["id"].as_str().unwrap().to_owned()
}

/// Asks until it holds.
#[track_caller]
fn eventually(server: &Server, what: &str, holds: impl Fn(&Figures) -> bool) -> Figures {
    let start = Instant::now();
    loop {
        let figures = Figures::of(server);
        if holds(&figures) {
            return figures;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what}: {figures:#?}"
        );
        std::thread::yield_now();
    }
}

/// Does everything that has a figure.
fn exercise(azure: &FakeAzure, server: &Server) {
    let id = upload(server, &noise(100_000));
    assert_eq!(server.get(&format!("/download/{id}?via=relay")).status, 200);
    assert_eq!(server.get(&format!("/attachment/{id}")).status, 302);
    let url = format!("/v1/attachments/{id}/url");
    assert_eq!(server.request("POST", &url, &[], b"").status, 200);
    assert_eq!(server.get("/v1/attachments").status, 200);
    assert_eq!(
        server
            .get("/download/019a0000-0000-7000-8000-000000000000")
            .status,
        404
    );
    // A reload that fails, and one that succeeds.
    assert_eq!(
        server.request("POST", "/v1/admin/reload", &[], b"").status,
        200
    );
    // More connections than there may be.
    let held: Vec<_> = (0..8).map(|_| server.connect()).collect();
    let start = Instant::now();
    while server.get("/healthz").status != 503 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the limit is met"
        );
    }
    drop(held);
    azure.faults(|faults| faults.busy_next(Op::DeleteBlob, 1, Duration::ZERO));
    while server.get("/healthz").status != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "there is room again"
        );
    }
    let gone = server.request("DELETE", &format!("/v1/attachments/{id}"), &[], b"");
    assert_eq!(gone.status, 204, "{}", gone.text());
}

/// Hooks that nobody answers, and few connections.
const EVERYTHING: [(&str, &str); 3] = [
    ("ATTACHE_LIMITS__CONNECTIONS", "8"),
    ("ATTACHE_HOOKS__CLAMD", "tcp://127.0.0.1:1"),
    ("ATTACHE_HOOKS__WHEN_DOWN", "accept"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dashboard_alerts_and_documents_name_figures_that_exist_and_the_dashboard_names_them_all() {
    // With a catalog that has connections.
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;
    let url = database.url();
    let mut settings = EVERYTHING.to_vec();
    settings.push(("ATTACHE_CATALOG__URL", &url));
    let (azure, server) = start(&settings).await;
    let figures = tokio::task::block_in_place(|| {
        exercise(&azure, &server);
        Figures::of(&server)
    });
    let exported = figures.names();
    for (name, labels) in CONTRACT {
        let series: Vec<_> = figures
            .0
            .iter()
            .filter(|(have, _, _)| family(have) == name)
            .collect();
        assert!(!series.is_empty(), "{name} is exported");
        for (have, has, _) in series {
            let has: BTreeSet<&str> = has
                .keys()
                .map(String::as_str)
                .filter(|l| *l != "le")
                .collect();
            assert_eq!(has, labels.iter().copied().collect(), "labels of {have}");
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("deploy/prometheus/attache.rules.yml"),
        root.join("deploy/prometheus/attache.rules.test.yml"),
        root.join("deploy/grafana/attache.json"),
    ];
    let documents = std::fs::read_dir(root.join("docs")).unwrap().flatten();
    files.extend(
        documents
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    let mut named = 0;
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        for name in names_in(&text) {
            assert!(
                exported.contains(family(name)),
                "{name} in {} is not a metric",
                path.display()
            );
            named += 1;
        }
    }
    assert!(named > 40, "{named} names were found at all");
    let dashboard = std::fs::read_to_string(root.join("deploy/grafana/attache.json")).unwrap();
    let shown: BTreeSet<&str> = names_in(&dashboard).map(family).collect();
    let missing: Vec<_> = exported.difference(&shown).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
    let json: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    for panel in json["panels"].as_array().unwrap() {
        assert!(
            panel["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty()),
            "{panel}"
        );
    }
}

/// Words that begin as figures do. Environment variables are in capitals, and crates have hyphens in these files.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '/' && c != '.' && c != '-')
        .filter(|word| word.starts_with("attache_") && !word.contains(['/', '.', '-']))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_move_their_figures_and_give_everything_back() {
    let (azure, server) = start(&[
        ("ATTACHE_UPLOAD__IDLE_TIMEOUT", "1s"),
        ("ATTACHE_CLIENTS__IDLE_AFTER", "1s"),
    ])
    .await;
    tokio::task::block_in_place(|| {
        let fresh = Figures::of(&server);
        for direction in ["in", "out"] {
            for outcome in [
                "complete",
                "resumed",
                "client_gone",
                "upstream_failed",
                "timeout",
            ] {
                let labels = [("direction", direction), ("outcome", outcome)];
                let series = fresh.0.iter().filter(|(name, l, _)| {
                    name == "attache_streams_total"
                        && labels
                            .iter()
                            .all(|(k, v)| l.get(*k).is_some_and(|have| have == v))
                });
                assert_eq!(series.count(), 1, "{labels:?} is there from the start");
            }
        }
        let id = upload(&server, &noise(3_000_000));
        let target = format!("/download/{id}?via=relay");
        let figures = Figures::of(&server);
        assert_eq!(
            figures.sum("attache_transferred_bytes_total", &[("direction", "in")]),
            3e6
        );
        assert_eq!(figures.sum("attache_catalog_attachments", &[]), 1.0);
        assert_eq!(figures.sum("attache_catalog_bytes", &[]), 3e6);
        assert_eq!(figures.sum("attache_streams_open", &[]), 0.0);
        let settled = figures.sum("attache_heap_allocated_bytes", &[]);
        assert!(settled > 100_000.0, "{settled}");
        assert!(figures.sum("attache_process_resident_bytes", &[]) > settled);

        // An upload that is half there holds its block, on the heap and in the budget.
        let head = "POST /v1/attachments?filename=b.bin HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n\
             content-length: 6000000\r\n\r\n";
        let mut half = server.connect();
        half.write_all(head.as_bytes()).unwrap();
        half.write_all(&noise(5_000_000)).unwrap();
        let during = eventually(&server, "the half upload", |figures| {
            figures.sum("attache_transferred_bytes_total", &[("direction", "in")]) >= 8e6
        });
        assert_eq!(
            during.sum("attache_streams_open", &[("direction", "in")]),
            1.0
        );
        assert!(
            during.sum("attache_transfer_memory_bytes", &[]) >= 6e6,
            "{during:#?}"
        );
        assert!(during.sum("attache_heap_allocated_bytes", &[]) > settled + 4e6);
        drop(half);
        let after = eventually(&server, "the client has left", |figures| {
            figures.sum(
                "attache_streams_total",
                &[("direction", "in"), ("outcome", "client_gone")],
            ) == 1.0
                && figures.sum("attache_transfer_memory_bytes", &[]) == 0.0
        });
        assert_eq!(after.sum("attache_streams_open", &[]), 0.0);
        assert!(after.sum("attache_heap_allocated_bytes", &[]) < settled + 2e6);

        // A sender that falls silent.
        let mut silent = server.connect();
        silent.write_all(head.as_bytes()).unwrap();
        eventually(&server, "the silent sender", |figures| {
            figures.sum(
                "attache_streams_total",
                &[("direction", "in"), ("outcome", "timeout")],
            ) == 1.0
        });

        // A reader that does not read keeps a connection busy.
        azure.faults(|faults| faults.download_bytes_per_second = Some(500_000));
        let mut slow = server.connect();
        slow.write_all(&request("a", "GET", &target, &[], b""))
            .unwrap();
        let connections = |figures: &Figures, state| {
            figures.sum("attache_upstream_connections", &[("state", state)])
        };
        eventually(&server, "the slow download", |figures| {
            figures.sum("attache_streams_open", &[("direction", "out")]) == 1.0
                && connections(figures, "open") - connections(figures, "idle") >= 1.0
        });
        drop(slow);
        eventually(&server, "the reader has left", |figures| {
            figures.sum(
                "attache_streams_total",
                &[("direction", "out"), ("outcome", "client_gone")],
            ) == 1.0
        });
        azure.faults(fake_azure::Faults::clear);
        assert_eq!(server.get(&target).body.len(), 3_000_000);
        let idle = Figures::of(&server);
        assert!(
            connections(&idle, "idle") >= 1.0,
            "a used connection is kept: {idle:#?}"
        );
        eventually(&server, "idle connections go", |figures| {
            connections(figures, "open") == 0.0
        });

        // Broken once: taken up again. Broken always: failed.
        azure.faults(|faults| faults.cut_response(1_000_000, 1));
        assert_eq!(server.get(&target).body.len(), 3_000_000);
        azure.faults(|faults| faults.cut_response(10_000, 1_000));
        assert!(server.get(&target).truncated);
        azure.faults(fake_azure::Faults::clear);
        let end = eventually(&server, "both have ended", |figures| {
            let out = |outcome| {
                figures.sum(
                    "attache_streams_total",
                    &[("direction", "out"), ("outcome", outcome)],
                )
            };
            out("resumed") == 1.0 && out("upstream_failed") == 1.0 && out("complete") == 1.0
        });
        assert!(end.sum("attache_upstream_retries_total", &[("reason", "resumed")]) >= 2.0);
        let failed = [("operation", "relay"), ("outcome", "upstream_unavailable")];
        assert_eq!(
            end.sum("attache_operations_total", &failed),
            1.0,
            "{end:#?}"
        );

        assert_eq!(
            server
                .request("DELETE", &format!("/v1/attachments/{id}"), &[], b"")
                .status,
            204
        );
        let end = Figures::of(&server);
        assert_eq!(end.sum("attache_catalog_attachments", &[]), 0.0);
        assert_eq!(end.sum("attache_catalog_bytes", &[]), 0.0);
        assert_eq!(end.sum("attache_streams_open", &[]), 0.0);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_retries_and_signatures_are_counted_where_they_happen() {
    let (azure, server) = start(&[]).await;
    tokio::task::block_in_place(|| {
        let remaining = |figures: &Figures, lease| {
            figures.sum("attache_lease_remaining_seconds", &[("lease", lease)])
        };
        let fresh = Figures::of(&server);
        assert_eq!(remaining(&fresh, "entra_token"), 0.0);
        assert_eq!(fresh.sum("attache_lease_fetches_total", &[]), 0.0);
        azure.faults(|faults| faults.token_lifetime = Duration::from_secs(3000));
        let id = upload(&server, b"hello");
        let first = Figures::of(&server);
        let left = remaining(&first, "entra_token");
        assert!((2900.0..=3000.0).contains(&left), "{left}");
        let requests = |figures: &Figures, lease, outcome| {
            figures.sum(
                "attache_lease_requests_total",
                &[("lease", lease), ("outcome", outcome)],
            )
        };
        assert!(
            requests(&first, "entra_token", "waited") >= 1.0,
            "{first:#?}"
        );
        let then = eventually(&server, "time passes", |figures| {
            remaining(figures, "entra_token") < left
        });
        assert!(remaining(&then, "entra_token") > 0.0);

        for _ in 0..3 {
            let url = server.request("POST", &format!("/v1/attachments/{id}/url"), &[], b"");
            assert_eq!(url.status, 200);
            assert_eq!(server.get(&format!("/attachment/{id}")).status, 302);
        }
        let signed = Figures::of(&server);
        let urls = [("backend", "azure"), ("outcome", "ok")];
        assert_eq!(signed.sum("attache_signed_urls_total", &urls), 6.0);
        let keys = [("lease", "delegation_key"), ("outcome", "ok")];
        assert_eq!(signed.sum("attache_lease_fetches_total", &keys), 1.0);
        assert!(requests(&signed, "delegation_key", "hit") >= 5.0);
        assert!(remaining(&signed, "delegation_key") > 3600.0);

        let target = format!("/download/{id}?via=relay");
        let retries = |figures: &Figures, reason| {
            figures.sum("attache_upstream_retries_total", &[("reason", reason)])
        };
        azure.faults(|faults| faults.busy_next(Op::GetBlob, 1, Duration::ZERO));
        assert_eq!(server.get(&target).body, b"hello");
        azure.faults(|faults| faults.fail_next(Op::GetBlob, 1, 500, "InternalError"));
        assert_eq!(server.get(&target).body, b"hello");
        azure.faults(|faults| faults.disconnect_next(Op::GetBlob, 2));
        assert_eq!(server.get(&target).body, b"hello");
        let retried = Figures::of(&server);
        assert_eq!(retries(&retried, "throttled"), 1.0, "{retried:#?}");
        assert_eq!(retries(&retried, "server_error"), 1.0, "{retried:#?}");
        assert!(retries(&retried, "disconnected") >= 1.0, "{retried:#?}");

        // What was asked for and is not there is nobody's failure.
        assert_eq!(
            server
                .get("/download/019a0000-0000-7000-8000-000000000000")
                .status,
            404
        );
        let expected = Figures::of(&server);
        assert_eq!(
            expected.sum("attache_operations_total", &[("outcome", "not_found")]),
            1.0
        );
        assert_eq!(
            expected.sum("attache_streams_total", &[("outcome", "upstream_failed")]),
            0.0
        );

        // Entra is down, and the token at hand is refused.
        azure.faults(|faults| faults.entra = Entra::Unavailable);
        azure.revoke_tokens();
        assert!(server.get(&target).status >= 500);
        let failed = Figures::of(&server);
        let fetches = [("lease", "entra_token"), ("outcome", "failed")];
        assert!(failed.sum("attache_lease_fetches_total", &fetches) >= 1.0);
        assert!(requests(&failed, "entra_token", "failed") >= 1.0);

        assert_eq!(
            failed.sum("attache_clients_built_total", &[("backend", "azure")]),
            1.0
        );
        assert_eq!(failed.sum("attache_config_generation", &[]), 1.0);
        assert_eq!(failed.sum("attache_config_reloads_total", &[]), 0.0);
        assert_eq!(
            server.request("POST", "/v1/admin/reload", &[], b"").status,
            200
        );
        let reloaded = Figures::of(&server);
        assert_eq!(
            reloaded.sum("attache_config_reloads_total", &[("outcome", "ok")]),
            1.0
        );
    });
}

#[test]
fn delegations_are_counted_too() {
    let server = Server::start(&[
        ("ATTACHE_DELIVERY__MODE", "delegate"),
        ("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ]);
    let id = upload(&server, b"hello");
    let answer = server.get(&format!("/download/{id}"));
    assert!(
        answer.header("x-accel-redirect").is_some(),
        "{}",
        answer.text()
    );
    let figures = Figures::of(&server);
    let labels = [
        ("operation", "delegate"),
        ("backend", "local"),
        ("outcome", "ok"),
    ];
    assert_eq!(figures.sum("attache_operations_total", &labels), 1.0);
    for operation in ["upload", "delegate"] {
        let count = figures.sum(
            "attache_operation_seconds_count",
            &[("operation", operation)],
        );
        assert_eq!(count, 1.0, "{operation}");
    }
}

#[test]
fn alerts_say_what_is_the_case_and_what_to_do_and_are_raised_when_they_should() {
    let folder = shipped("prometheus");
    let rules = std::fs::read_to_string(folder.join("attache.rules.yml")).unwrap();
    let guide = std::fs::read_to_string(shipped("../docs/operating.md")).unwrap();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        for part in ["expr:", "severity:", "summary:", "description:"] {
            assert!(alert.contains(part), "{name} has {part}");
        }
        assert!(
            guide.contains(&format!("`{name}`")),
            "docs/operating.md explains {name}"
        );
    }
    let Some(promtool) = test_support::promtool() else {
        return;
    };
    for arguments in [
        ["check", "rules", "attache.rules.yml"],
        ["test", "rules", "attache.rules.test.yml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    // The example, with the token file that it names.
    let place = tempfile::tempdir().unwrap();
    let token = place.path().join("token");
    std::fs::write(&token, "t").unwrap();
    std::fs::copy(
        folder.join("attache.rules.yml"),
        place.path().join("attache.rules.yml"),
    )
    .unwrap();
    let scrape = std::fs::read_to_string(folder.join("scrape.yml")).unwrap();
    let scrape = scrape.replace(
        "/etc/prometheus/attache.token",
        &token.display().to_string(),
    );
    std::fs::write(place.path().join("prometheus.yml"), scrape).unwrap();
    let output = Command::new(&promtool)
        .args(["check", "config", "prometheus.yml"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_unit_file_is_valid_and_locked_down() {
    let Some(systemd_analyze) = test_support::systemd_analyze() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(shipped("systemd/attache.service")).unwrap();
    let installed = "ExecStart=attache serve";
    assert!(unit.contains(installed));
    let program = format!("ExecStart={} serve", env!("CARGO_BIN_EXE_attache"));
    let unit = unit.replace(installed, &program);
    let path = place.path().join("attache.service");
    std::fs::write(&path, unit).unwrap();
    let verified = Command::new(&systemd_analyze)
        .arg("verify")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // The machine's own units are none of ours.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("attache.service"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
    // 2.0 of 10, where 10 is everything allowed.
    let secure = Command::new(&systemd_analyze)
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        secure.status.success(),
        "{}",
        String::from_utf8_lossy(&secure.stdout)
    );
}

/// They cannot be run here, but every variable that they set is a key, and its value one that it takes.
#[test]
fn compose_and_kubernetes_set_keys_that_exist_to_values_that_they_take() {
    for (file, keys) in [("compose/compose.yaml", 7), ("kubernetes/attache.yaml", 10)] {
        let text = std::fs::read_to_string(shipped(file)).unwrap();
        let set = variables(&text);
        assert_eq!(set.len(), keys, "{set:?}");
        let folder = tempfile::tempdir().unwrap();
        let config = command(folder.path(), &[])
            .arg("config")
            .envs(&set)
            // What the platform puts there.
            .env("AZURE_TENANT_ID", "t")
            .env("AZURE_CLIENT_ID", "c")
            .env("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
            .env("ATTACHE_PORT", "tcp://10.0.0.1:80")
            .output()
            .unwrap();
        assert!(config.status.success(), "{file}: {config:?}");
        let shown = String::from_utf8_lossy(&config.stdout).into_owned();
        for (name, value) in &set {
            let is_key = name.contains("__");
            assert!(
                !is_key || shown.contains(value.as_str()),
                "{name} = {value}"
            );
        }
    }
}

/// `NAME: value`, and `{ name: NAME, value: value }` on one line or two.
fn variables(yaml: &str) -> BTreeMap<String, String> {
    let lines = yaml
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeMap::new();
    for part in text.split("ATTACHE_").skip(1) {
        let end = part
            .find(|c: char| !(c.is_ascii_uppercase() || c == '_'))
            .unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let mut lines = rest.lines();
        let first = lines.next().unwrap_or_default();
        let value = match first.strip_prefix(':') {
            Some(value) => value,
            None => [first, lines.next().unwrap_or_default()]
                .into_iter()
                .find_map(|line| Some(line.split_once("value:")?.1))
                .unwrap(),
        };
        let value = value.trim_end_matches(['}', ' ']).trim().trim_matches('"');
        found.insert(format!("ATTACHE_{name}"), value.to_owned());
    }
    found
}

/// As in a container: another user, to whom everything but the data folder is read-only.
#[test]
fn it_needs_nothing_but_its_data_folder() {
    let place = tempfile::tempdir().unwrap();
    let (program, data) = (place.path().join("attache"), place.path().join("data"));
    std::fs::copy(env!("CARGO_BIN_EXE_attache"), &program).unwrap();
    std::fs::create_dir(&data).unwrap();
    let as_nobody = |command: &mut Command| {
        if is_root() {
            // What root may do proves nothing.
            use std::os::unix::fs::PermissionsExt;
            use std::os::unix::process::CommandExt as _;
            std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&data, Some(65_532), Some(65_532)).unwrap();
            command.uid(65_532).gid(65_532);
        }
    };
    let mut serve = Command::new(&program);
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(&data)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    as_nobody(&mut serve);
    let mut child = serve.spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    let health = |arguments: &[&str]| {
        let mut health = Command::new(&program);
        health
            .arg("health")
            .args(arguments)
            .args(["--url", &url])
            .env_clear();
        as_nobody(&mut health);
        health.output().unwrap()
    };
    let alive = health(&[]);
    let ready = health(&["--ready"]);
    let _ = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    let ended = child.wait().unwrap();
    assert_eq!(
        (alive.status.code(), alive.stdout.as_slice()),
        (Some(0), b"ok\n".as_slice()),
        "{alive:?}"
    );
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    assert!(ended.success());
    assert!(data.join("attache-data/attache.db").is_file());
    let after = health(&[]);
    assert_eq!(after.status.code(), Some(1), "{after:?}");
    let said = String::from_utf8_lossy(&after.stderr);
    assert!(said.contains("refused"), "{said}");
}

#[test]
fn health_finds_a_server_by_its_configuration_and_over_tls() {
    let certificate = rcgen::generate_simple_self_signed(["files.example.org".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(
        folder.path().join("key.pem"),
        certificate.signing_key.serialize_pem(),
    )
    .unwrap();
    let config = "[server.tls]\ncertificate_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";
    std::fs::write(folder.path().join("attache.toml"), config).unwrap();
    let server = Server::start_in(folder, &[], &["--config", "attache.toml"]);
    let health = |variables: &[(&str, &str)]| {
        command(server.folder.path(), variables)
            .args(["health", "--config", "attache.toml"])
            .output()
            .unwrap()
    };
    let listen = server.address.to_string();
    // By a name that the certificate does not have, because it is an address of this machine.
    let found = health(&[("ATTACHE_SERVER__LISTEN", &listen)]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    // A fault in the file is no fault of the server that runs since before; the port is told by the environment.
    let plain = Server::start(&[]);
    let listen = plain.address.to_string();
    std::fs::write(server.folder.path().join("attache.toml"), "[nonsense").unwrap();
    let everywhere = format!("0.0.0.0:{}", plain.address.port());
    for listen in [&listen, &everywhere] {
        let found = health(&[("ATTACHE_SERVER__LISTEN", listen)]);
        assert_eq!(found.status.code(), Some(0), "{found:?}");
    }
    let nonsense = command(server.folder.path(), &[])
        .args(["health", "--url", "nowhere"])
        .output()
        .unwrap();
    assert_eq!(nonsense.status.code(), Some(2), "{nonsense:?}");
}

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
