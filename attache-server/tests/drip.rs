//! Bodies that come a byte at a time, and never end: what they cost, whom they keep out, and for how long.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Server, connect, read_answer};

/// Every route that reads a body, as the server itself describes them, with the types and the beginnings of bodies that it
/// reads on from.
fn routes_with_a_body(server: &Server) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let described = server.get("/openapi.json").json();
    let mut routes = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation.get("requestBody").is_none() {
                continue;
            }
            let target = path.replace("{id}", "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11");
            let bodies = match path.as_str() {
                "/v1/attachments" => vec![
                    ("text/plain", ""),
                    (FORM, "--b\r\n"),
                    (
                        FORM,
                        "--b\r\ncontent-disposition: form-data; name=\"owner\"\r\n\r\n",
                    ),
                    (
                        FORM,
                        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
                    ),
                ],
                "/v1/uploads" => vec![(TUS, "")],
                _ if operation["requestBody"]["content"].get(JSON).is_some() => vec![(JSON, "{")],
                // Bytes of an upload that is there already: they are read as those that come with its creation.
                "/v1/uploads/{id}" | "/v1/uploads/{id}/content" => continue,
                other => panic!("what is sent to {other}?"),
            };
            routes.push((format!("{} {target}", method.to_uppercase()), bodies));
        }
    }
    assert!(routes.len() >= 4, "{routes:?}");
    routes
}

const FORM: &str = "multipart/form-data; boundary=b";
const JSON: &str = "application/json";
const TUS: &str =
    "application/offset+octet-stream\r\ntus-resumable: 1.0.0\r\nupload-length: 200000";

/// Bytes that the server's connections have received and that it has not read yet.
fn unread(server: &Server) -> u64 {
    let port = format!(":{:04X}", server.address.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = sockets.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        // Received and not read, behind those that were sent and not taken.
        let (_, received) = fields.nth(2)?.split_once(':')?;
        local
            .ends_with(&port)
            .then(|| u64::from_str_radix(received, 16).ok())?
    });
    queues.sum()
}

/// Twenty connections that send a byte at a time.
const DRIPPING: usize = 20;

/// What each of them sends.
const DRIPPED: usize = 4 * 1024 - 64;

/// Of these, how many are sent one by one, each when the one before it was read: otherwise a busy server reads several at
/// once, and the test says little. A server that kept what it reads into would hold 40 MiB after these.
const ONE_BY_ONE: usize = 512;

#[test]
fn bodies_that_come_a_byte_at_a_time_cost_what_was_sent_on_every_route() {
    let server = Server::start(&[]);
    for (route, bodies) in routes_with_a_body(&server) {
        for (content_type, begin) in bodies {
            let mut streams: Vec<TcpStream> = (0..DRIPPING)
                .map(|_| {
                    let mut stream = server.connect();
                    stream.set_nodelay(true).unwrap();
                    write!(
                        stream,
                        "{route} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\n\
                         content-length: 200000\r\n\r\n{begin}"
                    )
                    .unwrap();
                    stream
                })
                .collect();
            let before = server.resident();
            let mut most = before;
            for sent in 0..DRIPPED {
                for stream in &mut streams {
                    // One that was refused meanwhile costs nothing any more.
                    let _ = stream.write_all(b" ");
                }
                while sent < ONE_BY_ONE && unread(&server) > 0 {
                    std::thread::yield_now();
                }
                if sent % 512 == 0 {
                    most = most.max(server.resident());
                }
            }
            most = most.max(server.resident());
            let grown = most.saturating_sub(before) / 1024;
            assert!(grown < 4 * 1024, "{route} {begin:?}: {grown} KiB");
        }
    }
}

#[test]
fn a_body_of_json_that_does_not_come_to_its_end_is_given_up_in_time() {
    let server = Server::start(&[]);
    let mut streams: Vec<(String, TcpStream)> = routes_with_a_body(&server)
        .into_iter()
        .filter(|(_, bodies)| bodies.iter().any(|(content_type, _)| *content_type == JSON))
        .map(|(route, _)| {
            let mut stream = server.connect();
            write!(
                stream,
                "{route} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{{"
            )
            .unwrap();
            (route, stream)
        })
        .collect();
    let start = Instant::now();
    for (route, stream) in &mut streams {
        read_answer(stream).assert_problem(408, "client_timeout", route);
    }
    assert!(start.elapsed() < Duration::from_secs(15));
}

/// HTTP/2 connections of a stranger, as many as it takes to have more requests open than the server works on.
const CONNECTIONS: usize = 41;
const STREAMS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_whose_requests_never_end_keeps_nobody_out() {
    let server = Server::start(&[("ATTACHE_AUTH__MODE", "token")]);
    let (mut connections, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        connections.push(tokio::spawn(connection));
        for _ in 0..STREAMS {
            let mut client = client.clone().ready().await.unwrap();
            let request = http::Request::post("http://a/v1/session").body(()).unwrap();
            let (answer, mut body) = client.send_request(request, false).unwrap();
            let _ = body.send_data(bytes::Bytes::from_static(b"{"), false);
            answers.push(async move {
                // The body stays open until there is an answer.
                let outcome = answer.await;
                drop(body);
                outcome
            });
        }
    }
    let start = Instant::now();
    let address = server.address;
    // Somebody else is answered all the while, and a sign-in finds a place.
    tokio::task::block_in_place(|| {
        while start.elapsed() < Duration::from_secs(3) {
            for (request, status) in [
                ("GET /v1/attachments HTTP/1.1\r\nhost: a\r\n\r\n", 401),
                ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 200),
                (
                    "POST /v1/session HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                     content-length: 13\r\n\r\n{\"token\":\"x\"}",
                    401,
                ),
            ] {
                let asked = Instant::now();
                let mut stream = connect(address);
                stream.write_all(request.as_bytes()).unwrap();
                assert_eq!(read_answer(&mut stream).status, status, "{request}");
                assert!(asked.elapsed() < Duration::from_secs(1), "{request}");
            }
        }
    });
    // None of them keeps its place.
    let all = futures::future::join_all(answers);
    let ended = tokio::time::timeout(Duration::from_secs(15), all).await;
    assert_eq!(ended.expect("all end").len(), CONNECTIONS * STREAMS);
    for connection in connections {
        connection.abort();
    }
}
