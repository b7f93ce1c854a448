//! The database is away: what was read goes on, everything else is told so in time, and nobody has to start anything again.

use std::time::{Duration, Instant};

use crate::ground::{Ground, Store};
use crate::support::{Answer, Server, noise};

/// Everything is answered within five seconds; one more for a machine that does other things.
const IN_TIME: Duration = Duration::from_secs(6);

/// After the start of the database everything works within this.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_attache_relays_what_it_remembers_and_refuses_the_rest_in_time() {
    if let Some(ground) = Ground::new(Store::Local).await {
        pass(ground, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_attache_redirects_to_what_it_remembers() {
    if let Some(mut ground) = Ground::new(Store::Azure).await {
        ground.set("ATTACHE_DELIVERY__MODE", "redirect");
        pass(ground, 302).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_behind_pgbouncer_is_the_same() {
    if let Some(ground) = Ground::pooled(Store::Local).await {
        pass(ground, 200).await;
    }
}

/// `delivered` is the status of an attachment that can be read.
async fn pass(mut ground: Ground, delivered: u16) {
    let server = &ground.start(1)[0];
    let bytes = noise(100_000);
    let target = tokio::task::block_in_place(|| {
        let known = server.put("filename=a.bin", "application/octet-stream", &bytes);
        let target = format!("/attachment/{}", known["id"].as_str().unwrap());
        assert_eq!(server.get(&target).status, delivered);
        target
    });
    ground.postgres.stop_immediately();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let refused = [
                ("an upload", "POST", "/v1/attachments?filename=b.bin"),
                ("a listing", "GET", "/v1/attachments"),
                ("one that is not known", "GET", UNKNOWN),
                ("a deletion", "DELETE", DELETED),
            ];
            for (what, method, target) in refused {
                scope.spawn(move || refuse(server, what, method, target));
            }
            scope.spawn(|| {
                for _ in 0..5 {
                    let known = in_time(|| server.get(&target));
                    assert_eq!(known.status, delivered, "{}", known.text());
                    assert!(delivered != 200 || known.body == bytes, "not its bytes");
                }
            });
            scope.spawn(|| {
                let ready = in_time(|| server.get("/readyz"));
                assert_eq!(ready.status, 503, "{}", ready.text());
                assert_eq!(in_time(|| server.get("/healthz")).status, 200);
            });
            scope.spawn(|| {
                let metrics = in_time(|| server.get("/metrics"));
                assert_eq!(metrics.status, 200);
                let named = metrics.text().contains("attache_catalog_connections{");
                assert!(named, "{}", metrics.text());
            });
            scope.spawn(|| {
                let status = in_time(|| server.get("/v1/status"));
                assert_eq!(status.status, 200);
                assert_eq!(
                    status.json()["catalog"]["attachments"],
                    serde_json::Value::Null
                );
            });
        });
    });
    ground.postgres.start_again().await;
    let start = Instant::now();
    tokio::task::block_in_place(|| {
        let until = |method: &str, target: &str, expected: u16| {
            loop {
                let answer = server.request(method, target, &[], b"");
                if answer.status == expected {
                    return;
                }
                let (past, text) = (start.elapsed(), answer.text());
                assert!(past < SOON, "{method} {target} after {past:?}: {text}");
                assert_eq!(answer.status, 503, "{method} {target}: {text}");
            }
        };
        until("GET", "/readyz", 200);
        until("POST", "/v1/attachments?filename=c.bin", 201);
        until("GET", "/v1/attachments", 200);
        until("GET", UNKNOWN, 404);
        until("DELETE", DELETED, 204);
        until("GET", &target, delivered);
    });
    ground.await_order(Duration::from_secs(60)).await;
    ground.check_books().await;
}

const UNKNOWN: &str = "/attachment/019a0000-0000-7000-8000-000000000000";
const DELETED: &str = "/v1/attachments/019a0000-0000-7000-8000-000000000001";

fn refuse(server: &Server, what: &str, method: &str, target: &str) {
    let answer = in_time(|| server.request(method, target, &[], b"hello"));
    let text = answer.text();
    assert_eq!(answer.status, 503, "{what}: {text}");
    let code = answer.json()["code"].clone();
    assert!(
        code == "busy" || code == "upstream_unavailable",
        "{what}: {text}"
    );
    assert!(answer.header("retry-after").is_some(), "{what}: {text}");
}

#[track_caller]
fn in_time(ask: impl FnOnce() -> Answer) -> Answer {
    let start = Instant::now();
    let answer = ask();
    let past = start.elapsed();
    assert!(past < IN_TIME, "it took {past:?}: {}", answer.text());
    answer
}
