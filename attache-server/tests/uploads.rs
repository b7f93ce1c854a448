//! Uploads of several requests, by tus 1.0: what its clients rely on, through a real socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fake_azure::FakeAzure;
use sha2::{Digest as _, Sha256};
use support::bucket::hex;
use support::{Answer, Server, files_below, noise, read_answer};

/// "写真.png"
const NAME: &str = "filename 5YaZ55yfLnBuZw==,filetype aW1hZ2UvcG5n,owner cGFnZTo0Mg==";

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");
const BYTES: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// A stand-in for Azure.
struct Store {
    azure: FakeAzure,
    variables: Vec<(&'static str, String)>,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Store {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let azure = runtime.block_on(async {
            let builder = FakeAzure::builder()
                .account("acme")
                .container("files")
                .secret("a-secret");
            builder.start().await.unwrap()
        });
        let folder = tempfile::tempdir().unwrap();
        let mut variables = support::on_azure(&azure, folder.path());
        variables.push(("ATTACHE_DELIVERY__MODE", "relay".to_owned()));
        Self {
            azure,
            variables,
            _folder: folder,
            _runtime: runtime,
        }
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        support::borrowed(&self.variables)
    }

    fn staged_blocks(&self) -> u64 {
        self.azure.counts().uncommitted_blocks
    }
}

/// Creates an upload of so many bytes; gives its path.
fn create(server: &Server, length: usize, metadata: &str) -> String {
    let length = length.to_string();
    let headers = [
        TUS,
        ("Upload-Length", length.as_str()),
        ("Upload-Metadata", metadata),
    ];
    let answer = server.request("POST", "/v1/uploads", &headers, b"");
    assert_eq!(answer.status, 201, "{}", answer.text());
    path_of(&answer)
}

/// The path of an upload, of the absolute URL in `Location`.
fn path_of(answer: &Answer) -> String {
    let location = answer.header("location").unwrap();
    let rest = location.strip_prefix("http://").unwrap();
    let path = &rest[rest.find('/').unwrap()..];
    assert!(
        path.strip_prefix("/v1/uploads/")
            .unwrap()
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "{location}"
    );
    path.to_owned()
}

fn patch(server: &Server, path: &str, offset: usize, bytes: &[u8]) -> Answer {
    let offset = offset.to_string();
    let headers = [TUS, BYTES, ("Upload-Offset", offset.as_str())];
    server.request("PATCH", path, &headers, bytes)
}

fn head(server: &Server, path: &str) -> Answer {
    server.request("HEAD", path, &[TUS], b"")
}

/// How far an upload is, as HEAD says.
fn offset(server: &Server, path: &str) -> usize {
    let answer = head(server, path);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.header("upload-offset").unwrap().parse().unwrap()
}

/// The attachment that an upload has become, whose bytes are these.
fn assert_stored(server: &Server, path: &str, bytes: &[u8]) -> serde_json::Value {
    let id = path.rsplit('/').next().unwrap();
    let json = server.get(&format!("/v1/attachments/{id}")).json();
    assert_eq!(json["size"], bytes.len(), "{json}");
    let sha256 = hex(&Sha256::digest(bytes));
    assert_eq!(json["sha256"], sha256);
    let download = server.get(&format!("/download/{id}"));
    assert!(download.body == bytes, "other bytes");
    json
}

/// A request whose body is cut: sends the head and `bytes`, and keeps the connection.
fn begin_patch(
    server: &Server,
    path: &str,
    offset: usize,
    length: usize,
    bytes: &[u8],
) -> TcpStream {
    let mut stream = server.connect();
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n\
         Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Waits until the server has read so many bytes in all.
fn await_bytes(server: &Server, bytes: usize) {
    let until = Instant::now() + Duration::from_secs(20);
    while server.figure("attache_transferred_bytes_total{direction=\"in\"}") < bytes as u64 {
        assert!(Instant::now() < until, "{}", server.log());
    }
}

#[test]
fn an_upload_in_pieces_becomes_the_attachment_whose_id_it_had_from_the_beginning() {
    let server = Server::start(&[("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB")]);
    let bytes = [b"\x89PNG\r\n\x1a\n".as_slice(), &noise(300_000)].concat();
    let path = create(&server, bytes.len(), NAME);
    let mut at = 0;
    for size in [1, 7, 100_000, 64 * 1024, 1] {
        let answer = patch(&server, &path, at, &bytes[at..at + size]);
        assert_eq!(answer.status, 204, "{}", answer.text());
        at += size;
        assert_eq!(
            answer.header("upload-offset"),
            Some(at.to_string().as_str())
        );
        assert_eq!(answer.header("tus-resumable"), Some("1.0.0"));
        assert!(answer.header("upload-expires").unwrap().ends_with("GMT"));
        assert_eq!(offset(&server, &path), at);
    }
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(server.get(&format!("/v1/attachments/{id}")).status, 404);
    let last = patch(&server, &path, at, &bytes[at..]);
    assert_eq!(last.status, 204);
    let place = last.header("content-location").unwrap();
    assert!(place.ends_with(&format!("/v1/attachments/{id}")), "{place}");
    let json = assert_stored(&server, &path, &bytes);
    assert_eq!(json["filename"], "写真.png");
    assert_eq!(json["content_type"], "image/png");
    assert_eq!(json["owner"], "page:42");
    // Its answer may be lost: whoever asks learns that all of it came, and may say once more that there is nothing to add.
    assert_eq!(offset(&server, &path), bytes.len());
    assert_eq!(patch(&server, &path, bytes.len(), b"").status, 204);
    assert_eq!(patch(&server, &path, bytes.len(), b"x").status, 413);
    assert_eq!(patch(&server, &path, 0, b"x").status, 409);
    assert_eq!(server.request("DELETE", &path, &[TUS], b"").status, 404);
    assert_eq!(server.get(&format!("/v1/attachments/{id}")).status, 200);
}

#[test]
fn a_body_that_breaks_off_counts_as_far_as_it_came() {
    let server = Server::start(&[("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB")]);
    let bytes = noise(500_000);
    let path = create(&server, bytes.len(), "");
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + 123_457).min(bytes.len());
        let stream = begin_patch(&server, &path, at, bytes.len() - at, &bytes[at..end]);
        if end == bytes.len() {
            assert_eq!(read_answer(&mut &stream).status, 204);
            break;
        }
        await_bytes(&server, end);
        drop(stream);
        assert_eq!(offset(&server, &path), end);
        at = end;
    }
    assert_stored(&server, &path, &bytes);
}

#[test]
fn whoever_asks_ends_the_request_that_still_runs_and_its_connection_is_closed_without_an_answer() {
    let server = Server::start(&[]);
    let bytes = noise(200_000);
    let path = create(&server, bytes.len(), "");
    let mut silent = begin_patch(&server, &path, 0, bytes.len(), &bytes[..70_000]);
    await_bytes(&server, 70_000);
    assert_eq!(offset(&server, &path), 70_000, "what had come is stored");
    let mut rest = Vec::new();
    silent
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // An end, or a reset: no status.
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    // Another PATCH does the same as a question.
    let silent = begin_patch(&server, &path, 70_000, 130_000, b"");
    let until = Instant::now() + Duration::from_secs(20);
    while server.get("/v1/admin/uploads").json()["items"][0]["in_progress"] != true {
        assert!(Instant::now() < until, "{}", server.log());
    }
    let answer = patch(&server, &path, 70_000, &bytes[70_000..]);
    assert_eq!(answer.status, 204);
    drop(silent);
    assert_stored(&server, &path, &bytes);
}

#[test]
fn a_server_that_is_killed_and_started_again_goes_on_where_it_was() {
    let store = Store::start();
    let variables = store.variables();
    for azure in [false, true] {
        let mut server = match azure {
            true => Server::start(&variables),
            false => Server::start(&[]),
        };
        let bytes = noise(100_000);
        let path = create(&server, bytes.len(), "");
        assert_eq!(patch(&server, &path, 0, &bytes[..60_000]).status, 204);
        server.kill();
        server.restart(if azure { &variables } else { &[] });
        assert_eq!(offset(&server, &path), 60_000);
        assert_eq!(patch(&server, &path, 60_000, &bytes[60_000..]).status, 204);
        assert_stored(&server, &path, &bytes);
    }
    assert_eq!(store.staged_blocks(), 0);
}

#[test]
fn an_upload_may_come_with_its_creation_or_say_its_length_last() {
    let server = Server::start(&[]);
    let headers = [TUS, BYTES, ("Upload-Length", "5")];
    let whole = server.request("POST", "/v1/uploads/", &headers, b"hello");
    assert_eq!(whole.status, 201, "{}", whole.text());
    assert_eq!(whole.header("upload-offset"), Some("5"));
    assert_stored(&server, &path_of(&whole), b"hello");
    let part = server.request("POST", "/v1/uploads", &headers, b"hel");
    assert_eq!(part.header("upload-offset"), Some("3"));
    let path = path_of(&part);
    assert_eq!(patch(&server, &path, 3, b"lo").status, 204);
    assert_stored(&server, &path, b"hello");

    let later = [TUS, ("Upload-Defer-Length", "1")];
    let deferred = server.request("POST", "/v1/uploads", &later, b"");
    assert_eq!(deferred.status, 201);
    let path = path_of(&deferred);
    assert_eq!(
        head(&server, &path).header("upload-defer-length"),
        Some("1")
    );
    assert_eq!(head(&server, &path).header("upload-length"), None);
    assert_eq!(patch(&server, &path, 0, b"hel").status, 204);
    let headers = [TUS, BYTES, ("Upload-Offset", "3"), ("Upload-Length", "5")];
    assert_eq!(server.request("PATCH", &path, &headers, b"lo").status, 204);
    assert_stored(&server, &path, b"hello");
    // The length alone, when all has come.
    let path = path_of(&server.request("POST", "/v1/uploads", &later, b""));
    assert_eq!(patch(&server, &path, 0, b"hello").status, 204);
    let headers = [TUS, BYTES, ("Upload-Offset", "5"), ("Upload-Length", "5")];
    assert_eq!(server.request("PATCH", &path, &headers, b"").status, 204);
    assert_stored(&server, &path, b"hello");
    // An empty one is complete when it is created.
    let path = create(&server, 0, "filename YS50eHQ=");
    assert_eq!(offset(&server, &path), 0);
    let plain = server.put("filename=a.txt", "", b"");
    let empty = assert_stored(&server, &path, b"");
    assert_eq!(empty["content_type"], plain["content_type"]);
}

#[test]
fn what_the_protocol_forbids_is_refused_and_changes_nothing() {
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1MiB")]);
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        server.request("POST", "/v1/uploads", headers, body)
    };
    post(&[("Upload-Length", "5")], b"").assert_problem(412, "precondition_failed", "no version");
    let other = post(&[("Tus-Resumable", "0.2.2"), ("Upload-Length", "5")], b"");
    other.assert_problem(412, "precondition_failed", "another version");
    assert_eq!(other.header("tus-version"), Some("1.0.0"));
    post(&[TUS], b"").assert_problem(400, "bad_request", "no length");
    post(&[TUS, ("Upload-Length", "x")], b"").assert_problem(400, "bad_request", "no number");
    let concat = [TUS, ("Upload-Length", "5"), ("Upload-Concat", "partial")];
    post(&concat, b"").assert_problem(400, "bad_request", "concatenation");
    let large = post(&[TUS, ("Upload-Length", "1048577")], b"");
    large.assert_problem(413, "too_large", "too large");
    assert_eq!(large.header("tus-max-size"), Some("1048576"));
    let text = [TUS, ("Content-Type", "text/plain"), ("Upload-Length", "5")];
    post(&text, b"hello").assert_problem(415, "unsupported_media_type", "a body of another type");
    // aiotus.
    let empty = [
        TUS,
        ("Content-Type", "application/octet-stream"),
        ("Upload-Length", "5"),
    ];
    assert_eq!(post(&empty, b"").status, 201);
    let longer = [TUS, BYTES, ("Upload-Length", "3")];
    post(&longer, b"hello").assert_problem(413, "too_large", "a body longer than the file");
    post(
        &[
            TUS,
            ("Upload-Length", "5"),
            ("Upload-Metadata", "filename a*b"),
        ],
        b"",
    )
    .assert_problem(400, "bad_request", "metadata");

    let path = create(&server, 5, "");
    let send =
        |headers: &[(&str, &str)], body: &[u8]| server.request("PATCH", &path, headers, body);
    let at = |offset: &'static str| ("Upload-Offset", offset);
    send(&[BYTES, at("0")], b"h").assert_problem(412, "precondition_failed", "no version");
    send(&[TUS, at("0")], b"h").assert_problem(415, "unsupported_media_type", "no type");
    send(&[TUS, BYTES], b"h").assert_problem(400, "bad_request", "no offset");
    send(&[TUS, BYTES, at("-1")], b"h").assert_problem(400, "bad_request", "a negative offset");
    for wrong in ["1", "5", "99"] {
        let answer = send(&[TUS, BYTES, at(wrong)], b"");
        answer.assert_problem(409, "conflict", "another offset");
        assert_eq!(answer.header("upload-offset"), Some("0"));
    }
    send(&[TUS, BYTES, at("0"), ("Upload-Length", "6")], b"h").assert_problem(
        400,
        "bad_request",
        "another length",
    );
    send(&[TUS, BYTES, at("0")], b"hello!").assert_problem(413, "too_large", "too long");
    let chunked = "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n\
                   Upload-Offset: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
        .replace("{path}", &path);
    server
        .send(chunked.as_bytes())
        .assert_problem(413, "too_large", "too long, in chunks");
    assert_eq!(offset(&server, &path), 0, "not even what would have fitted");
    assert_eq!(patch(&server, &path, 0, b"hello").status, 204);

    let nothing = "/v1/uploads/01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11";
    for (method, path) in [
        ("HEAD", nothing),
        ("DELETE", nothing),
        ("HEAD", "/v1/uploads/..%2f"),
    ] {
        assert_eq!(server.request(method, path, &[TUS], b"").status, 404);
    }
    patch(&server, nothing, 0, b"x").assert_problem(404, "not_found", "no such upload");
    assert_eq!(server.get(&path).status, 405);
}

#[test]
fn methods_may_be_said_in_a_header_in_any_case() {
    let server = Server::start(&[]);
    let path = create(&server, 5, "");
    let send = |method: &'static str, more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[TUS, ("X-HTTP-Method-Override", method)], more].concat();
        server.request("POST", &path, &headers, body)
    };
    let patched = send("Patch", &[BYTES, ("Upload-Offset", "0")], b"hel");
    assert_eq!(patched.status, 204);
    let told = send("Head", &[], b"");
    assert_eq!(
        (told.status, told.header("upload-offset")),
        (200, Some("3"))
    );
    assert_eq!(
        send("OPTIONS", &[], b"").header("tus-version"),
        Some("1.0.0")
    );
    assert_eq!(send("PUT", &[], b"").status, 405);
    assert_eq!(send("delete", &[], b"").status, 204);
    assert_eq!(head(&server, &path).status, 404);
}

#[test]
fn what_is_given_up_leaves_nothing_also_while_it_still_runs() {
    let store = Store::start();
    let variables = store.variables();
    for on_azure in [false, true] {
        let server = Server::start(if on_azure { &variables } else { &[] });
        let before = files_below(&server.folder.path().join("attache-data/objects"));
        let bytes = noise(100_000);
        let path = create(&server, bytes.len(), "");
        assert_eq!(patch(&server, &path, 0, &bytes[..50_000]).status, 204);
        let running = begin_patch(&server, &path, 50_000, 50_000, &bytes[50_000..60_000]);
        assert_eq!(server.request("DELETE", &path, &[TUS], b"").status, 204);
        assert_eq!(head(&server, &path).status, 404);
        drop(running);
        assert_eq!(server.figure("attache_uploads_partial"), 0);
        let after = files_below(&server.folder.path().join("attache-data/objects"));
        assert_eq!(before, after);
    }
    assert_eq!(store.staged_blocks(), 0);
}

#[test]
fn a_creation_alone_costs_the_store_and_the_quota_nothing_and_is_counted_and_listed() {
    let server = Server::start(&[("ATTACHE_UPLOAD__TOTAL_BYTES", "1MiB")]);
    let objects = server.folder.path().join("attache-data/objects");
    let before = files_below(&objects);
    for _ in 0..5 {
        create(&server, 1_000_000, NAME);
    }
    assert_eq!(files_below(&objects), before);
    let limits = server.get("/v1/limits").json();
    assert_eq!(limits["used_bytes"], 0);
    assert_eq!(server.figure("attache_uploads_partial"), 5);
    let page = server.get("/v1/admin/uploads?limit=3").json();
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    assert_eq!(page["items"][0]["length"], 1_000_000);
    let next = page["next"].as_str().unwrap();
    let page = server
        .get(&format!("/v1/admin/uploads?limit=3&after={next}"))
        .json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert!(page["next"].is_null());
    // Bytes are counted as they come, and what does not fit is refused with what came before kept.
    let (one, two) = (create(&server, 800_000, ""), create(&server, 800_000, ""));
    let bytes = noise(800_000);
    assert_eq!(patch(&server, &one, 0, &bytes[..600_000]).status, 204);
    assert_eq!(server.get("/v1/limits").json()["used_bytes"], 600_000);
    patch(&server, &two, 0, &bytes[..600_000]).assert_problem(413, "quota_exceeded", "no room");
    assert_eq!(offset(&server, &two), 0);
    assert_eq!(patch(&server, &one, 600_000, &bytes[600_000..]).status, 204);
    assert_stored(&server, &one, &bytes);
    assert_eq!(server.get("/v1/limits").json()["used_bytes"], 800_000);
}

#[test]
fn an_upload_is_its_callers_alone() {
    let server = Server::start(&[("ATTACHE_AUTH__MODE", "token")]);
    let token = |name: &str, scope: &str, owner: &str| {
        let made = support::command(server.folder.path(), &[])
            .args([
                "token", "create", "--json", "--name", name, "--scope", scope,
            ])
            .args(["--owner", owner])
            .output()
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        format!("Bearer {}", json["token"].as_str().unwrap())
    };
    let (one, two) = (token("one", "write", "*"), token("two", "write", "page:*"));
    let reader = token("reader", "read", "*");
    // A running server notices within a second.
    while server
        .request("GET", "/v1/attachments", &[("Authorization", &reader)], b"")
        .status
        == 401
    {
        std::thread::yield_now();
    }
    let ask = |method: &str, path: &str, who: &str, more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[TUS, ("Authorization", who)], more].concat();
        server.request(method, path, &headers, body)
    };
    let length = [("Upload-Length", "5")];
    ask("POST", "/v1/uploads", &reader, &length, b"").assert_problem(403, "forbidden", "no right");
    ask("POST", "/v1/uploads", &two, &length, b"").assert_problem(403, "forbidden", "no owner");
    let no_one = server.request("POST", "/v1/uploads", &[TUS, length[0]], b"");
    no_one.assert_problem(401, "unauthorized", "nobody");
    let path = path_of(&ask("POST", "/v1/uploads", &one, &length, b""));
    let bytes = [BYTES, ("Upload-Offset", "0")];
    for other in [&two, &reader] {
        assert_eq!(ask("HEAD", &path, other, &[], b"").status, 404);
        ask("PATCH", &path, other, &bytes, b"hello").assert_problem(404, "not_found", "another's");
        ask("DELETE", &path, other, &[], b"").assert_problem(404, "not_found", "another's");
    }
    assert_eq!(ask("HEAD", &path, &one, &[], b"").status, 200);
    assert_eq!(ask("PATCH", &path, &one, &bytes, b"hello").status, 204);
}

#[test]
fn many_senders_that_pause_leave_memory_for_one_more() {
    let server = Server::start(&[("ATTACHE_MEMORY__TRANSFER_BYTES", "32MiB")]);
    let bytes = noise(20_000_000);
    let mut slow = Vec::new();
    for number in 0..40 {
        let path = create(&server, bytes.len(), "");
        slow.push(begin_patch(&server, &path, 0, bytes.len(), &bytes[..1000]));
        await_bytes(&server, (number + 1) * 1000);
    }
    let path = create(&server, bytes.len(), "");
    assert_eq!(patch(&server, &path, 0, &bytes).status, 204);
    assert_stored(&server, &path, &bytes);
}

/// The server closes a connection without an answer.
fn assert_told_nothing(mut connection: TcpStream) {
    let mut answer = Vec::new();
    connection
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    if let Err(error) = connection.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_sender_that_is_silent_for_too_long_is_told_nothing_and_may_go_on() {
    let server = Server::start(&[("ATTACHE_UPLOAD__IDLE_TIMEOUT", "1s")]);
    let bytes = noise(100_000);
    let path = create(&server, bytes.len(), "");
    assert_told_nothing(begin_patch(
        &server,
        &path,
        0,
        bytes.len(),
        &bytes[..60_000],
    ));
    assert_eq!(offset(&server, &path), 60_000);
    assert_eq!(patch(&server, &path, 60_000, &bytes[60_000..]).status, 204);
    assert_stored(&server, &path, &bytes);
}

#[test]
fn a_creation_whose_bytes_stop_coming_is_told_nothing_and_leaves_no_upload() {
    let server = Server::start(&[("ATTACHE_UPLOAD__IDLE_TIMEOUT", "1s")]);
    let mut silent = server.connect();
    let request = "POST /v1/uploads HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 100000\r\n\
                   Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n";
    silent.write_all(request.as_bytes()).unwrap();
    silent.write_all(&noise(60_000)).unwrap();
    assert_told_nothing(silent);
    let waiting = server.request("GET", "/v1/admin/uploads", &[], b"");
    assert_eq!(waiting.json()["items"], serde_json::json!([]));
}

#[test]
fn lengths_that_no_file_has_are_refused_and_break_nothing() {
    let server = Server::start(&[]);
    let json = [("Content-Type", "application/json")];
    for length in [(1_u64 << 53) + 1, i64::MAX as u64] {
        let length = length.to_string();
        let answer = server.request(
            "POST",
            "/v1/uploads",
            &[TUS, ("Upload-Length", &length)],
            b"",
        );
        answer.assert_problem(413, "too_large", "tus");
        let body = format!("{{\"size\":{length}}}");
        let direct = server.request("POST", "/v1/uploads:direct", &json, body.as_bytes());
        direct.assert_problem(413, "too_large", "direct");
    }
    for _ in 0..3 {
        let body = format!("{{\"size\":{}}}", 1_u64 << 53);
        let direct = server.request("POST", "/v1/uploads:direct", &json, body.as_bytes());
        assert_eq!(direct.status, 201, "{}", direct.text());
    }
    let later = [TUS, ("Upload-Defer-Length", "1")];
    let path = path_of(&server.request("POST", "/v1/uploads", &later, b""));
    let headers = [
        TUS,
        BYTES,
        ("Upload-Offset", "0"),
        ("Upload-Length", "9007199254740993"),
    ];
    let answer = server.request("PATCH", &path, &headers, b"x");
    answer.assert_problem(413, "too_large", "a length that comes later");
    let path = create(&server, 5, "");
    assert_eq!(patch(&server, &path, 0, b"hello").status, 204);
    assert_stored(&server, &path, b"hello");
    assert_eq!(server.get("/v1/limits").json()["used_bytes"], 5);
}

#[test]
fn what_lies_too_long_is_gone_for_its_client_and_swept() {
    let store = Store::start();
    let mut variables = store.variables();
    variables.push(("ATTACHE_UPLOAD__PARTIAL_LIFETIME", "1m"));
    let server = Server::start(&variables);
    let path = create(&server, 100_000, "");
    assert_eq!(patch(&server, &path, 0, &noise(50_000)).status, 204);
    let catalog = server.folder.path().join("attache-data/attache.db");
    let id = path.rsplit('/').next().unwrap();
    // A minute later.
    let database = rusqlite::Connection::open(catalog).unwrap();
    database
        .execute("UPDATE uploads SET expires_ms = 1 WHERE id = ?1", [id])
        .unwrap();
    database
        .execute(
            "UPDATE attachments SET upload_expires_ms = 1 WHERE id = ?1",
            [id],
        )
        .unwrap();
    assert_eq!(head(&server, &path).status, 404);
    assert_eq!(patch(&server, &path, 50_000, b"x").status, 404);
    let swept = server.request("POST", "/v1/admin/sweep", &[], b"").json();
    assert_eq!(swept["uploads_removed"], 1, "{swept}");
    assert_eq!(store.staged_blocks(), 0);
    assert_eq!(server.figure("attache_uploads_partial"), 0);
}
