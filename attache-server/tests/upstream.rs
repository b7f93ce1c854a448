//! The whole server against a stand-in for Azure and Entra ID that counts every call: one credential, one client, one key
//! per configuration, and what happens when the configuration changes or the services fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fake_azure::{Entra, FakeAzure, Guard, Op};
use support::{Server, command, noise};

const CANARY: &str = "canary-secret-5d41402abc4b2a76";

/// The log at its most talkative, that of the crates below included.
const EVERYTHING: &str = "trace,azure_core=trace,azure_identity=trace,azure_storage_blob=trace,typespec_client_core=trace,\
                          hyper=trace,hyper_util=trace,rustls=trace";

struct World {
    azure: FakeAzure,
    server: Server,
    config: PathBuf,
    secret: PathBuf,
}

impl World {
    /// A stand-in, and a server whose configuration and secret are files.
    async fn start(more: &str) -> Self {
        let azure = FakeAzure::builder()
            .account("acme")
            .container("files")
            .secret(CANARY)
            .start()
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, CANARY).unwrap();
        std::fs::write(folder.path().join("ca.pem"), azure.ca_pem()).unwrap();
        let config = folder.path().join("attache.toml");
        std::fs::write(&config, toml(&azure, more)).unwrap();
        let server = tokio::task::spawn_blocking(move || {
            Server::start_in(
                folder,
                &[("ATTACHE_LOG", EVERYTHING)],
                &["--config", "attache.toml"],
            )
        })
        .await
        .unwrap();
        Self {
            azure,
            server,
            config,
            secret,
        }
    }

    fn upload(&self, bytes: &[u8]) -> String {
        let json = self
            .server
            .put("filename=a.bin", "application/octet-stream", bytes);
        json["id"].as_str().unwrap().to_owned()
    }

    fn generation(&self) -> u64 {
        self.server.get("/v1/status").json()["configuration"]["generation"]
            .as_u64()
            .unwrap()
    }

    fn figure(&self, line: &str) -> bool {
        String::from_utf8(self.server.get("/metrics").body)
            .unwrap()
            .contains(line)
    }
}

fn toml(azure: &FakeAzure, more: &str) -> String {
    format!(
        "[storage]\nbackend = \"azure\"\n[storage.azure]\naccount = \"acme\"\ncontainer = \"files\"\nendpoint = \"{}\"\n\
         authority_host = \"{}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\nclient_secret_file = \"secret\"\nca_file = \"ca.pem\"\n{more}",
        azure.blob_endpoint(),
        azure.authority_host(),
        azure.tenant_id(),
        azure.client_id(),
    )
}

/// How long the URL that a redirect leads to works, in seconds.
fn left(redirect: &support::Answer) -> i64 {
    let (_, rest) = redirect.head.split_once("se=").unwrap();
    let expiry = rest.split('&').next().unwrap().replace("%3A", ":");
    let format = &time::format_description::well_known::Rfc3339;
    let expiry = time::OffsetDateTime::parse(&expiry, format).unwrap();
    (expiry - time::OffsetDateTime::now_utc()).whole_seconds()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redirects_url_lives_as_long_as_what_it_opens_is_used() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";
        let film = world.server.put("filename=a.mp4", "video/mp4", film);
        assert_eq!(film["content_type"], "video/mp4");
        let file = world.upload(b"hello");
        const MINUTE: i64 = 60;
        for (id, least, most) in [
            (&file[..], 10 * MINUTE, 20 * MINUTE),
            (film["id"].as_str().unwrap(), 60 * MINUTE, 120 * MINUTE),
        ] {
            let first = world.server.get(&format!("/attachment/{id}"));
            assert_eq!(first.status, 302, "{}", first.text());
            let life = left(&first);
            assert!((least - 5..=most).contains(&life), "{life} s");
            // Until the next step everybody gets the same one; the redirect is kept no longer than it is of use.
            let again = world.server.get(&format!("/attachment/{id}"));
            let url = |answer: &support::Answer| {
                let line = answer
                    .head
                    .lines()
                    .find(|line| line.starts_with("location:"));
                line.unwrap().to_owned()
            };
            if left(&again) <= life {
                assert_eq!(url(&first), url(&again));
            }
            let url = format!("/v1/attachments/{id}/url");
            let temporary = world.server.request("POST", &url, &[], b"").json();
            let life = temporary["expires_in"].as_i64().unwrap();
            assert!((50..=120).contains(&life), "{life} s");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_lives_too_short_for_a_film_signs_a_shorter_url() {
    let world = World::start("").await;
    world
        .azure
        .faults(|f| f.delegation_key_lifetime = Duration::from_secs(30 * 60));
    blocking(&world, |world| {
        let film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";
        let film = world.server.put("filename=a.mp4", "video/mp4", film);
        let redirect = world
            .server
            .get(&format!("/attachment/{}", film["id"].as_str().unwrap()));
        assert_eq!(redirect.status, 302, "{}", redirect.text());
        assert!(
            (1..=120).contains(&left(&redirect)),
            "{} s",
            left(&redirect)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_brings_an_authorization_header_is_relayed_unless_it_asks_otherwise() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        let ask = |target: &str, authorization: bool| {
            let headers: &[_] = match authorization {
                true => &[("authorization", "Bearer of-some-application")],
                false => &[],
            };
            let answer = world.server.request("GET", target, headers, b"");
            (answer.status, answer.body == b"hello")
        };
        let target = format!("/download/{id}");
        assert_eq!(ask(&target, false), (302, false));
        assert_eq!(ask(&target, true), (200, true));
        let target = format!("/download/{id}?via=redirect");
        assert_eq!(ask(&target, true), (302, false));
        // Where the operator chose that every byte passes through attache, a reader cannot choose otherwise.
        let relay = toml(&world.azure, "[delivery]\nmode = \"relay\"\n");
        std::fs::write(&world.config, relay).unwrap();
        world.server.request("POST", "/v1/admin/reload", &[], b"");
        assert_eq!(ask(&target, true), (200, true));
        assert_eq!(ask(&target, false), (200, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_policy_of_the_store_keeps_is_hidden_and_deleted_later_and_is_no_failure() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        let key = world.azure.blobs()[0].name.clone();
        for guard in [Guard::RetentionPolicy, Guard::LegalHold, Guard::Leased] {
            world.azure.guard_blob("files", &key, Some(guard));
            let target = format!("/v1/attachments/{id}");
            let answer = world.server.request("DELETE", &target, &[], b"");
            answer.assert_problem(409, "retained", "kept");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("hidden from everybody"), "{detail}");
            assert!(detail.contains("every sweep tries again"), "{detail}");
            assert_eq!(world.server.get(&target).status, 404);
            let sweep = world
                .server
                .request("POST", "/v1/admin/sweep", &[], b"")
                .json();
            assert_eq!(
                (&sweep["retained"], &sweep["failed"]),
                (&1.into(), &0.into())
            );
        }
        let status = world.server.get("/v1/status").json();
        assert_eq!(status["health"]["level"], "ok", "{status:#}");
        world.azure.guard_blob("files", &key, None);
        let sweep = world
            .server
            .request("POST", "/v1/admin/sweep", &[], b"")
            .json();
        assert_eq!(sweep["deletions_finished"], 1, "{sweep}");
        assert_eq!(world.azure.counts().blobs, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_a_retention_policy_a_broken_upload_leaves_no_blob_and_no_row() {
    let world = World::start("").await;
    world
        .azure
        .guard_container("files", Some(Guard::RetentionPolicy));
    blocking(&world, |world| {
        let head = "POST /v1/attachments?filename=x HTTP/1.1\r\nhost: a\r\ncontent-length: 60000000\r\n\r\n";
        let mut stream = world.server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&noise(40_000_000)).unwrap();
        drop(stream);
        world.server.await_status("the upload is taken back", |status| {
            status["catalog"]["reserved_bytes"] == 0 && status["memory"]["transfer_bytes"] == 0
        });
        let sweep = world.server.request("POST", "/v1/admin/sweep", &[], b"").json();
        let left = (&sweep["uploads_removed"], &sweep["retained"], &sweep["failed"]);
        assert_eq!(left, (&0.into(), &0.into(), &0.into()));
        let counts = world.azure.counts();
        assert_eq!(counts.blobs, 0);
        assert!(counts.uncommitted_blocks > 0, "they go by themselves");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_waits_for_no_minutes_and_its_sender_is_told_to() {
    let world = World::start("").await;
    world
        .azure
        .faults(|f| f.busy_next(Op::PutBlob, 1, Duration::from_secs(300)));
    blocking(&world, |world| {
        let began = Instant::now();
        let answer = world
            .server
            .request("POST", "/v1/attachments?filename=a.txt", &[], b"hello");
        answer.assert_problem(503, "upstream_unavailable", "it is busy");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        let line = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("retry-after: "));
        assert!(
            line.unwrap().parse::<u64>().unwrap() >= 300,
            "{}",
            answer.head
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_archived_lost_or_out_of_reach_is_told_by_a_code_of_its_own() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let server = &world.server;
        let id = world.upload(b"hello");
        let key = world.azure.blobs()[0].name.clone();
        let (relay, plain) = (
            format!("/download/{id}?via=relay"),
            format!("/download/{id}"),
        );
        for (guard, tier, code) in [
            (None, "Archive", "archived"),
            (Some(Guard::CustomerKey), "Hot", "customer_key"),
        ] {
            world.azure.set_tier("files", &key, tier);
            world.azure.guard_blob("files", &key, guard);
            assert_eq!(server.request("HEAD", &relay, &[], b"").status, 200);
            server.get(&relay).assert_problem(409, code, code);
            // It is known now.
            server.get(&plain).assert_problem(409, code, code);
            world.azure.set_tier("files", &key, "Hot");
            world.azure.guard_blob("files", &key, None);
            assert_eq!(server.get(&plain).status, 302);
        }
        // A blob that somebody removed: not known before it was asked for, and known from then on, until it is back.
        world.azure.delete_blob("files", &key);
        assert_eq!(server.request("HEAD", &relay, &[], b"").status, 200);
        assert_eq!(server.get(&plain).status, 302);
        server
            .get(&relay)
            .assert_problem(500, "bytes_missing", "gone");
        assert_eq!(server.request("HEAD", &relay, &[], b"").status, 500);
        server
            .get(&plain)
            .assert_problem(500, "bytes_missing", "known");
        world.azure.put_blob("files", &key, "hello");
        assert_eq!(server.request("HEAD", &relay, &[], b"").status, 200);
        assert_eq!(server.get(&plain).status, 302);
        assert_eq!(server.get(&relay).body, b"hello");
        // One that was replaced by a shorter one.
        world.azure.put_blob("files", &key, "hel");
        let range = [("range", "bytes=3-4")];
        let answer = server.request("GET", &relay, &range, b"");
        answer.assert_problem(500, "bytes_missing", "shorter");
        // A container that is gone has deleted nothing.
        world.azure.delete_container("files");
        let target = format!("/v1/attachments/{id}");
        let answer = server.request("DELETE", &target, &[], b"");
        answer.assert_problem(502, "container_not_found", "no container");
        let sweep = server.request("POST", "/v1/admin/sweep", &[], b"").json();
        assert_eq!(
            (&sweep["failed"], &sweep["deletions_finished"]),
            (&1.into(), &0.into())
        );
        server.await_status("health says so", |status| {
            status["health"]["sentence"]
                .as_str()
                .unwrap()
                .contains("the container does not exist")
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_wrong_with_the_account_is_for_the_log_and_not_for_readers() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        for (status, code) in [
            (403, "AccountIsDisabled"),
            (403, "NetworkSecurityPerimeterAccessDenied"),
            (403, "AuthorizationFailure"),
            (409, "PublicAccessNotPermitted"),
            (404, "ContainerNotFound"),
            (404, "SomethingInBetween"),
        ] {
            world.azure.faults(|f| f.fail_next(None, 1, status, code));
            let answer = world.server.get(&format!("/download/{id}?via=relay"));
            assert_eq!(answer.status, 502, "{code}: {}", answer.text());
            let text = answer.text();
            for hidden in ["acme", "files", "storage.azure", "127.0.0.1", code] {
                assert!(!text.contains(hidden), "{hidden}: {text}");
            }
            let told = answer.json()["request_id"].as_str().unwrap().to_owned();
            let log = world.server.log();
            let line = log
                .lines()
                .find(|line| line.contains(&told) && line.contains("azure: "));
            assert!(line.is_some(), "{code} is in the log under {told}");
        }
        // Nor for strangers who ask whether the server is ready.
        world
            .azure
            .faults(|f| f.fail(None, 1.0, 403, "AccountIsDisabled"));
        let ready = world.server.get("/readyz");
        assert_eq!(ready.status, 503);
        assert!(!ready.text().contains("acme"), "{}", ready.text());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_proxy_is_told_by_check_and_its_password_by_nothing() {
    const NAMES: [&str; 2] = ["files.store.test", "login.store.test"];
    let asks = "BasicAuth wiki hunter2-canary";
    let Some(proxy) = test_support::Tinyproxy::start(&NAMES, asks).await else {
        return;
    };
    let azure = FakeAzure::builder().container("files").secret(CANARY);
    let azure = azure
        .host_name(NAMES[0])
        .host_name(NAMES[1])
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), azure.ca_pem()).unwrap();
    std::fs::write(folder.path().join("secret"), CANARY).unwrap();
    let named = toml(&azure, "")
        .replace(
            &azure.blob_endpoint(),
            &azure.blob_endpoint().replace("127.0.0.1", NAMES[0]),
        )
        .replace(
            &azure.authority_host(),
            &azure.authority_host().replace("127.0.0.1", NAMES[1]),
        );
    std::fs::write(folder.path().join("attache.toml"), named).unwrap();
    tokio::task::block_in_place(|| {
        let url = format!("http://wiki:hunter2-canary@{}", proxy.address());
        let run = |url: &str, arguments: &[&str]| {
            let variables = [("HTTPS_PROXY", url), ("ATTACHE_LOG", EVERYTHING)];
            let arguments = [&["--config", "attache.toml"], arguments].concat();
            let ran = command(folder.path(), &variables)
                .args(arguments)
                .output()
                .unwrap();
            let text = [ran.stdout, ran.stderr].concat();
            (
                ran.status.code(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        };
        let (code, said) = run(&url, &["check"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains(&format!("through the proxy {}", proxy.address())),
            "{said}"
        );
        let (_, shown) = run(&url, &["config"]);
        assert!(shown.contains("proxy = \"http://[redacted]@"), "{shown}");
        // "wiki:hunter2-canary" in base64, as it travels.
        for hidden in ["hunter2", "d2lraTpodW50ZXIyLWNhbmFyeQ"] {
            assert!(
                !said.contains(hidden) && !shown.contains(hidden),
                "{hidden}"
            );
        }
        let (code, said) = run("http://127.0.0.1:1", &["check"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("through the proxy 127.0.0.1:1; the proxy itself does not respond"),
            "{said}"
        );
    });
}

/// Runs what blocks beside the stand-in, which lives in this process too.
async fn blocking<T: Send>(world: &World, work: impl FnOnce(&World) -> T + Send) -> T {
    tokio::task::block_in_place(|| work(world))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_of_requests_take_one_token_and_one_key() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let redirect = world.server.get(&format!("/attachment/{id}"));
                        assert_eq!(redirect.status, 302, "{}", redirect.text());
                        assert_eq!(
                            world.server.get(&format!("/download/{id}?via=relay")).body,
                            b"hello"
                        );
                        let url = world.server.request(
                            "POST",
                            &format!("/v1/attachments/{id}/url"),
                            &[],
                            b"",
                        );
                        assert_eq!(url.status, 200);
                    }
                });
            }
        });
        let counts = world.azure.counts();
        assert_eq!(counts.token_requests, 1);
        assert_eq!(counts.delegation_key_requests, 1);
        // One client: no more connections than requests at a time, and its leases count themselves.
        assert!(
            counts.connections_accepted <= 20,
            "{}",
            counts.connections_accepted
        );
        assert!(world.figure("attache_clients_built_total{backend=\"azure\"} 1"));
        assert!(
            world.figure("attache_lease_fetches_total{lease=\"entra_token\",outcome=\"ok\"} 1")
        );
        assert!(
            world.figure("attache_lease_fetches_total{lease=\"delegation_key\",outcome=\"ok\"} 1")
        );
        assert!(world.figure("attache_signed_urls_total{backend=\"azure\",outcome=\"ok\"} 800"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_secret_is_rotated_under_load_and_no_request_fails() {
    let world = World::start("").await;
    let fresh = "a-fresh-secret";
    blocking(&world, |world| {
        let bytes = noise(200_000);
        let id = world.upload(&bytes);
        let stop = AtomicBool::new(false);
        let (reads, writes) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = world.server.get(&format!("/download/{id}?via=relay"));
                        assert!(
                            answer.status == 200 && answer.body == bytes,
                            "{} bytes, truncated: {}; {}",
                            answer.body.len(),
                            answer.truncated,
                            answer.head
                        );
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..20 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        world.upload(&bytes);
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Both secrets are valid while one is rotated, as at Entra ID.
            world.azure.set_secrets([CANARY, fresh]);
            let before = (
                reads.load(Ordering::Relaxed),
                writes.load(Ordering::Relaxed),
            );
            // By a rename, as mounted secrets are replaced.
            let next = world.secret.with_extension("next");
            std::fs::write(&next, fresh).unwrap();
            std::fs::rename(&next, &world.secret).unwrap();
            world.server.await_status("the swap", |status| {
                status["configuration"]["generation"] == 2
            });
            world.azure.set_secrets([fresh]);
            let moved = |before: (u64, u64)| {
                reads.load(Ordering::Relaxed) > before.0 + 200
                    && writes.load(Ordering::Relaxed) > before.1 + 20
            };
            let start = Instant::now();
            while !moved(before) && start.elapsed() < Duration::from_secs(60) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(moved(before), "the load went on");
        });
        let status = world.server.get("/v1/status").json();
        assert_eq!(
            status["configuration"]["last_reload"]["report"]["rebuilt"][0],
            "storage"
        );
        let counts = world.azure.counts();
        assert_eq!(
            counts.unknown_secrets_presented, 0,
            "the old secret was never used after the swap"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_old_client_goes_with_its_last_request() {
    let world = World::start("").await;
    blocking(&world, |world| {
        world.upload(b"hello");
        assert_eq!(world.azure.counts().connections_open, 1);
        std::fs::write(&world.secret, "another").unwrap();
        world.azure.set_secrets([CANARY, "another"]);
        world.server.await_status("the swap", |status| {
            status["configuration"]["generation"] == 2
        });
        let start = Instant::now();
        // The probe of the new client has made one; the old one's must go.
        while world.azure.counts().connections_open > 1 {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{:?}",
                world.azure.counts()
            );
            std::thread::yield_now();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_that_concerns_no_client_keeps_it_warm() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        assert_eq!(world.server.get(&format!("/attachment/{id}")).status, 302);
        let before = world.azure.counts();
        std::fs::write(
            &world.config,
            toml(&world.azure, "[delivery]\nurl_lifetime = \"60s\"\n"),
        )
        .unwrap();
        let report = world
            .server
            .request("POST", "/v1/admin/reload", &[], b"")
            .json();
        assert_eq!(report["kept"][0], "storage", "{report:#}");
        assert_eq!(report["rebuilt"].as_array().unwrap().len(), 0, "{report:#}");
        assert_eq!(world.server.get(&format!("/attachment/{id}")).status, 302);
        let url = world
            .server
            .request("POST", &format!("/v1/attachments/{id}/url"), &[], b"")
            .json();
        assert!(url["expires_in"].as_u64().unwrap() <= 60);
        let after = world.azure.counts();
        assert_eq!(after.token_requests, before.token_requests);
        assert_eq!(
            after.delegation_key_requests,
            before.delegation_key_requests
        );
        assert_eq!(after.connections_accepted, before.connections_accepted);
        // SIGHUP is another way to say it.
        std::fs::write(
            &world.config,
            toml(&world.azure, "[catalog]\nurl = \"sqlite://elsewhere.db\"\n"),
        )
        .unwrap();
        world.server.signal("HUP");
        world.server.await_status("SIGHUP", |status| {
            status["configuration"]["last_reload"]["report"]["start_only"][0] == "catalog.url"
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bad_new_configuration_leaves_the_old_one_running_and_says_why() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        let good = std::fs::read_to_string(&world.config).unwrap();
        let mut failed = 0;
        for (bad, why) in [
            (
                good.replace(world.azure.tenant_id(), ""),
                "storage.azure.tenant_id",
            ),
            (
                good.replace("\"files\"", "\"elsewhere\""),
                "storage.azure.container",
            ),
            (
                good.replace("acme", "no such account"),
                "storage.azure.account",
            ),
            (
                good.replace(&world.azure.blob_endpoint(), "https://127.0.0.1:1/acme"),
                "cannot be reached",
            ),
            (format!("{good}[nonsense\n"), "not valid TOML"),
            (
                format!("{good}[upload]\nblock_bites = 1\n"),
                "upload.block_bytes",
            ),
        ] {
            std::fs::write(&world.config, bad).unwrap();
            let answer = world.server.request("POST", "/v1/admin/reload", &[], b"");
            assert!(answer.status >= 400, "{why}: {}", answer.text());
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(why), "{why:?} in {detail}");
            failed += 1;
            let status = world.server.get("/v1/status").json();
            assert!(
                status["configuration"]["last_reload"]["error"]
                    .as_str()
                    .unwrap()
                    .contains(why),
                "{status:#}"
            );
            assert_eq!(
                world.server.get(&format!("/download/{id}?via=relay")).body,
                b"hello"
            );
        }
        std::fs::write(&world.config, &good).unwrap();
        std::fs::write(&world.secret, "wrong").unwrap();
        let answer = world.server.request("POST", "/v1/admin/reload", &[], b"");
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(
            answer.text().contains("storage.azure.client_secret"),
            "{}",
            answer.text()
        );
        failed += 1;
        assert_eq!(
            world.server.get(&format!("/download/{id}?via=relay")).body,
            b"hello"
        );
        assert_eq!(world.generation(), 1);
        // The watcher may have seen some of them, too.
        let count = world
            .server
            .figure("attache_config_reloads_total{outcome=\"failed\"}");
        assert!(count >= failed, "{count}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_of_entra_id_is_a_clear_503_and_heals_by_itself() {
    let world = World::start("").await;
    world
        .azure
        .faults(|faults| faults.entra = Entra::Unavailable);
    blocking(&world, |world| {
        let answer = world
            .server
            .request("POST", "/v1/attachments?filename=a.txt", &[], b"hello");
        answer.assert_problem(503, "upstream_unavailable", "no token");
        assert!(answer.header("retry-after").is_some());
        world
            .server
            .get("/readyz")
            .assert_problem(503, "upstream_unavailable", "not ready");
        assert_eq!(world.server.get("/healthz").status, 200);
        world.azure.faults(|faults| faults.entra = Entra::Up);
        let start = Instant::now();
        while world.server.get("/readyz").status != 200 {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        world.upload(b"hello");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn idle_connections_are_closed_and_the_next_request_opens_one() {
    let world = World::start("[clients]\nidle_after = \"1s\"\n").await;
    blocking(&world, |world| {
        let id = world.upload(b"hello");
        let start = Instant::now();
        while world.azure.counts().connections_open > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{:?}",
                world.azure.counts()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert!(world.figure("attache_upstream_connections{state=\"open\"} 0"));
        let before = world.azure.counts();
        assert_eq!(
            world.server.get(&format!("/download/{id}?via=relay")).body,
            b"hello"
        );
        let after = world.azure.counts();
        assert_eq!(after.connections_accepted - before.connections_accepted, 1);
        assert_eq!(
            after.token_requests, before.token_requests,
            "nothing else is paid"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failures_of_the_store_are_retried_and_invisible() {
    let world = World::start("").await;
    world
        .azure
        .faults(|faults| faults.fail(None, 0.2, 503, "ServerBusy"));
    blocking(&world, |world| {
        let bytes = noise(300_000);
        for _ in 0..20 {
            let id = world.upload(&bytes);
            assert!(world.server.get(&format!("/download/{id}?via=relay")).body == bytes);
        }
        assert!(
            !world.figure("outcome=\"upstream_unavailable\""),
            "expected answers only"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abandoned_download_frees_its_stream_and_an_abandoned_upload_leaves_no_block() {
    let world = World::start("[upload]\nblock_bytes = \"1MiB\"\n").await;
    blocking(&world, |world| {
        let id = world.upload(&noise(30_000_000));
        use std::io::Write as _;
        for _ in 0..20 {
            let mut stream = world.server.connect();
            write!(
                stream,
                "GET /download/{id}?via=relay HTTP/1.1\r\nhost: a\r\n\r\n"
            )
            .unwrap();
            let mut some = [0; 1000];
            std::io::Read::read_exact(&mut stream, &mut some).unwrap();
        }
        let start = Instant::now();
        while world.azure.counts().open_reads > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{:?}",
                world.azure.counts()
            );
            std::thread::yield_now();
        }
        world.server.await_status("streams end", |status| {
            status["streams"]["downloads_open"] == 0
        });
        let mut stream = world.server.connect();
        write!(
            stream,
            "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&noise(10_000_000)).unwrap();
        while world.azure.counts().uncommitted_blocks == 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        drop(stream);
        world.server.await_status("the upload ends", |status| {
            status["streams"]["uploads_open"] == 0 && status["catalog"]["reserved_bytes"] == 0
        });
        assert_eq!(world.azure.counts().uncommitted_blocks, 0);
        assert_eq!(world.azure.blobs().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn secrets_tokens_and_signatures_appear_nowhere() {
    let world = World::start("").await;
    blocking(&world, |world| {
        let id = world.upload(&noise(100_000));
        let mut shown = String::new();
        let mut signatures = Vec::new();
        for _ in 0..3 {
            let location = world.server.get(&format!("/attachment/{id}"));
            let url = location.header("location").unwrap();
            let sig = url.split("sig=").nth(1).unwrap().split('&').next().unwrap();
            signatures.push(sig.to_owned());
        }
        // Errors of all sorts, in the log and in answers.
        world.azure.faults(|faults| {
            faults.fail_next(Some(Op::GetBlob), 1, 403, "AuthorizationPermissionMismatch");
        });
        let refused = world.server.get(&format!("/download/{id}?via=relay"));
        refused.assert_problem(502, "upstream_refused", "a role is missing");
        shown += &refused.text();
        std::fs::write(&world.secret, format!("{CANARY}-wrong")).unwrap();
        shown += &world
            .server
            .request("POST", "/v1/admin/reload", &[], b"")
            .text();
        shown += &world.server.get("/metrics").text();
        shown += &world.server.get("/v1/status").text();
        let config = command(world.server.folder.path(), &[])
            .args(["config", "--config", "attache.toml"])
            .output()
            .unwrap();
        shown += &String::from_utf8_lossy(&config.stdout);
        shown += &String::from_utf8_lossy(&config.stderr);
        let log = world.server.log();
        assert!(
            log.contains("TRACE hyper"),
            "the log is at its most talkative"
        );
        shown += &log;
        assert!(!shown.contains(CANARY), "the secret");
        assert!(!shown.contains("eyJ"), "a token");
        for sig in signatures {
            assert!(!shown.contains(&sig), "a signature");
        }
        assert!(
            !shown.contains(world.azure.account_key()),
            "the account key"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_id_of_a_request_is_known_to_the_store_and_in_the_log() {
    let world =
        World::start("[delivery]\nmode = \"relay\"\n[upload]\nblock_bytes = \"1MiB\"").await;
    tokio::task::block_in_place(|| {
        let bytes = noise(3_000_000);
        let id = world.upload(b"warm");
        world.azure.reset_counts();
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let put = [("x-request-id", "the-upload"), ("traceparent", trace)];
        let stored = world
            .server
            .request("POST", "/v1/attachments?filename=a", &put, &bytes);
        assert_eq!(stored.header("x-request-id"), Some("the-upload"));
        // A download that breaks on its way asks again under the same id, although another task sends it.
        world.azure.faults(|faults| {
            faults.responses.push(fake_azure::BodyFault {
                op: Some(Op::GetBlob),
                remaining: Some(1),
                after_bytes: 500_000,
                ..fake_azure::BodyFault::default()
            });
        });
        let large = stored.json()["id"].as_str().unwrap().to_owned();
        let get = [("x-request-id", "the-download")];
        let got = world
            .server
            .request("GET", &format!("/download/{large}"), &get, b"");
        assert!(got.body == bytes);
        let delete = [("x-request-id", "the-deletion")];
        world
            .server
            .request("DELETE", &format!("/v1/attachments/{id}"), &delete, b"");
        let calls = world.azure.calls();
        let of = |name: &str| {
            calls
                .iter()
                .filter(|call| call.client_request_id.as_deref() == Some(name))
                .count()
        };
        assert!(of("the-upload") >= 4, "{calls:#?}");
        assert_eq!(
            (of("the-download"), of("the-deletion")),
            (2, 1),
            "{calls:#?}"
        );
        assert_eq!(of("the-upload") + 3, calls.len(), "no call is nobody's");
        let log = world.server.log();
        for operation in ["upload", "relay", "delete"] {
            let lines = log.lines().filter(|line| {
                line.contains("phase=") && line.contains(&format!("operation=\"{operation}\""))
            });
            assert!(
                lines
                    .clone()
                    .any(|line| line.contains("heap=") && line.contains("resident=")),
                "{operation}"
            );
        }
    });
}

/// What a collector gets, until nobody waits for it any more.
fn collector() -> (
    std::net::SocketAddr,
    std::sync::mpsc::Receiver<(String, Vec<u8>)>,
) {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                }
                let length = head
                    .to_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let Some(length) = length else { break };
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                let _ = sender.send((head, body));
            }
        }
    });
    (address, receiver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn spans_of_a_request_and_of_what_it_asks_the_store_reach_a_collector() {
    let (address, spans) = collector();
    let endpoint = format!("[telemetry]\notlp_endpoint = \"http://{address}\"");
    let mut world = World::start(&endpoint).await;
    tokio::task::block_in_place(|| {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let put = [("x-request-id", "the-upload"), ("traceparent", trace)];
        let target = "/v1/attachments?filename=hunter2.txt";
        let stored = world.server.request("POST", target, &put, b"hello");
        assert_eq!(stored.status, 201);
        let id = stored.json()["id"].as_str().unwrap().to_owned();
        // The end of the server sends what is left.
        world.server.signal("TERM");
        assert_eq!(
            world.server.wait(Duration::from_secs(20)),
            Some(0),
            "{}",
            world.server.log()
        );
        let (head, body) = spans.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        let holds = |bytes: &[u8]| body.windows(bytes.len()).any(|part| part == bytes);
        let trace_id = [
            0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e,
            0x47, 0x36,
        ];
        assert!(
            holds(&trace_id) && holds(&[0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]),
            "below its caller"
        );
        let blob = format!("/acme/files/user/{id}.txt");
        for words in [
            "attache",
            "request",
            "store",
            "the-upload",
            "/v1/attachments",
            &blob,
        ] {
            let text = String::from_utf8_lossy(&body);
            assert!(holds(words.as_bytes()), "{words}: {text}");
        }
        assert!(
            !holds(b"hunter2") && !holds(CANARY.as_bytes()),
            "a query is not told"
        );
    });
}
