//! Uploads whose bytes a client sends to the store by itself: they count when attache has read them, and nothing else does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use fake_azure::FakeAzure;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::bucket::hex;
use support::https::{follow, send};
use support::{Answer, Server, files_below, noise};
use test_support::fantoccini::Locator;
use test_support::{Azurite, Chromium};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

struct Store {
    azure: FakeAzure,
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Store {
    fn start(variables: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let azure = runtime.block_on(async {
            let builder = FakeAzure::builder()
                .account("acme")
                .container("files")
                .secret("a-secret");
            builder.start().await.unwrap()
        });
        let relay = [("ATTACHE_DELIVERY__MODE", "relay")];
        let server = Server::start_on(&azure, &[&relay[..], variables].concat());
        Self {
            azure,
            server,
            _runtime: runtime,
        }
    }
}

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    let json = [("Content-Type", "application/json")];
    server.request("POST", path, &json, body.to_string().as_bytes())
}

fn ask(server: &Server, body: &Value) -> Value {
    let answer = post(server, "/v1/uploads:direct", body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    assert_eq!(json["method"], "PUT");
    json
}

fn complete(server: &Server, asked: &Value, body: &Value) -> Answer {
    let path = format!("/v1/uploads/{}:complete", asked["id"].as_str().unwrap());
    post(server, &path, body)
}

/// Sends bytes as it was told to.
fn put(store: Option<&FakeAzure>, server: &Server, asked: &Value, bytes: &[u8]) -> u16 {
    let url = asked["url"].as_str().unwrap();
    let headers = asked["headers"].as_object().unwrap();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    match store {
        None => {
            let path = &url[url.find("/v1/").unwrap()..];
            server.request("PUT", path, &headers, bytes).status
        }
        Some(azure) => send(url, azure.ca_pem(), "PUT", &headers, bytes).status,
    }
}

/// On both kinds of store.
fn on_each(variables: &[(&str, &str)], case: impl Fn(&Server, Option<&FakeAzure>)) {
    case(&Server::start(variables), None);
    let store = Store::start(variables);
    case(&store.server, Some(&store.azure));
}

#[test]
fn what_a_client_has_put_into_the_store_is_an_attachment_once_it_is_completed() {
    on_each(&[], |server, store| {
        let bytes = [PNG, &noise(500_000)].concat();
        let asked = ask(
            server,
            &json!({"filename": "写真.png", "size": bytes.len(), "content_type": "text/html", "owner": "page:42", "created_by": "user:7"}),
        );
        let id = asked["id"].as_str().unwrap();
        complete(server, &asked, &json!({})).assert_problem(409, "conflict", "nothing came yet");
        assert_eq!(put(store, server, &asked, &bytes), 201);
        assert_eq!(server.get(&format!("/v1/attachments/{id}")).status, 404);
        let sha256 = hex(&Sha256::digest(&bytes));
        for _ in 0..2 {
            let done = complete(server, &asked, &json!({"sha256": sha256}));
            assert_eq!(done.status, 201, "{}", done.text());
            let json = done.json();
            assert_eq!((&json["id"], &json["sha256"]), (&json!(id), &json!(sha256)));
            assert_eq!(json["content_type"], "image/png", "as the bytes say");
            assert_eq!(
                (&json["owner"], &json["created_by"]),
                (&json!("page:42"), &json!("user:7"))
            );
            assert_eq!(json["filename"], "写真.png");
        }
        assert!(server.get(&format!("/download/{id}")).body == bytes);
        assert_eq!(server.figure("attache_uploads_partial"), 0);
        complete(server, &asked, &json!({"sha256": "0".repeat(64)})).assert_problem(
            400,
            "digest_mismatch",
            "another digest",
        );
        // What the store itself would say of it.
        if let Some(azure) = store {
            let blob = azure
                .blob("files", &format!("attachment/{id}.png"))
                .unwrap();
            assert_eq!(blob.content_type.as_deref(), Some("image/png"));
        }
    });
}

#[test]
fn the_right_to_put_is_for_one_object_once_and_for_what_was_promised() {
    on_each(&[], |server, store| {
        let bytes = b"123456789";
        let md5 = "JfnnlDI7RTiF9RgfG2JNCw==";
        let asked = ask(server, &json!({"filename": "a.bin", "size": 9, "md5": md5}));
        assert_eq!(
            put(store, server, &asked, b"987654321"),
            400,
            "another digest"
        );
        assert_eq!(put(store, server, &asked, bytes), 201);
        let again = put(store, server, &asked, bytes);
        assert!(matches!(again, 403 | 409), "{again}: it is there already");
        assert_eq!(complete(server, &asked, &json!({})).status, 201);
        let again = put(store, server, &asked, bytes);
        assert!(matches!(again, 403 | 409), "{again}: it is there already");
        // Another object, another verb, another word.
        let url = asked["url"].as_str().unwrap();
        let next = ask(server, &json!({"filename": "a.bin", "size": 9}));
        let (id, other_id) = (asked["id"].as_str().unwrap(), next["id"].as_str().unwrap());
        let mut forged = next.clone();
        forged["url"] = json!(url.replace(id, other_id));
        assert_eq!(put(store, server, &forged, bytes), 403);
        if let Some(azure) = store {
            for method in ["GET", "DELETE", "HEAD"] {
                assert_eq!(follow(url, azure.ca_pem(), method, &[]).status, 403);
            }
            assert!(
                url.starts_with("https://") && url.contains("sp=c&"),
                "{url}"
            );
        }
    });
}

#[test]
fn what_is_not_what_was_said_is_removed_and_the_next_try_may_be_right() {
    on_each(&[], |server, store| {
        let asked = ask(server, &json!({"filename": "a.bin", "size": 10}));
        let length = put(store, server, &asked, b"short");
        match store {
            // Azure takes any length; attache looks.
            Some(_) => {
                assert_eq!(length, 201);
                complete(server, &asked, &json!({})).assert_problem(
                    400,
                    "digest_mismatch",
                    "another length",
                );
            }
            None => assert_eq!(length, 400),
        }
        assert_eq!(put(store, server, &asked, b"0123456789"), 201);
        let wrong = json!({"sha256": "0".repeat(64)});
        complete(server, &asked, &wrong).assert_problem(400, "digest_mismatch", "another digest");
        complete(server, &asked, &json!({})).assert_problem(409, "conflict", "it was removed");
        assert_eq!(put(store, server, &asked, b"0123456789"), 201);
        assert_eq!(complete(server, &asked, &json!({})).status, 201);
    });
}

#[test]
fn all_of_it_is_reserved_and_what_is_never_completed_is_swept() {
    on_each(
        &[("ATTACHE_UPLOAD__TOTAL_BYTES", "1500")],
        |server, store| {
            let objects = server.folder.path().join("attache-data/objects");
            let asked = ask(server, &json!({"filename": "a.bin", "size": 1000}));
            let second = post(server, "/v1/uploads:direct", &json!({"size": 1000}));
            second.assert_problem(413, "quota_exceeded", "no room");
            assert_eq!(server.get("/v1/limits").json()["used_bytes"], 1000);
            assert_eq!(put(store, server, &asked, &noise(1000)), 201);
            let catalog = server.folder.path().join("attache-data/attache.db");
            let database = rusqlite::Connection::open(catalog).unwrap();
            for change in [
                "UPDATE uploads SET expires_ms = 1",
                "UPDATE attachments SET upload_expires_ms = 1",
            ] {
                assert_eq!(database.execute(change, []).unwrap(), 1);
            }
            complete(server, &asked, &json!({})).assert_problem(404, "not_found", "it has expired");
            let swept = server.request("POST", "/v1/admin/sweep", &[], b"").json();
            assert_eq!(swept["uploads_removed"], 1, "{swept}");
            assert_eq!(server.get("/v1/limits").json()["used_bytes"], 0);
            match store {
                Some(azure) => assert_eq!(azure.blobs().len(), 0),
                None => assert!(
                    !files_below(&objects)
                        .iter()
                        .any(|file| file.ends_with(".bin"))
                ),
            }
        },
    );
}

#[test]
fn what_comes_after_a_deletion_is_removed_and_is_no_attachment() {
    let forget = |server: &Server| {
        let database = server.folder.path().join("attache-data/attache.db");
        let database = rusqlite::Connection::open(database).unwrap();
        database
            .execute("UPDATE attachments SET created_at_ms = 1", [])
            .unwrap();
        let swept = server.request("POST", "/v1/admin/sweep", &[], b"").json();
        assert_eq!(swept["failed"], 0, "{swept}");
        let count = |table| {
            let count = format!("SELECT count(*) FROM {table}");
            database
                .query_row(&count, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!((count("attachments"), count("uploads")), (0, 0));
    };
    // The URL of Azure works whatever we think.
    let store = Store::start(&[]);
    let (server, azure) = (&store.server, &store.azure);
    for complete_first in [false, true] {
        let asked = ask(server, &json!({"filename": "a.bin", "size": 4}));
        if complete_first {
            assert_eq!(put(Some(azure), server, &asked, b"1234"), 201);
            assert_eq!(complete(server, &asked, &json!({})).status, 201);
        }
        let path = format!("/v1/attachments/{}", asked["id"].as_str().unwrap());
        assert_eq!(server.request("DELETE", &path, &[], b"").status, 204);
        assert_eq!(put(Some(azure), server, &asked, b"1234"), 201);
        complete(server, &asked, &json!({})).assert_problem(404, "not_found", "it was deleted");
        assert_eq!(azure.blobs().len(), 1);
        forget(server);
        assert_eq!(azure.blobs().len(), 0);
    }
    // Ours does not, and a PUT that runs leaves nothing.
    let server = Server::start(&[]);
    let asked = ask(&server, &json!({"filename": "a.bin", "size": 200_000}));
    let url = asked["url"].as_str().unwrap();
    let target = &url[url.find("/v1/").unwrap()..];
    let mut running = server.connect();
    let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    running.write_all(head.as_bytes()).unwrap();
    running.write_all(&noise(100_000)).unwrap();
    while server.figure("attache_transferred_bytes_total{direction=\"in\"}") < 100_000 {
        std::thread::yield_now();
    }
    let path = format!("/v1/attachments/{}", asked["id"].as_str().unwrap());
    assert_eq!(server.request("DELETE", &path, &[], b"").status, 204);
    running.write_all(&noise(100_000)).unwrap();
    assert_eq!(support::read_answer(&mut running).status, 404);
    assert_eq!(put(None, &server, &asked, &noise(200_000)), 404);
    forget(&server);
    server.assert_empty("nothing of it is left");
}

#[test]
fn bad_requests_are_told_and_leave_nothing() {
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1MiB")]);
    for (body, code) in [
        (json!({"filename": "a"}), "bad_request"),
        (json!({"size": 5, "md5": "abc"}), "bad_request"),
        (json!({"size": -5}), "bad_request"),
        (json!({"size": 5, "colour": "red"}), "bad_request"),
        (json!({"size": 5, "filename": "a\u{0}b"}), "bad_request"),
        (json!({"size": 5, "owner": "no kind"}), "bad_request"),
        (json!({"size": 1_048_577}), "too_large"),
    ] {
        let answer = post(&server, "/v1/uploads:direct", &body);
        assert_eq!(answer.json()["code"], code, "{body}");
    }
    assert_eq!(server.figure("attache_uploads_partial"), 0);
    let asked = ask(&server, &json!({"size": 5}));
    let id = asked["id"].as_str().unwrap();
    let tus = [("Tus-Resumable", "1.0.0")];
    let path = format!("/v1/uploads/{id}");
    // It is no upload of several requests.
    for method in ["HEAD", "DELETE"] {
        assert_eq!(server.request(method, &path, &tus, b"").status, 404);
    }
    complete(&server, &asked, &json!({"sha256": "x"})).assert_problem(400, "bad_request", "hex");
    complete(&server, &json!({"id": "nothing"}), &json!({})).assert_problem(
        404,
        "not_found",
        "no upload",
    );
    for proof in ["?expires=1&sig=x", "?expires=99999999999&sig=x", ""] {
        let status = server
            .request("PUT", &format!("{path}/content{proof}"), &[], b"12345")
            .status;
        assert!(matches!(status, 400 | 403), "{proof}: {status}");
    }
}

/// A page of another origin, on which a file can be chosen; its origin.
fn page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let html = "<!doctype html><title>a page</title><input type=file id=file>";
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}",
                html.len()
            );
        }
    });
    origin
}

/// What a page does: asks, sends, completes.
const SEND: &str = r#"
    const [base, done] = arguments;
    const api = async (path, body) => {
        const headers = { "content-type": "application/json" };
        const answer = await fetch(base + path, { method: "POST", headers, body: JSON.stringify(body) });
        return { status: answer.status, ...(await answer.json()) };
    };
    (async () => {
        const file = document.getElementById("file").files[0];
        const asked = await api("/v1/uploads:direct", { filename: file.name, size: file.size, content_type: file.type });
        const put = await fetch(asked.url, { method: asked.method, headers: asked.headers, body: file });
        const again = await fetch(asked.url, { method: asked.method, headers: asked.headers, body: "x" });
        const completed = await api(`/v1/uploads/${asked.id}:complete`, {});
        return { put: put.status, etag: put.headers.get("etag"), again: again.status, completed };
    })().then(done, (error) => done({ error: String(error) }));
"#;

/// `ATTACHE_TEST_DIRECT_MIB` sets how large the file is (32).
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_sends_a_file_to_azure_itself_and_only_the_look_passes_through_us() {
    let (Some(azurite), Some(chromium)) = (
        Azurite::start_oauth().await,
        Chromium::start_trusting_all().await,
    ) else {
        return;
    };
    let mebibytes = std::env::var("ATTACHE_TEST_DIRECT_MIB");
    let mebibytes: u64 = mebibytes.map_or(32, |text| text.parse().unwrap());
    let size = mebibytes << 20;
    azurite.create_container("files").await;
    let origin = page();
    azurite.allow_pages(&origin).await;
    let server = Server::start(&[
        ("ATTACHE_STORAGE__BACKEND", "azure"),
        ("AZURE_STORAGE_CONTAINER_NAME", "files"),
        (
            "ATTACHE_STORAGE__AZURE__CONNECTION_STRING",
            &azurite.connection_string(),
        ),
        (
            "ATTACHE_STORAGE__AZURE__CA_FILE",
            azurite.ca_file().unwrap().to_str().unwrap(),
        ),
        ("ATTACHE_SERVER__CORS_ORIGINS", &origin),
    ]);
    let client = chromium.client();
    let mut timeouts = client.get_timeouts().await.unwrap();
    timeouts.set_script(Some(std::time::Duration::from_secs(300)));
    client.update_timeouts(timeouts).await.unwrap();
    client.goto(&format!("{origin}/")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    let mut sha256 = Sha256::new();
    let mut file = std::fs::File::create(&path).unwrap();
    for number in 0..mebibytes {
        let bytes = (0..1_u64 << 20).map(|at| (at * 7 + (at >> 8) + number) as u8);
        let piece: Vec<u8> = bytes.collect();
        sha256.update(&piece);
        file.write_all(&piece).unwrap();
    }
    let input = client.find(Locator::Id("file")).await.unwrap();
    input.send_keys(path.to_str().unwrap()).await.unwrap();
    let before = server.resident_peak();
    let base = format!("http://{}", server.address);
    let told = client.execute_async(SEND, vec![json!(base)]).await.unwrap();
    assert_eq!(told["put"], 201, "{told}");
    assert!(told["etag"].is_string(), "{told}");
    assert!(matches!(told["again"].as_u64(), Some(403 | 409)), "{told}");
    let completed = &told["completed"];
    assert_eq!(
        (&completed["status"], &completed["size"]),
        (&json!(201), &json!(size))
    );
    assert_eq!(completed["sha256"], hex(&sha256.finalize()));
    assert_eq!(
        server.figure("attache_transferred_bytes_total{direction=\"in\"}"),
        0
    );
    let more = server.resident_peak() - before;
    assert!(more < 32 << 20, "{more} bytes more than when it was idle");
}
