//! Clients that mean harm: requests that two servers read differently, heads without an end, paths out of the house,
//! thousands of connections that say nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Server, read_answer};

/// Everything that comes back for these bytes, until the server ends the connection.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[test]
fn a_request_that_two_servers_could_read_differently_is_refused_and_its_rest_is_no_request() {
    let server = Server::start(&[]);
    // The smuggled request would list everything, with 200 and JSON.
    let inner = "GET /v1/attachments HTTP/1.1\r\nhost: a\r\n\r\n";
    let post = "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: a\r\n";
    for (what, request) in [
        (
            "length and chunks (RFC 9112 section 6.1)",
            format!(
                "{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
            ),
        ),
        (
            "two lengths",
            format!("{post}content-length: 0\r\ncontent-length: 44\r\n\r\n{inner}"),
        ),
        (
            "a list of lengths",
            format!("{post}content-length: 0, 44\r\n\r\n{inner}"),
        ),
        (
            "a length with a sign",
            format!("{post}content-length: +44\r\n\r\n{inner}"),
        ),
        (
            "a length that is none",
            format!("{post}content-length: 0x2c\r\n\r\n{inner}"),
        ),
        (
            "chunked, and something else after it",
            format!("{post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "chunked in disguise",
            format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "a space before the colon",
            format!("{post}content-length : 44\r\n\r\n{inner}"),
        ),
        (
            "a folded line",
            format!("{post}x: y\r\n content-length: 44\r\n\r\n{inner}"),
        ),
        (
            "a NUL in a head",
            format!("{post}x: a\0b\r\ncontent-length: 0\r\n\r\n{inner}"),
        ),
        (
            "a bare CR",
            format!("{post}x: a\rcontent-length: 44\r\n\r\n{inner}"),
        ),
        (
            "a chunk whose length overflows",
            format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff0\r\n{inner}"),
        ),
        (
            "a chunk whose length is no number",
            format!("{post}transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{inner}"),
        ),
    ] {
        let text = exchange(&server, request.as_bytes());
        assert!(
            !text.contains("\"items\""),
            "{what}: the inner request was answered: {text}"
        );
        assert!(answers(&text) <= 1, "{what}: {text}");
        // With both, chunks count, and the connection ends with this answer (RFC 9112 section 6.1).
        let ended = what.starts_with("length and chunks")
            && text.to_lowercase().contains("\r\nconnection: close\r\n");
        let refused = text.is_empty() || text.starts_with("HTTP/1.1 4");
        assert!(refused || ended, "{what}: {text}");
    }
    // What is right is read as it should: two requests, two answers.
    let good = format!("{inner}{inner}").replace("host: a\r\n\r\n", "host: a\r\nx: y\r\n\r\n");
    let good = good + "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(answers(&exchange(&server, good.as_bytes())), 3);
}

#[test]
fn heads_have_a_length_and_a_time() {
    let server = Server::start(&[]);
    let long = "a".repeat(100_000);
    for request in [
        format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000)),
        long.clone(),
    ] {
        let text = exchange(&server, request.as_bytes());
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(server.get("/healthz").status, 200);
    // What is kept of them all is nothing.
    server.await_status("nothing is held", |status| {
        status["memory"]["transfer_bytes"] == 0
    });
}

#[test]
fn no_spelling_of_a_path_leaves_the_house() {
    let server = Server::start(&[]);
    std::fs::write(server.folder.path().join("secret.txt"), "hunter2").unwrap();
    server.put("filename=a.txt", "text/plain", b"hello");
    let ups = [
        "..",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%252e%252e",
        "..%00",
        "%c0%ae%c0%ae",
        "....",
        "..;",
        "..%5c",
        "..%2f",
    ];
    let names = [
        "secret.txt",
        "link.key",
        "attache.db",
        "objects",
        "etc/passwd",
    ];
    for folder in ["attachment", "download", "assets", "v1/attachments", ""] {
        for up in ups {
            for name in names {
                for target in [
                    format!("/{folder}/{up}/{name}"),
                    format!("/{folder}/{up}/{up}/{up}/{name}"),
                    format!("/{folder}/{up}%2f{name}"),
                    format!("/{folder}/{up}\\{name}"),
                ] {
                    let request =
                        format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                    let text = exchange(&server, request.as_bytes());
                    assert!(text.starts_with("HTTP/1.1 4"), "{target}: {text}");
                    assert!(
                        !text.contains("hunter2")
                            && !text.contains("SQLite")
                            && !text.contains("root:"),
                        "{target}"
                    );
                }
            }
        }
    }
}

#[test]
fn names_put_no_line_into_a_head() {
    let server = Server::start(&[]);
    for name in [
        "a%0d%0aset-cookie:%20x=y.txt",
        "a%0aLocation:%20https://evil.example",
        "a%00.txt",
        "a%22;filename=%22evil.html",
        "%E2%80%AEgnp.exe",
    ] {
        let target = format!("/v1/attachments?filename={name}");
        let answer = server.request("POST", &target, &[("content-type", "text/plain")], b"x");
        if answer.status != 201 {
            answer.assert_problem(400, "bad_request", name);
            continue;
        }
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let delivered = server.get(&format!("/download/{id}"));
        let head = delivered.head.to_lowercase();
        assert!(
            !head.contains("set-cookie") && !head.contains("\nlocation"),
            "{head}"
        );
        assert_eq!(head.matches("content-disposition").count(), 1, "{head}");
        assert!(
            delivered.head.is_ascii() && !head.contains("filename=\"evil"),
            "{head}"
        );
    }
    let split = "POST /v1/attachments?filename=a.txt&owner=page:1%0d%0ax:y HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
    assert!(exchange(&server, split.as_bytes()).starts_with("HTTP/1.1 400"));
}

#[test]
fn hosts_and_forwarded_headers_of_strangers_end_up_in_no_answer_that_is_kept() {
    let server = Server::start(&[]);
    let json = server.put("filename=a.txt", "text/plain", b"hello");
    let id = json["id"].as_str().unwrap();
    for target in [
        format!("/attachment/{id}"),
        format!("/v1/attachments/{id}"),
        "/".to_owned(),
        "/v1/attachments".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: evil.example\r\nx-forwarded-proto: https\r\n\
             x-forwarded-for: 1.2.3.4\r\nforwarded: host=evil.example\r\nx-original-url: /v1/status\r\nx-rewrite-url: /v1/status\r\nconnection: close\r\n\r\n"
        );
        let text = exchange(&server, request.as_bytes());
        assert!(
            !text.contains("evil.example") && !text.contains("uptime_s"),
            "{target}: {text}"
        );
        let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(
            !head.contains("public"),
            "{target} may not be kept by a cache that others share: {head}"
        );
    }
    // A link is made for whoever asks, is not kept, and with a public URL it is that.
    let url = format!(
        "POST /v1/attachments/{id}/url HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    assert!(
        exchange(&server, url.as_bytes())
            .to_lowercase()
            .contains("cache-control: no-store")
    );
    let named = Server::start(&[("ATTACHE_SERVER__PUBLIC_URL", "https://files.example.org")]);
    let json = named.put("filename=a.txt", "text/plain", b"hello");
    let url = url.replace(id, json["id"].as_str().unwrap());
    let text = exchange(&named, url.as_bytes());
    assert!(
        text.contains("https://files.example.org/attachment/") && !text.contains("evil.example"),
        "{text}"
    );
}

#[test]
fn methods_and_targets_that_nobody_serves_are_answered_and_change_nothing() {
    let server = Server::start(&[]);
    let id = server.put("filename=a.txt", "text/plain", b"hello")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for line in [
        format!("TRACE /attachment/{id} HTTP/1.1"),
        format!("PUT /v1/attachments/{id} HTTP/1.1"),
        format!("PATCH /v1/attachments/{id} HTTP/1.1"),
        "CONNECT example.org:443 HTTP/1.1".to_owned(),
        "OPTIONS * HTTP/1.1".to_owned(),
        format!("GET http://example.org/attachment/{id}x HTTP/1.1"),
        "DELETE /v1/attachments HTTP/1.1".to_owned(),
        "GET /attachment/ HTTP/1.1".to_owned(),
        "GET // HTTP/1.1".to_owned(),
    ] {
        let text = exchange(
            &server,
            format!("{line}\r\nhost: a\r\nx-secret: hunter2\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        );
        assert!(text.starts_with("HTTP/1.1 4"), "{line}: {text}");
        assert!(!text.contains("hunter2"), "{line} is not echoed");
    }
    assert_eq!(server.get(&format!("/download/{id}")).body, b"hello");
}

/// `ATTACHE_TEST_FULL=1` for ten thousand, as the documentation says; their number is bounded by this process's own
/// limit of open files otherwise.
#[test]
fn connections_that_say_nothing_do_not_keep_others_out_and_are_given_up() {
    let full = std::env::var_os("ATTACHE_TEST_FULL").is_some();
    let (idle, most) = if full { (10_000, "8192") } else { (600, "500") };
    let server = Server::start(&[("ATTACHE_LIMITS__CONNECTIONS", most)]);
    let resident = |server: &Server| -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = resident(&server);
    let mut streams: Vec<TcpStream> = Vec::new();
    for n in 0..idle {
        let Ok(mut stream) = TcpStream::connect(server.address) else {
            break;
        };
        // Half of them dribble a head that never ends.
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost");
        }
        streams.push(stream);
    }
    let each = resident(&server).saturating_sub(before) * 1024 / streams.len().max(1);
    assert!(
        each < 32 * 1024,
        "{each} bytes for each connection that says nothing"
    );
    // The house is full: newcomers are told so at once, and nobody waits.
    let start = Instant::now();
    let mut stream = server.connect();
    assert_eq!(read_answer(&mut stream).status, 503);
    assert!(start.elapsed() < Duration::from_secs(5));
    // A fifth of them leaves: there is room for those who mean it.
    streams.truncate(streams.len() / 5);
    let start = Instant::now();
    loop {
        let text = exchange(
            &server,
            b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        );
        if text.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "there is no room"
        );
    }
}

#[test]
fn a_head_that_drips_is_given_up_and_so_is_a_connection_that_rests() {
    let server = Server::start(&[("ATTACHE_LIMITS__HEAD_TIMEOUT", "1s")]);
    let mut dripping = server.connect();
    let mut resting = server.connect();
    write!(resting, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut resting).status, 200);
    let start = Instant::now();
    // A byte now and then, for as long as the server listens.
    dripping
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let ended = loop {
        let sent = dripping.write_all(b"a").is_err();
        match dripping.read(&mut [0; 512]) {
            Ok(_) => break true,
            Err(error) if sent || error.kind() == std::io::ErrorKind::ConnectionReset => {
                break true;
            }
            Err(_) if start.elapsed() > Duration::from_secs(20) => break false,
            Err(_) => {}
        }
    };
    assert!(ended, "it drips on");
    let mut rest = Vec::new();
    resting.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "it was closed, and nothing was said");
}

#[test]
fn who_connects_and_asks_for_nothing_is_given_up_whatever_it_began_to_say() {
    let server = Server::start(&[("ATTACHE_LIMITS__HEAD_TIMEOUT", "1s")]);
    // The last is all that HTTP/2 begins with; the server answers it, and then waits for a request.
    let beginnings = [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let streams = beginnings.map(|beginning| {
        let mut stream = server.connect();
        stream.write_all(beginning.as_bytes()).unwrap();
        (beginning, stream)
    });
    for (beginning, mut stream) in streams {
        let ended = loop {
            match stream.read(&mut [0; 512]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        };
        assert!(ended, "{beginning:?} holds a connection");
    }
}

#[test]
fn a_request_names_one_host_and_nothing_but_a_host() {
    let server = Server::start(&[]);
    for (what, head) in [
        ("none", "GET /healthz HTTP/1.1\r\n"),
        ("two", "GET /healthz HTTP/1.1\r\nhost: a\r\nhost: a\r\n"),
        (
            "two that differ",
            "GET /v1/attachments HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        ),
        (
            "a user",
            "GET /healthz HTTP/1.1\r\nhost: user:password@a\r\n",
        ),
        ("a path", "GET /healthz HTTP/1.1\r\nhost: a/b\r\n"),
    ] {
        let text = exchange(
            &server,
            format!("{head}connection: close\r\n\r\n").as_bytes(),
        );
        assert!(text.starts_with("HTTP/1.1 400"), "{what}: {text}");
    }
    for good in ["a", "a.example:8080", "[::1]:8080", "127.0.0.1"] {
        let head = format!("GET /healthz HTTP/1.1\r\nhost: {good}\r\nconnection: close\r\n\r\n");
        assert!(
            exchange(&server, head.as_bytes()).starts_with("HTTP/1.1 200"),
            "{good}"
        );
    }
    let old = exchange(&server, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_that_asks_for_nothing_more_is_given_up_though_it_answers_pings() {
    let server = Server::start(&[("ATTACHE_LIMITS__HEAD_TIMEOUT", "1s")]);
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let mut ended = tokio::spawn(connection);
    for _ in 0..2 {
        let mut client = client.clone().ready().await.unwrap();
        let get = http::Request::get("http://a/healthz").body(()).unwrap();
        let (answer, _) = client.send_request(get, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        while let Some(bytes) = body.data().await {
            bytes.unwrap();
        }
    }
    let start = Instant::now();
    let gone = tokio::time::timeout(Duration::from_secs(10), &mut ended).await;
    assert!(gone.is_ok(), "it holds a connection");
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
}
