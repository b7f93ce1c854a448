//! The contract's table through a real socket, and what happens to requests that break it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use support::{Part, Server, field, file, form, noise, read_answer};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

fn id(json: &serde_json::Value) -> String {
    json["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_form_is_stored_and_given_back_whole_by_name_and_type() {
    let server = Server::start(&[]);
    let bytes = noise(3_000_000);
    let answer = server.post_form(&[
        field("owner", "page:42"),
        field("created_by", "user:7"),
        file("写真.png", "image/png", &bytes),
    ]);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let json = answer.json();
    let id = id(&json);
    assert_eq!(
        answer.header("location"),
        Some(format!("/v1/attachments/{id}").as_str())
    );
    assert_eq!(json["owner"], "page:42");
    assert_eq!(json["created_by"], "user:7");
    assert_eq!(json["filename"], "写真.png");
    assert_eq!(json["size"], 3_000_000);
    // The bytes are no PNG, whatever their sender says.
    assert_eq!(json["content_type"], "application/octet-stream");
    assert!(json["created_at"].as_str().unwrap().ends_with('Z'));
    let download = server.get(&format!("/download/{id}"));
    assert_eq!(download.status, 200);
    assert!(download.body == bytes);
    assert_eq!(
        download.header("content-disposition"),
        Some("attachment; filename=\"__.png\"; filename*=UTF-8''%E5%86%99%E7%9C%9F.png")
    );
    assert_eq!(download.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.get(&format!("/v1/attachments/{id}")).json(), json);
    let root = server.folder.path().join("attache-data/objects");
    assert!(
        root.join(format!("attachment/{id}.png")).exists(),
        "the object key of the contract"
    );
}

#[test]
fn raw_bodies_of_known_and_unknown_length_are_stored() {
    let server = Server::start(&[]);
    let json = server.put("filename=a%20b.png", "image/png", PNG);
    assert_eq!(
        (&json["filename"], &json["content_type"]),
        (&"a b.png".into(), &"image/png".into())
    );
    let shown = server.get(&format!("/attachment/{}", id(&json)));
    assert_eq!(
        shown.header("content-disposition"),
        Some("inline; filename=\"a b.png\"")
    );
    assert!(
        server
            .folder
            .path()
            .join(format!("attache-data/objects/user/{}.png", id(&json)))
            .exists()
    );

    let chunked = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let answer = server.request(
        "POST",
        "/v1/attachments",
        &[("transfer-encoding", "chunked")],
        chunked,
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["filename"], "file.txt");
    let text = server.get(&format!("/attachment/{}", id(&answer.json())));
    assert_eq!(text.body, b"hello world");
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn an_empty_file_is_fine() {
    let server = Server::start(&[]);
    let json = server.put("filename=empty.txt", "text/plain", b"");
    assert_eq!(json["size"], 0);
    let answer = server.get(&format!("/download/{}", id(&json)));
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let form = server.post_form(&[file("empty.bin", "application/octet-stream", b"")]);
    assert_eq!(form.json()["size"], 0);
}

#[test]
fn ranges_conditions_and_head_follow_rfc_9110() {
    let server = Server::start(&[]);
    let bytes = noise(1000);
    let id = id(&server.put("filename=a.bin", "application/octet-stream", &bytes));
    let target = format!("/attachment/{id}");
    let whole = server.get(&target);
    let tag = whole.header("etag").unwrap().to_owned();
    let modified = whole.header("last-modified").unwrap().to_owned();
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));

    let ask = |headers: &[(&str, &str)]| server.request("GET", &target, headers, b"");
    let part = ask(&[("range", "bytes=10-19")]);
    assert_eq!((part.status, &part.body[..]), (206, &bytes[10..20]));
    assert_eq!(part.header("content-range"), Some("bytes 10-19/1000"));
    assert_eq!(ask(&[("range", "bytes=-5")]).body, &bytes[995..]);
    assert_eq!(ask(&[("range", "bytes=990-")]).body, &bytes[990..]);
    let outside = ask(&[("range", "bytes=1000-")]);
    outside.assert_problem(416, "bad_range", "behind the end");
    assert_eq!(outside.header("content-range"), Some("bytes */1000"));
    assert_eq!(
        ask(&[("range", "bytes=0-9"), ("if-range", "\"other\"")]).status,
        200
    );

    let same = ask(&[("if-none-match", &tag)]);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.header("etag"), Some(tag.as_str()));
    assert_eq!(ask(&[("if-modified-since", &modified)]).status, 304);
    ask(&[("if-match", "\"other\"")]).assert_problem(412, "precondition_failed", "another tag");

    let mut stream = server.connect();
    write!(
        stream,
        "HEAD {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut head = String::new();
    std::io::Read::read_to_string(&mut stream, &mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.to_lowercase().contains("content-length: 1000\r\n"),
        "{head}"
    );
    assert!(head.ends_with("\r\n\r\n"), "no body");
}

#[test]
fn listings_are_newest_first_in_pages_and_by_owner() {
    let server = Server::start(&[]);
    let ids: Vec<String> = (0..7)
        .map(|i| {
            let owner = if i % 2 == 0 { "page:even" } else { "page:odd" };
            id(&server.put(
                &format!("owner={owner}&filename={i}.txt"),
                "text/plain",
                b"x",
            ))
        })
        .collect();
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = server
            .get(&format!("/v1/attachments?limit=3{after}"))
            .json();
        seen.extend(page["items"].as_array().unwrap().iter().map(id));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids.iter().rev().cloned().collect::<Vec<_>>());
    let odd = server.get("/v1/attachments?owner=page:odd").json();
    assert_eq!(odd["items"].as_array().unwrap().len(), 3);
    assert_eq!(odd["next"], serde_json::Value::Null);

    let next = server.get("/v1/attachments?limit=1").json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    for bad in [
        format!("after={next}&owner=page:odd"),
        "after=nonsense".to_owned(),
        "after=MSAx".to_owned(),
        "limit=0".to_owned(),
        "limit=1001".to_owned(),
        "limit=x".to_owned(),
        "owner=nonsense".to_owned(),
        "unknown=1".to_owned(),
    ] {
        server
            .get(&format!("/v1/attachments?{bad}"))
            .assert_problem(400, "bad_request", &bad);
    }
}

#[test]
fn deleting_removes_bytes_and_record_and_can_be_repeated() {
    let server = Server::start(&[]);
    let one = id(&server.put("filename=a.txt&owner=page:1", "text/plain", b"a"));
    for _ in 0..2 {
        let answer = server.request("DELETE", &format!("/v1/attachments/{one}"), &[], b"");
        assert_eq!(answer.status, 204);
    }
    server
        .get(&format!("/download/{one}"))
        .assert_problem(404, "not_found", "deleted");
    server.assert_empty("deleted");

    let two = id(&server.put("filename=a.txt&owner=page:1", "text/plain", b"a"));
    let three = id(&server.put("filename=a.txt&owner=page:2", "text/plain", b"a"));
    let delete =
        |body: String| server.request("POST", "/v1/attachments:delete", &[], body.as_bytes());
    let done = delete(format!("{{\"ids\":[\"{two}\",\"{one}\"]}}")).json();
    assert_eq!(done["results"][0]["outcome"], "deleted");
    assert_eq!(done["results"][1]["outcome"], "absent");
    assert_eq!(
        delete("{\"owner\":\"page:2\"}".into()).json()["results"][0]["id"],
        three.as_str()
    );
    server.assert_empty("bulk");
    for bad in [
        "{}",
        "{\"ids\":[\"../x\"]}",
        "{\"ids\":[],\"owner\":\"a:b\"}",
        "nonsense",
        "{\"idz\":[]}",
    ] {
        delete(bad.into()).assert_problem(400, "bad_request", bad);
    }
    let many = format!("{{\"ids\":[{}]}}", vec!["\"a\""; 1001].join(","));
    delete(many).assert_problem(400, "bad_request", "1001 ids");
}

#[test]
fn temporary_links_work_until_changed() {
    let server = Server::start(&[]);
    let id = id(&server.put("filename=a.txt", "text/plain", b"hello"));
    let url = |body: &str| {
        server.request(
            "POST",
            &format!("/v1/attachments/{id}/url"),
            &[],
            body.as_bytes(),
        )
    };
    let first = url("{\"lifetime\":\"120s\",\"disposition\":\"attachment\"}").json();
    let link = first["url"].as_str().unwrap();
    let target = link
        .strip_prefix(&format!("http://{}", server.address))
        .expect("a link to us");
    assert!(target.starts_with("/download/"));
    let expires_in = first["expires_in"].as_u64().unwrap();
    assert!((50..=120).contains(&expires_in), "{expires_in}");
    let answer = server.get(target);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    for changed in [
        target.replace("/download/", "/attachment/"),
        target.replace("sig=", "sig=A"),
        target.replace("expires=1", "expires=2"),
        target.split("&sig").next().unwrap().to_owned(),
    ] {
        server
            .get(&changed)
            .assert_problem(403, "forbidden", &changed);
    }
    for bad in [
        "{\"lifetime\":\"3h\"}",
        "{\"lifetime\":\"soon\"}",
        "{\"lifetime\":\"1s\"}",
        "{\"disposition\":\"x\"}",
        "{\"x\":1}",
    ] {
        url(bad).assert_problem(400, "bad_request", bad);
    }
    let unknown = server.request("POST", "/v1/attachments/unknown/url", &[], b"");
    unknown.assert_problem(404, "not_found", "unknown id");
}

#[test]
fn digests_are_verified_and_a_mismatch_keeps_nothing() {
    let server = Server::start(&[]);
    let good = [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        (
            "content-digest",
            "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        ),
    ];
    let put =
        |headers: &[(&str, &str)]| server.request("POST", "/v1/attachments", headers, b"hello");
    let stored = put(&good);
    assert_eq!(stored.status, 201, "{}", stored.text());
    server.request("DELETE", stored.header("location").unwrap(), &[], b"");
    for (bad, code) in [
        (
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            "digest_mismatch",
        ),
        (
            (
                "content-digest",
                "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
            ),
            "digest_mismatch",
        ),
        (("content-md5", "short"), "bad_request"),
        (("content-digest", "sha-256=nonsense"), "bad_request"),
    ] {
        put(&[bad]).assert_problem(400, code, bad.1);
    }
    let mut part = file("a.txt", "text/plain", b"hello");
    part.extra = "content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    server
        .post_form(&[part])
        .assert_problem(400, "digest_mismatch", "digest of the part");
    server.assert_empty("digests");
}

#[test]
fn an_idempotency_key_makes_a_retry_return_the_first_result() {
    let server = Server::start(&[]);
    let put = |name: &str, key: &str| {
        let target = format!("/v1/attachments?filename={name}");
        server.request("POST", &target, &[("idempotency-key", key)], b"hello")
    };
    let first = put("a.txt", "k1");
    assert_eq!(put("a.txt", "k1").json(), first.json());
    assert_ne!(put("a.txt", "k2").json()["id"], first.json()["id"]);
    put("other.txt", "k1").assert_problem(409, "conflict", "another file");
    assert_eq!(server.get("/v1/status").json()["catalog"]["attachments"], 2);
}

#[test]
fn what_breaks_the_rules_is_refused_with_a_reason_and_leaves_nothing() {
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1MiB")]);
    let names = ["a/", "..", " . ", "a%0Db.txt"];
    for name in names {
        server
            .post_form(&[file(name, "text/plain", b"x")])
            .assert_problem(400, "bad_request", &name[..name.len().min(20)]);
    }
    for query in [
        "filename=a%2F",
        "filename=a%00b",
        "filename=%8E%CA.png",
        "filename=a%0D%0Ab",
        "owner=nonsense",
        "created_by=%00",
        "nonsense=1",
    ] {
        server
            .request("POST", &format!("/v1/attachments?{query}"), &[], b"x")
            .assert_problem(400, "bad_request", query);
    }
    server
        .post_form(&[])
        .assert_problem(400, "bad_request", "no part");
    server
        .post_form(&[field("owner", "a:b")])
        .assert_problem(400, "bad_request", "no file");
    server
        .post_form(&[file("a", "text/plain", b"x"), file("b", "text/plain", b"y")])
        .assert_problem(400, "bad_request", "two files");
    server
        .post_form(&[file("a", "text/plain", b"x"), field("owner", "a:b")])
        .assert_problem(400, "bad_request", "a field after the file");
    server
        .post_form(&[
            Part {
                name: "surprise",
                ..file("b", "text/plain", b"y")
            },
            file("a", "text/plain", b"x"),
        ])
        .assert_problem(400, "bad_request", "a file in another field");
    server
        .post_form(&[
            field("padding", &"x".repeat(100_000)),
            file("a", "text/plain", b"x"),
        ])
        .assert_problem(400, "bad_request", "a huge field of somebody else");
    server
        .post_form(&[
            field("owner", &"x".repeat(100_000)),
            file("a", "text/plain", b"x"),
        ])
        .assert_problem(400, "bad_request", "a huge field");
    let huge = format!("x-padding: {}\r\n", "x".repeat(1_000_000));
    let part = Part {
        extra: &huge,
        ..file("a", "text/plain", b"x")
    };
    server
        .post_form(&[part])
        .assert_problem(400, "bad_request", "a huge part header");

    let post = |content_type: &str, body: &[u8]| {
        server.request(
            "POST",
            "/v1/attachments",
            &[("content-type", content_type)],
            body,
        )
    };
    let whole = form(&[file("a.txt", "text/plain", b"hello")]);
    post("multipart/form-data", &whole).assert_problem(400, "bad_request", "no boundary");
    post("multipart/form-data; boundary=wrong", &whole).assert_problem(
        400,
        "bad_request",
        "wrong boundary",
    );
    let typed = format!("multipart/form-data; boundary={}", support::BOUNDARY);
    post(&typed, &whole[..whole.len() - 20]).assert_problem(400, "bad_request", "cut off");

    let large = vec![1; 1024 * 1024 + 1];
    post("image/png", &large).assert_problem(413, "too_large", "declared");
    server
        .post_form(&[file("a", "image/png", &large)])
        .assert_problem(413, "too_large", "while streaming");
    server
        .request(
            "POST",
            "/v1/attachments",
            &[("content-encoding", "gzip")],
            b"x",
        )
        .assert_problem(400, "bad_request", "an encoding");
    server.assert_empty("bad input");
}

#[test]
fn a_lying_length_or_a_broken_connection_leaves_nothing() {
    let server = Server::start(&[]);
    // Fewer bytes than promised.
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nhello"
    )
    .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    drop(stream);
    // A chunked body without its end.
    let mut stream = server.connect();
    write!(stream, "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").unwrap();
    drop(stream);
    server.await_status("uploads end", |status| {
        status["streams"]["uploads_open"] == 0
    });
    server.await_status("nothing stays", |status| {
        status["catalog"]["reserved_bytes"] == 0
    });
    server.assert_empty("broken connections");
    server
        .send(b"POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n")
        .text()
        .starts_with("HTTP/1.1 400")
        .then_some(())
        .expect("a malformed length is refused");
}

#[test]
fn an_upload_that_is_too_large_is_refused_before_it_is_sent() {
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1KiB")]);
    let mut stream = server.connect();
    write!(stream, "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000000\r\nexpect: 100-continue\r\n\r\n").unwrap();
    let answer = read_answer(&mut stream);
    answer.assert_problem(413, "too_large", "five gigabytes");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_refused_sender_reads_the_answer_although_it_sends_on() {
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1KiB")]);
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n"
    )
    .unwrap();
    // All of it is sent before the answer is read; without lingering this ends in a reset.
    stream.write_all(&noise(8_000_000)).expect("it is taken");
    read_answer(&mut stream).assert_problem(413, "too_large", "eight megabytes");
}

#[test]
fn uploads_at_the_same_time_cannot_overshoot_the_quota() {
    let server = Server::start(&[("ATTACHE_UPLOAD__TOTAL_BYTES", "1000000")]);
    let bytes = noise(300_000);
    let outcomes: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|i| {
                let (server, bytes) = (&server, &bytes);
                scope.spawn(move || {
                    // Half with a length, half without.
                    let answer = if i % 2 == 0 {
                        server.request("POST", "/v1/attachments", &[], bytes)
                    } else {
                        let mut body = format!("{:x}\r\n", bytes.len()).into_bytes();
                        body.extend_from_slice(bytes);
                        body.extend_from_slice(b"\r\n0\r\n\r\n");
                        server.request(
                            "POST",
                            "/v1/attachments",
                            &[("transfer-encoding", "chunked")],
                            &body,
                        )
                    };
                    if answer.status != 201 {
                        answer.assert_problem(413, "quota_exceeded", "over the quota");
                    }
                    answer.status
                })
            })
            .collect();
        all.into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let stored = outcomes.iter().filter(|status| **status == 201).count();
    assert_eq!(stored, 3, "{outcomes:?}");
    let limits = server.get("/v1/limits?size=200000").json();
    assert_eq!(
        (&limits["uploadable"], &limits["reason"]),
        (&false.into(), &"quota_exceeded".into())
    );
    assert_eq!(limits["used_bytes"], 900_000);
    assert_eq!(
        server.get("/v1/limits?size=100000").json()["uploadable"],
        true
    );
}

#[test]
fn unknown_and_hostile_ids_are_not_found() {
    let server = Server::start(&[]);
    for id in [
        "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11",
        "..%2F..%2Fattache.db",
        "%2e%2e%2fattache.db",
        "a%00b",
        "a.png",
        &"x".repeat(65),
    ] {
        for target in [
            format!("/attachment/{id}"),
            format!("/download/{id}"),
            format!("/v1/attachments/{id}"),
        ] {
            server
                .get(&target)
                .assert_problem(404, "not_found", &target);
        }
    }
    server
        .get("/attachment/../attache.db")
        .assert_problem(404, "not_found", "dots in the path");
    server
        .get("/nothing/here")
        .assert_problem(404, "not_found", "unknown path");
    server
        .request("PUT", "/v1/attachments", &[], b"")
        .assert_problem(405, "method_not_allowed", "PUT");
}

#[test]
fn delegate_names_an_internal_path_to_a_known_proxy_and_sends_everybody_else_the_bytes() {
    let delegate = ("ATTACHE_DELIVERY__MODE", "delegate");
    let server = Server::start(&[
        delegate,
        ("ATTACHE_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1"),
    ]);
    let json = server.put("filename=a.txt&owner=page:1", "text/plain", b"hello");
    let target = format!("/download/{}", id(&json));
    let answer = server.get(&target);
    let path = format!("/internal/attachment/{}.txt", id(&json));
    assert_eq!(answer.header("x-accel-redirect"), Some(path.as_str()));
    assert_eq!(answer.body, b"");
    assert!(!answer.text().contains("attache-data"), "no path on disk");
    assert_eq!(server.get(&format!("{target}?via=relay")).body, b"hello");

    for proxies in ["", "10.0.0.0/8"] {
        let server = Server::start(&[delegate, ("ATTACHE_SERVER__TRUSTED_PROXIES", proxies)]);
        let json = server.put("filename=a.txt", "text/plain", b"hello");
        let target = format!("/download/{}", id(&json));
        // Nothing that a client says makes it a proxy.
        let claims = [
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let answer = server.request("GET", &target, &claims, b"");
        assert_eq!(answer.header("x-accel-redirect"), None, "{proxies:?}");
        assert_eq!(answer.body, b"hello", "{proxies:?}");
    }
}

#[test]
fn markup_is_never_shown() {
    let server = Server::start(&[("ATTACHE_DELIVERY__INLINE_TYPES", "image/*,text/*")]);
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    for (name, claim, bytes) in [
        ("a.svg", "image/svg+xml", &svg[..]),
        (
            "a.html",
            "text/html",
            b"<!doctype html><script>alert(1)</script>",
        ),
        (
            "a.png",
            "image/png",
            b"<!doctype html><script>alert(1)</script>",
        ),
    ] {
        let json = server.put(&format!("filename={name}"), claim, bytes);
        let answer = server.get(&format!("/attachment/{}", id(&json)));
        assert!(
            answer
                .header("content-disposition")
                .unwrap()
                .starts_with("attachment"),
            "{name}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream"),
            "{name}"
        );
        assert!(
            answer
                .header("content-security-policy")
                .unwrap()
                .contains("sandbox"),
            "{name}"
        );
    }
}

#[test]
fn the_service_describes_and_watches_itself() {
    let server = Server::start(&[]);
    server.put("filename=a.txt", "text/plain", b"hello");
    let openapi = server.get("/openapi.json").json();
    assert_eq!(openapi["openapi"], "3.1.0");
    for path in [
        "/v1/attachments",
        "/v1/attachments/{id}",
        "/v1/attachments:delete",
        "/v1/attachments/{id}/url",
        "/attachment/{id}",
        "/download/{id}",
        "/v1/limits",
        "/v1/status",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/admin/reload",
        "/v1/admin/sweep",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    let figures = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "attache_operations_total{operation=\"upload\",backend=\"local\",outcome=\"ok\"} 1",
        "attache_streams_open{direction=\"in\"} 0",
        "attache_catalog_attachments 1",
        "attache_catalog_bytes 5",
        "attache_transfer_memory_limit_bytes 268435456",
        "attache_config_generation 1",
        "attache_clients_built_total{backend=\"local\"} 1",
    ] {
        assert!(figures.contains(line), "{line} in {figures}");
    }
    let swept = server.request("POST", "/v1/admin/sweep", &[], b"").json();
    assert_eq!(swept["uploads_removed"], 0);
    let page = server.get("/");
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'self'")
    );
    for asset in ["app.js", "style.css", "favicon.svg"] {
        assert_eq!(
            server.get(&format!("/assets/{asset}")).status,
            200,
            "{asset}"
        );
    }
}

#[test]
fn damage_aborts_the_download_instead_of_ending_it_and_a_lost_file_is_an_error() {
    let server = Server::start(&[]);
    let json = server.put(
        "filename=a.bin",
        "application/octet-stream",
        &noise(4_000_000),
    );
    let path = server
        .folder
        .path()
        .join(format!("attache-data/objects/user/{}.bin", id(&json)));
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[3_999_999] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let answer = server.get(&format!("/download/{}", id(&json)));
    assert_eq!(answer.status, 200);
    assert!(answer.truncated, "the last byte never comes");
    std::fs::write(&path, &damaged[..1000]).unwrap();
    server
        .get(&format!("/download/{}", id(&json)))
        .assert_problem(500, "bytes_missing", "bytes are missing");
    std::fs::remove_file(&path).unwrap();
    server
        .get(&format!("/download/{}", id(&json)))
        .assert_problem(500, "bytes_missing", "the bytes are gone");
    // It is known now.
    let head = server.request("HEAD", &format!("/download/{}", id(&json)), &[], b"");
    assert_eq!(head.status, 500, "{}", head.head);
    assert!(
        !server
            .get(&format!("/download/{}", id(&json)))
            .text()
            .contains("attache-data")
    );
}

#[test]
fn a_later_part_that_cannot_be_opened_aborts_the_answer_instead_of_ending_it() {
    let server = Server::start(&[]);
    // More than the buffers of a connection take, so that the second part is not open yet.
    let json = server.put("filename=a.bin", "", &noise(30_000_000));
    let path = format!("attache-data/objects/user/{}.bin", id(&json));
    let mut stream = server.connect();
    write!(
        stream,
        "GET /download/{} HTTP/1.1\r\nhost: a\r\nrange: bytes=0-28999999,29500000-\r\n\r\n",
        id(&json)
    )
    .unwrap();
    // It has begun.
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    std::fs::remove_file(server.folder.path().join(path)).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 206, "{}", answer.head);
    assert!(answer.truncated, "{} bytes came", answer.body.len());
    assert!(answer.body.len() > 28_000_000, "the first part was open");
}

#[test]
fn stopping_lets_a_running_upload_finish() {
    let mut server = Server::start(&[]);
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments?filename=a.txt HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello"
    )
    .unwrap();
    server.await_status("it runs", |status| status["streams"]["uploads_open"] == 1);
    server.signal("TERM");
    // It accepts no more, and this transfer goes on.
    while std::net::TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(b"world").unwrap();
    assert_eq!(read_answer(&mut stream).status, 201);
    assert_eq!(server.wait(Duration::from_secs(20)), Some(0));
}

#[test]
fn stopping_does_not_wait_for_those_who_asked_for_nothing() {
    let mut server = Server::start(&[
        ("ATTACHE_SERVER__SHUTDOWN_GRACE", "1h"),
        ("ATTACHE_LIMITS__HEAD_TIMEOUT", "1h"),
    ]);
    let silent = server.connect();
    let mut undecided = server.connect();
    undecided.write_all(b"PRI").unwrap();
    let mut resting = server.connect();
    write!(resting, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    // The last of them is served, so all of them are accepted.
    assert_eq!(read_answer(&mut resting).status, 200);
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(20)), Some(0));
    drop((silent, undecided, resting));
}

#[test]
fn the_grace_is_over_and_what_still_runs_is_cut_and_leaves_nothing() {
    let mut server = Server::start(&[("ATTACHE_SERVER__SHUTDOWN_GRACE", "1s")]);
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello"
    )
    .unwrap();
    server.await_status("it runs", |status| status["streams"]["uploads_open"] == 1);
    server.signal("INT");
    assert_eq!(server.wait(Duration::from_secs(20)), Some(0));
    assert_eq!(
        support::files_below(&server.folder.path().join("attache-data/objects")),
        Vec::<String>::new()
    );
}

#[test]
fn a_second_signal_cuts_at_once() {
    let mut server = Server::start(&[("ATTACHE_SERVER__SHUTDOWN_GRACE", "1h")]);
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello"
    )
    .unwrap();
    server.await_status("it runs", |status| status["streams"]["uploads_open"] == 1);
    server.signal("TERM");
    while std::net::TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    server.signal("TERM");
    assert_eq!(server.wait(Duration::from_secs(20)), Some(0));
}

#[test]
fn each_download_is_counted_once_by_how_it_ended() {
    let server = Server::start(&[]);
    let large = server.put(
        "filename=a.bin",
        "application/octet-stream",
        &noise(3_000_000),
    );
    let empty = server.put("filename=b.bin", "application/octet-stream", b"");
    for json in [&large, &empty] {
        assert_eq!(server.get(&format!("/download/{}", id(json))).status, 200);
    }
    let range = [("range", "bytes=10-19")];
    let part = server.request("GET", &format!("/download/{}", id(&large)), &range, b"");
    assert_eq!(part.body.len(), 10);
    server.request("HEAD", &format!("/download/{}", id(&large)), &[], b"");
    // One that leaves as soon as it has an answer: more is under way than the connection holds.
    let huge = server.put(
        "filename=c.bin",
        "application/octet-stream",
        &noise(40_000_000),
    );
    let mut stream = server.connect();
    write!(
        stream,
        "GET /download/{} HTTP/1.1\r\nhost: a\r\n\r\n",
        id(&huge)
    )
    .unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    drop(stream);
    server.await_status("it has left", |status| {
        status["streams"]["downloads_open"] == 0
    });
    // One whose bytes are not there: it fails before it begins, and that is not the client's doing.
    let objects = server.folder.path().join("attache-data/objects");
    let stored = support::files_below(&objects)
        .into_iter()
        .find(|file| std::fs::metadata(file).unwrap().len() >= 40_000_000)
        .unwrap();
    std::fs::write(stored, b"short").unwrap();
    let target = format!("/download/{}", id(&huge));
    assert_eq!(server.get(&target).status, 500);
    let ended = server.get("/v1/status").json()["streams"]["downloads_ended"].clone();
    assert_eq!(
        ended,
        serde_json::json!({"client_gone": 1, "complete": 3, "resumed": 0, "timeout": 0, "upstream_failed": 1})
    );
    let figures = server.get("/metrics").text();
    for line in [
        "attache_operations_total{operation=\"relay\",backend=\"local\",outcome=\"ok\"} 4",
        "attache_operations_total{operation=\"relay\",backend=\"local\",outcome=\"client_gone\"} 1",
        "attache_transferred_bytes_total{direction=\"in\"} 43000000",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
}

#[test]
fn links_have_a_host_that_is_ours_whatever_a_client_names() {
    let server = Server::start(&[
        ("ATTACHE_SERVER__PUBLIC_URL", "https://files.example.org"),
        ("ATTACHE_SERVER__HOSTS", "files.internal:8080, files.lan"),
    ]);
    let json = server.put("filename=a.txt", "text/plain", b"hello");
    let target = format!("/v1/attachments/{}/url", json["id"].as_str().unwrap());
    for (host, base) in [
        ("files.internal:8080", "http://files.internal:8080/"),
        ("FILES.lan", "http://FILES.lan/"),
        ("evil.example", "https://files.example.org/"),
        ("files.internal", "https://files.example.org/"),
    ] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let url = server.send(request.as_bytes()).json()["url"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(url.starts_with(base), "{host}: {url}");
    }
    // It is the same link on every name.
    let url = server.request("POST", &target, &[], b"").json()["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = url.strip_prefix("https://files.example.org").unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: files.lan\r\nconnection: close\r\n\r\n");
    assert_eq!(server.send(request.as_bytes()).body, b"hello");
}

#[test]
fn an_attachment_that_was_made_before_1970_is_delivered() {
    let mut server = Server::start(&[]);
    let json = server.put("filename=a.txt", "text/plain", b"hello");
    server.kill();
    let catalog = server.folder.path().join("attache-data/attache.db");
    let database = rusqlite::Connection::open(catalog).unwrap();
    let sql = "UPDATE attachments SET created_at_ms = -300000000000";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    drop(database);
    server.restart(&[]);
    let answer = server.get(json["links"]["inline"].as_str().unwrap());
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert_eq!(
        answer.header("last-modified"),
        Some("Thu, 01 Jan 1970 00:00:00 GMT")
    );
}
