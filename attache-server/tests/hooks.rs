//! Uploads that somebody looks at before they are there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use support::bucket::{Client, element};
use support::{Answer, Server, field, file, noise};

/// The test file of antivirus software (<https://www.eicar.org/download-anti-malware-testfile/>), in two parts, so that
/// this source is not one.
fn eicar() -> String {
    format!(
        "{}{}",
        r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE!$H+H*"
    )
}

/// What a clamd does in one conversation: it answers `FOUND` for the test file, and hangs up after `limit` bytes as its
/// `StreamMaxLength` does.
fn scan(mut stream: impl Read + Write, limit: usize) -> Option<Vec<u8>> {
    let mut command = [0; 10];
    stream.read_exact(&mut command).ok()?;
    assert_eq!(&command, b"zINSTREAM\0");
    let mut seen = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            break;
        }
        let start = seen.len();
        seen.resize(start + length, 0);
        stream.read_exact(&mut seen[start..]).ok()?;
        if seen.len() > limit {
            let _ = stream.write_all(b"INSTREAM size limit exceeded. ERROR\0");
            return None;
        }
    }
    let text = String::from_utf8_lossy(&seen);
    let reply = match text.contains("EICAR-STANDARD") {
        true => "stream: Eicar-Test-Signature FOUND\0",
        false => "stream: OK\0",
    };
    let _ = stream.write_all(reply.as_bytes());
    Some(seen)
}

/// What clamds have seen to its end.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

fn clamd() -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let kept = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = kept.clone();
            std::thread::spawn(move || {
                kept.lock()
                    .unwrap()
                    .extend(scan(stream.unwrap(), 4_000_000))
            });
        }
    });
    (address, seen)
}

fn upload(server: &Server, body: &[u8]) -> Answer {
    server.request(
        "POST",
        "/v1/attachments?filename=a.txt&owner=page:1",
        &[],
        body,
    )
}

fn inspections(server: &Server, hook: &str, outcome: &str) -> bool {
    let line = format!("attache_inspections_total{{hook=\"{hook}\",outcome=\"{outcome}\"}}");
    server.get("/metrics").text().contains(&line)
}

#[test]
fn an_upload_of_several_requests_is_seen_whole_before_anybody_can_read_it() {
    let (address, seen) = clamd();
    let server = Server::start(&[("ATTACHE_HOOKS__CLAMD", &address)]);
    let tus = ("Tus-Resumable", "1.0.0");
    let send = |bytes: &[u8]| {
        let length = bytes.len().to_string();
        let headers = [tus, ("Upload-Length", length.as_str())];
        let created = server.request("POST", "/v1/uploads", &headers, b"");
        let location = created.header("location").unwrap().to_owned();
        let path = location[location.find("/v1/").unwrap()..].to_owned();
        let mut last = None;
        for (at, piece) in (0..).step_by(20).zip(bytes.chunks(20)) {
            let at = at.to_string();
            let kind = ("Content-Type", "application/offset+octet-stream");
            let headers = [tus, kind, ("Upload-Offset", at.as_str())];
            last = Some(server.request("PATCH", &path, &headers, piece));
        }
        (path, last.unwrap())
    };
    let (path, answer) = send(eicar().as_bytes());
    answer.assert_problem(422, "refused", "what it finds");
    assert_eq!(server.request("HEAD", &path, &[tus], b"").status, 404);
    server.assert_empty("nothing of it is kept");
    let harmless = noise(3_000);
    let (path, answer) = send(&harmless);
    assert_eq!(answer.status, 204, "{}", answer.text());
    let id = path.rsplit('/').next().unwrap();
    assert!(server.get(&format!("/download/{id}")).body == harmless);
    let seen = seen.lock().unwrap();
    let expected = [eicar().into_bytes(), harmless];
    assert!(seen[..] == expected, "each as one file, once");
}

#[test]
fn an_upload_waits_for_a_scanner_that_does_not_respond_and_goes_on_when_it_does() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    let clamd = format!("tcp://{address}");
    drop(free);
    let server = Server::start(&[("ATTACHE_HOOKS__CLAMD", &clamd)]);
    let tus = ("Tus-Resumable", "1.0.0");
    let headers = [tus, ("Upload-Length", "5")];
    let created = server.request("POST", "/v1/uploads", &headers, b"");
    let location = created.header("location").unwrap().to_owned();
    let path = &location[location.find("/v1/").unwrap()..];
    let kind = ("Content-Type", "application/offset+octet-stream");
    let headers = [tus, kind, ("Upload-Offset", "0")];
    let refused = server.request("PATCH", path, &headers, b"hello");
    refused.assert_problem(503, "upstream_unavailable", "nobody looks");
    // Never as if all were well, and never so that a client begins anew.
    assert_eq!(server.request("HEAD", path, &[tus], b"").status, 423);
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            scan(stream.unwrap(), 4_000_000);
        }
    });
    let told = server.request("HEAD", path, &[tus], b"");
    assert_eq!(
        (told.status, told.header("upload-offset")),
        (200, Some("5"))
    );
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(server.get(&format!("/download/{id}")).body, b"hello");
}

#[test]
fn a_scanner_sees_every_byte_once_and_what_it_finds_is_not_kept() {
    let (address, seen) = clamd();
    for more in [&[][..], &[("ATTACHE_STORAGE__BACKEND", "memory")][..]] {
        let variables: Vec<_> = [("ATTACHE_HOOKS__CLAMD", address.as_str())]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let server = Server::start(&variables);
        let bytes = noise(3_000_000);
        let kept = upload(&server, &bytes);
        assert_eq!(kept.status, 201, "{}", kept.text());
        assert!(seen.lock().unwrap().pop().unwrap() == bytes);
        let id = kept.json()["id"].as_str().unwrap().to_owned();
        assert!(server.get(&format!("/download/{id}")).body == bytes);
        assert_eq!(
            server
                .request("DELETE", &format!("/v1/attachments/{id}"), &[], b"")
                .status,
            204
        );
        assert_eq!(upload(&server, b"").status, 201, "nothing is fine");
        let all = server.get("/v1/attachments").json()["items"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        server.request("DELETE", &format!("/v1/attachments/{all}"), &[], b"");

        let refused = upload(&server, eicar().as_bytes());
        refused.assert_problem(422, "refused", "a virus");
        assert!(
            refused
                .text()
                .contains("clamd refuses this file: Eicar-Test-Signature")
        );
        let form = server.post_form(&[
            field("owner", "page:1"),
            file("a.txt", "text/plain", eicar().as_bytes()),
        ]);
        form.assert_problem(422, "refused", "a virus in a form");
        server.assert_empty("refused");
        assert!(
            inspections(&server, "clamd", "accepted") && inspections(&server, "clamd", "refused")
        );
    }
}

#[test]
fn a_scanner_behind_a_socket_of_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clamd.ctl");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            scan(stream.unwrap(), usize::MAX);
        }
    });
    let address = format!("unix://{}", path.display());
    let server = Server::start(&[("ATTACHE_HOOKS__CLAMD", &address)]);
    assert_eq!(upload(&server, b"hello").status, 201);
    upload(&server, eicar().as_bytes()).assert_problem(422, "refused", "a virus");
}

/// One answer to whom a client trusts: whatever asks others over HTTPS works where the store's client does.
#[test]
fn a_machine_without_certificates_has_every_client() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem");
    std::fs::write(&none, "").unwrap();
    let server = Server::start(&[
        ("SSL_CERT_FILE", none.to_str().unwrap()),
        ("ATTACHE_HOOKS__WEBHOOK", "https://127.0.0.1:1/"),
        ("ATTACHE_HOOKS__WHEN_DOWN", "accept"),
        ("ATTACHE_TELEMETRY__OTLP_ENDPOINT", "https://127.0.0.1:1"),
    ]);
    assert_eq!(upload(&server, b"hello").status, 201);
}

#[test]
fn a_scanner_that_is_down_fails_as_configured() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let down = [
        format!("tcp://{}", silent.local_addr().unwrap()),
        format!("tcp://{gone}"),
    ];
    for address in &down {
        for (when_down, status) in [("refuse", 503), ("accept", 201)] {
            let server = Server::start(&[
                ("ATTACHE_HOOKS__CLAMD", address),
                ("ATTACHE_HOOKS__TIMEOUT", "500ms"),
                ("ATTACHE_HOOKS__WHEN_DOWN", when_down),
            ]);
            let answer = upload(&server, &noise(10));
            assert_eq!(
                answer.status,
                status,
                "{address} {when_down}: {}",
                answer.text()
            );
            if status == 503 {
                answer.assert_problem(503, "upstream_unavailable", address);
                assert!(answer.header("retry-after").is_some());
                server.assert_empty(address);
            } else {
                assert!(
                    server.log().contains("without inspection"),
                    "{}",
                    server.log()
                );
            }
            assert!(inspections(&server, "clamd", "failed"));
        }
    }
}

#[test]
fn a_file_that_the_scanner_finds_too_long_is_refused_whatever_a_scanner_that_is_down_means() {
    let (address, _) = clamd();
    for when_down in ["refuse", "accept"] {
        let server = Server::start(&[
            ("ATTACHE_HOOKS__CLAMD", &address),
            ("ATTACHE_HOOKS__WHEN_DOWN", when_down),
        ]);
        let answer = upload(&server, &noise(5_000_000));
        answer.assert_problem(413, "too_large", when_down);
        assert!(answer.header("retry-after").is_none());
        server.assert_empty(when_down);
        assert!(inspections(&server, "clamd", "refused"));
        assert!(!inspections(&server, "clamd", "failed"));
    }
}

/// Heads of requests and their bodies; none for a body that broke off.
type Heard = Arc<Mutex<Vec<(String, Option<Vec<u8>>)>>>;

/// An application that reads a POST to its end and answers by its body; what it has heard.
fn application() -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Heard::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let body = chunked(&mut reader);
                kept.lock()
                    .unwrap()
                    .push((head.to_lowercase(), body.clone()));
                let text =
                    String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
                let (status, answer) = match &*text {
                    "down" => (500, String::new()),
                    "words" => (403, "not \u{7}here".to_owned()),
                    "json" => (422, "{\"detail\":\"no macros\"}".to_owned()),
                    _ => (204, String::new()),
                };
                let length = if status == 204 {
                    String::new()
                } else {
                    format!("content-length: {}\r\n", answer.len())
                };
                let _ = stream.write_all(
                    format!("HTTP/1.1 {status} x\r\n{length}connection: close\r\n\r\n{answer}")
                        .as_bytes(),
                );
            });
        }
    });
    (address, heard)
}

/// A chunked body (RFC 9112 section 7.1); `None` if it broke off.
fn chunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        let mut end = [0; 2];
        reader.read_exact(&mut end).ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

#[test]
fn the_application_gets_the_file_and_decides() {
    let (address, heard) = application();
    let url = format!("http://{address}/inspect");
    let server = Server::start(&[("ATTACHE_HOOKS__WEBHOOK", &url)]);
    let bytes = noise(1_000_000);
    let target = "/v1/attachments?filename=b%C3%BCcher.bin&owner=page:1&created_by=J%C3%BCrgen";
    let kept = server.request(
        "POST",
        target,
        &[("content-type", "application/x-thing")],
        &bytes,
    );
    assert_eq!(kept.status, 201, "{}", kept.text());
    let (head, body) = heard.lock().unwrap().pop().unwrap();
    assert!(body.unwrap() == bytes);
    for line in [
        "post /inspect ",
        &format!("x-attache-id: {}", kept.json()["id"].as_str().unwrap()),
        "x-attache-filename: b%c3%bccher%2ebin",
        "x-attache-owner: page:1",
        "x-attache-created-by: j%c3%bcrgen",
        "content-type: application/x-thing",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let id = kept.json()["id"].as_str().unwrap().to_owned();
    server.request("DELETE", &format!("/v1/attachments/{id}"), &[], b"");
    for (body, status, code, words) in [
        (
            "json",
            422,
            "refused",
            "webhook refuses this file: no macros",
        ),
        (
            "words",
            422,
            "refused",
            "webhook refuses this file: not  here",
        ),
        (
            "down",
            503,
            "upstream_unavailable",
            "webhook, which must inspect every upload",
        ),
    ] {
        let answer = upload(&server, body.as_bytes());
        answer.assert_problem(status, code, body);
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    server.assert_empty("refused");
}

#[test]
fn an_upload_that_breaks_off_is_never_a_whole_file_to_whoever_looks() {
    let (address, heard) = application();
    let url = format!("http://{address}/inspect");
    let (scanner, seen) = clamd();
    let server = Server::start(&[
        ("ATTACHE_HOOKS__WEBHOOK", &url),
        ("ATTACHE_HOOKS__CLAMD", &scanner),
    ]);
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments?filename=a HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&noise(500_000)).unwrap();
    server.await_status("it runs", |status| status["streams"]["uploads_open"] == 1);
    drop(stream);
    server.await_status("it has ended", |status| {
        status["streams"]["uploads_open"] == 0
    });
    server.assert_empty("broken off");
    // The application hears of the end in a moment of its own.
    while heard.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(heard.lock().unwrap()[0].1, None, "broken off, not ended");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn objects_of_s3_clients_pass_the_same_scanner_whole_or_in_parts() {
    let (address, seen) = clamd();
    let variables = [
        ("ATTACHE_HOOKS__CLAMD", address.as_str()),
        ("ATTACHE_S3__LISTEN", "127.0.0.1:0"),
        ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", "files"),
    ];
    let server = Server::start(&variables);
    let bucket = ["--bucket", "files"];
    let folder = server.folder.path();
    let client = Client::new(server.s3_address(), folder, &variables, &bucket);
    let put = client.send("PUT", "/files/good", "", &[], b"good");
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(seen.lock().unwrap().pop().unwrap(), b"good");
    let put = client.send("PUT", "/files/bad", "", &[], eicar().as_bytes());
    assert_eq!(put.status, 400, "{put:?}");
    assert!(put.text().contains("Eicar-Test-Signature"), "{put:?}");
    let begun = client
        .send("POST", "/files/bad", "uploads", &[], b"")
        .text();
    let id = element(&begun, "UploadId").expect("an upload");
    let query = format!("partNumber=1&uploadId={id}");
    let part = client.send("PUT", "/files/bad", &query, &[], eicar().as_bytes());
    let etag = part.header("etag").expect("a tag");
    let parts = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let query = format!("uploadId={id}");
    let done = client.send("POST", "/files/bad", &query, &[], body.as_bytes());
    assert_eq!(done.status, 400, "{done:?}");
    let listed = client.send("GET", "/files", "", &[], b"").text();
    assert_eq!(element(&listed, "Key").as_deref(), Some("good"));
    assert_eq!(listed.matches("<Key>").count(), 1, "{listed}");
}
