//! What one replica makes or ends works, or is over, at all of them.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ground::{Ground, Store, Variables};
use crate::support::{Server, command, noise};

/// What is ended at one replica is over at all.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_a_session_and_a_token_of_one_replica_work_and_end_at_all() {
    let Some(mut ground) = Ground::new(Store::Local).await else {
        return;
    };
    ground.set("ATTACHE_AUTH__MODE", "token");
    let (variables, folder) = (ground.variables(), ground.folder.path());
    let servers = &ground.start(3);
    tokio::task::block_in_place(|| {
        let arguments = [
            "create",
            "--name",
            "test",
            "--scope",
            "read,write,delete,admin",
        ];
        let token = said(&token(folder, &variables, &arguments));
        let bearer = format!("Bearer {token}");
        let as_token = [("authorization", bearer.as_str())];
        everywhere(servers, 200, &as_token, "a token is known");

        let bytes = noise(10_000);
        let put = servers[0].request("POST", "/v1/attachments?filename=a.bin", &as_token, &bytes);
        assert_eq!(put.status, 201, "{}", put.text());
        let target = format!("/v1/attachments/{}/url", put.json()["id"].as_str().unwrap());
        let made = servers[1].request("POST", &target, &as_token, b"");
        assert_eq!(made.status, 200, "{}", made.text());
        let url = made.json()["url"].as_str().unwrap().to_owned();
        let path = &url[url.find("/attachment/").or(url.find("/download/")).unwrap()..];
        for server in servers {
            let read = server.get(path);
            assert_eq!((read.status, read.body == bytes), (200, true), "{path}");
        }

        let [first, second] = [0, 1].map(|n| sign_in(&servers[n], &token));
        let (first, second) = ([("cookie", first.as_str())], [("cookie", second.as_str())]);
        for server in servers {
            for session in [&first, &second] {
                let who = server.request("GET", "/v1/session", session, b"");
                assert_eq!(who.status, 200, "{}", who.text());
            }
        }
        let out = servers[2].request("DELETE", "/v1/session", &first, b"");
        assert_eq!(out.status, 204, "{}", out.text());
        everywhere(servers, 401, &first, "signed out");
        everywhere(servers, 200, &second, "another session");

        let id = token.split('_').nth(1).unwrap();
        assert!(
            self::token(folder, &variables, &["revoke", id])
                .status
                .success()
        );
        everywhere(servers, 401, &as_token, "a revoked token");
        everywhere(servers, 401, &second, "its session");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_replicas_that_start_at_once_on_an_empty_database_serve_and_know_of_each_other() {
    let Some(ground) = Ground::new(Store::Local).await else {
        return;
    };
    let mut servers = ground.start(5);
    tokio::task::block_in_place(|| {
        for server in &servers {
            assert_eq!(server.get("/readyz").status, 200);
            let bytes = noise(1000);
            let made = server.put("filename=a.bin", "application/octet-stream", &bytes);
            let target = format!("/attachment/{}", made["id"].as_str().unwrap());
            for other in &servers {
                assert_eq!(other.get(&target).body, bytes);
            }
            server.await_status("five live", |status| status["catalog"]["replicas"] == 5);
            let status = server.get("/v1/status").json();
            assert_eq!(status["catalog"]["backend"], "postgres", "{status:#}");
            assert_eq!(server.figure("attache_replicas"), 5);
            assert!(server.figure("attache_catalog_connections{state=\"open\"}") >= 1);
            server.figure("attache_catalog_connections{state=\"idle\"}");
        }
        // One that is stopped as it should be is gone at once.
        servers[4].signal("TERM");
        assert_eq!(servers[4].wait(Duration::from_secs(20)), Some(0));
        for server in &servers[..4] {
            assert_eq!(server.figure("attache_replicas"), 4);
        }
    });
    assert_eq!(
        ground
            .number("SELECT count(*) FROM attache.migrations")
            .await,
        4
    );
    assert_eq!(ground.workers().await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_key_does_not_start_and_names_the_setting() {
    let Some(ground) = Ground::new(Store::Local).await else {
        return;
    };
    let servers = ground.start(1);
    tokio::task::block_in_place(|| {
        let other = ground.folder.path().join("other.key");
        for (key, what) in [(Some("ab".repeat(32)), "another key"), (None, "no key")] {
            let _ = std::fs::remove_file(&other);
            if let Some(key) = key {
                std::fs::write(&other, key).unwrap();
                chmod_600(&other);
            }
            let mut variables = ground.variables();
            variables.set("ATTACHE_SECRETS__KEY_FILE", other.display().to_string());
            let output = command(ground.folder.path(), &variables.all())
                .args(["serve", "--listen", "127.0.0.1:0"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{what}: {text}");
            assert!(text.contains("secrets.key_file"), "{what}: {text}");
            assert!(output.stdout.is_empty(), "{what}: it listened");
        }
        assert_eq!(servers[0].get("/readyz").status, 200, "the others go on");
        assert_eq!(servers[0].figure("attache_replicas"), 1, "it has left");
    });
}

/// Waits until a request with these headers has this status at all of them.
fn everywhere(servers: &[Server], status: u16, headers: &[(&str, &str)], what: &str) {
    let start = Instant::now();
    for server in servers {
        loop {
            let answer = server.request("GET", "/v1/session", headers, b"");
            if answer.status == status {
                break;
            }
            let past = start.elapsed();
            assert!(
                past < ENDED_WITHIN,
                "{what}, after {past:?}: {}",
                answer.text()
            );
        }
    }
}

fn sign_in(server: &Server, token: &str) -> String {
    let body = json!({ "token": token }).to_string();
    let signed_in = server.request("POST", "/v1/session", &[], body.as_bytes());
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// `attache token`, beside the servers.
fn token(folder: &Path, variables: &Variables, arguments: &[&str]) -> Output {
    command(folder, &variables.all())
        .arg("token")
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn chmod_600(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}
