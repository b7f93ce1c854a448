//! How much clients may ask for, and what those hear who ask for more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use support::{Answer, Server, command, read_answer};

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

fn limited(server: &Server, limit: &str) -> bool {
    let figures = server.get("/metrics").text();
    figures.contains(&format!("attache_limited_total{{limit=\"{limit}\"}}"))
}

#[test]
fn one_connection_too_many_is_told_to_come_back_and_room_is_given_back() {
    let server = Server::start(&[("ATTACHE_LIMITS__CONNECTIONS", "3")]);
    let mut idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // Whether they are accepted yet is told by an answer on the last of them.
    for stream in &mut idle {
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_eq!(read_answer(stream).status, 200);
    }
    let mut refused = server.connect();
    let answer = read_answer(&mut refused);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "busy");
    assert_eq!(retry_after(&answer), 1);
    drop(idle);
    let start = Instant::now();
    loop {
        let mut stream = server.connect();
        let _ = write!(
            stream,
            "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if answer.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "there is no room again"
        );
    }
    assert!(limited(&server, "connections"));
}

#[test]
fn a_client_that_asks_too_often_waits_and_signs_of_life_do_not_count() {
    let server = Server::start(&[("ATTACHE_LIMITS__CLIENT_RATE", "2/m, burst 3")]);
    for _ in 0..3 {
        assert_eq!(server.get("/v1/limits").status, 200);
    }
    let refused = server.get("/v1/limits");
    refused.assert_problem(429, "too_many_requests", "the fourth");
    assert!(
        (1..=30).contains(&retry_after(&refused)),
        "{}",
        refused.text()
    );
    for _ in 0..10 {
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(server.get("/readyz").status, 200);
    }
}

#[test]
fn a_proxy_that_is_trusted_is_not_one_client() {
    let server = Server::start(&[
        ("ATTACHE_LIMITS__CLIENT_RATE", "1/m"),
        ("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ]);
    let ask = |client: &str| {
        let headers = [("x-forwarded-for", client)];
        server.request("GET", "/v1/limits", &headers, b"").status
    };
    assert_eq!(
        (ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2")),
        (200, 429, 200)
    );
    assert_eq!(
        ask("192.0.2.77, 192.0.2.1"),
        429,
        "what the client wrote itself does not help"
    );
}

#[test]
fn each_token_has_a_rate_of_its_own() {
    let mode = ("ATTACHE_AUTH__MODE", "token");
    let folder = tempfile::tempdir().unwrap();
    let token = |name: &str| {
        let made = command(folder.path(), &[mode])
            .args(["token", "create", "--scope", "write,admin", "--name", name])
            .output()
            .unwrap();
        format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim())
    };
    let (one, two) = (token("one"), token("two"));
    let server = Server::start_in(
        folder,
        &[mode, ("ATTACHE_LIMITS__CALLER_RATE", "1/h, burst 2")],
        &[],
    );
    let ask = |bearer: &str, target: &str| {
        server.request("GET", target, &[("authorization", bearer)], b"")
    };
    assert_eq!(ask(&one, "/v1/limits").status, 200);
    assert_eq!(ask(&one, "/v1/limits").status, 200);
    let refused = ask(&one, "/v1/limits");
    refused.assert_problem(429, "too_many_requests", "the third");
    assert!(retry_after(&refused) > 60);
    assert_eq!(ask(&two, "/v1/limits").status, 200);
    let figures = ask(&two, "/metrics").text();
    assert!(
        figures.contains("attache_limited_total{limit=\"caller_rate\"} 1"),
        "{figures}"
    );
}

#[test]
fn more_requests_than_may_run_are_told_to_come_back() {
    let server = Server::start(&[("ATTACHE_LIMITS__REQUESTS", "2")]);
    let mut uploads: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = server.connect();
            write!(
                stream,
                "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
            )
            .unwrap();
            let mut interim = [0; 25];
            stream.read_exact(&mut interim).unwrap();
            assert!(interim.starts_with(b"HTTP/1.1 100"));
            stream
        })
        .collect();
    let refused = server.get("/v1/limits");
    refused.assert_problem(503, "busy", "the third");
    assert_eq!(retry_after(&refused), 1);
    for stream in &mut uploads {
        stream.write_all(b"ok").unwrap();
        assert_eq!(read_answer(stream).status, 201);
    }
    assert_eq!(server.get("/v1/limits").status, 200);
    assert!(limited(&server, "requests"));
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("ATTACHE_LIMITS__CONNECTIONS", "0"),
        ("ATTACHE_LIMITS__CLIENT_RATE", "fast"),
        ("ATTACHE_LIMITS__CALLER_RATE", "0/s"),
    ];
    let output = command(folder.path(), &variables)
        .arg("config")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    for key in [
        "limits.connections",
        "limits.client_rate is \"fast\"",
        "limits.caller_rate is \"0/s\"",
    ] {
        assert!(said.contains(key), "{key}: {said}");
    }
}

#[test]
fn a_server_that_is_full_is_alive() {
    let server = Server::start(&[("ATTACHE_LIMITS__CONNECTIONS", "3")]);
    let mut idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut idle {
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_eq!(read_answer(stream).status, 200);
    }
    let health = |arguments: &[&str]| {
        let url = format!("http://{}", server.address);
        command(server.folder.path(), &[])
            .args(["health", "--url", &url])
            .args(arguments)
            .output()
            .unwrap()
    };
    let alive = health(&[]);
    assert_eq!(alive.status.code(), Some(0), "{alive:?}");
    assert!(
        String::from_utf8_lossy(&alive.stderr).contains("full"),
        "{alive:?}"
    );
    // But not for more work.
    assert_eq!(health(&["--ready"]).status.code(), Some(1));
}

#[test]
fn one_token_has_so_many_uploads_in_progress_and_the_next_is_told_to_come_back() {
    let server = Server::start(&[("ATTACHE_LIMITS__UPLOADS_PER_CALLER", "2")]);
    let mut begun: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = server.connect();
            write!(
                stream,
                "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx"
            )
            .unwrap();
            stream
        })
        .collect();
    server.await_status("both run", |status| status["streams"]["uploads_open"] == 2);
    let third = server.request("POST", "/v1/attachments?filename=a", &[], b"xx");
    third.assert_problem(503, "busy", "the third");
    assert_eq!(retry_after(&third), 1);
    for stream in &mut begun {
        stream.write_all(b"y").unwrap();
        assert_eq!(read_answer(stream).status, 201);
    }
    server.put("filename=a", "", b"xx");
    assert!(limited(&server, "caller_uploads"));
}

#[test]
fn who_announces_much_and_sends_little_takes_little_of_the_quota() {
    let server = Server::start(&[("ATTACHE_UPLOAD__TOTAL_BYTES", "100MiB")]);
    let mut hog = server.connect();
    write!(
        hog,
        "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n{}",
        "x".repeat(10_000)
    )
    .unwrap();
    server.await_status("it runs", |status| status["catalog"]["reserved_bytes"] != 0);
    server.put("filename=b", "", &support::noise(10_000_000));
    // What can never fit is refused before a byte of it is read.
    let mut never = server.connect();
    write!(
        never,
        "POST /v1/attachments?filename=c HTTP/1.1\r\nhost: a\r\ncontent-length: 200000000\r\n\r\n{}",
        "x".repeat(10_000)
    )
    .unwrap();
    read_answer(&mut never).assert_problem(413, "quota_exceeded", "more than there is");
}
