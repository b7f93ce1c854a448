//! Files as people send them: the forms of widgets and frameworks, names in whichever encoding, texts in theirs; and who
//! may embed and read what they become.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;

use fake_azure::FakeAzure;
use support::{Answer, BOUNDARY, Part, Server, command, connect, field, file, form, read_answer};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
const SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";

/// A part of which only the value of `Content-Disposition` matters, as bytes.
fn named(disposition: &[u8]) -> Vec<u8> {
    let dashes = format!("--{BOUNDARY}\r\n");
    let end = format!("\r\n\r\nhello\r\n--{BOUNDARY}--\r\n");
    [
        dashes.as_bytes(),
        b"content-disposition: ",
        disposition,
        end.as_bytes(),
    ]
    .concat()
}

fn post(server: &Server, body: &[u8]) -> Answer {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    server.request(
        "POST",
        "/v1/attachments",
        &[("content-type", &content_type)],
        body,
    )
}

fn nothing_chosen(name: &str) -> Part<'_> {
    Part {
        name,
        ..file("", "application/octet-stream", b"")
    }
}

#[test]
fn forms_of_widgets_and_frameworks_are_taken() {
    let server = Server::start(&[]);
    let picture = || file("a.txt", "text/plain", b"hello");
    let token = || field("authenticity_token", "secret");
    for (what, parts) in [
        (
            "fields before",
            vec![
                field("name", "a.txt"),
                field("type", "text/plain"),
                picture(),
            ],
        ),
        ("a button after", vec![picture(), field("go", "Go")]),
        ("a token on both sides", vec![token(), picture(), token()]),
        (
            "a field beside the file",
            vec![field("file", "{}"), picture()],
        ),
        (
            "a field beside the file, after it",
            vec![picture(), field("file", "{}")],
        ),
        (
            "a field, ours, the file",
            vec![field("file", "{}"), field("owner", "page:1"), picture()],
        ),
        (
            "another input in which nothing was chosen",
            vec![nothing_chosen("cover"), picture(), nothing_chosen("cover")],
        ),
        (
            "the same input twice",
            vec![nothing_chosen("file"), picture(), nothing_chosen("file")],
        ),
        ("the charset", vec![field("_charset_", "UTF-8"), picture()]),
    ] {
        let answer = server.post_form(&parts);
        assert_eq!(answer.status, 201, "{what}: {}", answer.text());
        let json = answer.json();
        assert_eq!(
            (&json["filename"], &json["size"]),
            (&"a.txt".into(), &5.into()),
            "{what}"
        );
    }
    // A file without a name, small and not.
    for size in [5, 100_000] {
        let text = "x".repeat(size);
        let answer = server.post_form(&[
            field("owner", "page:1"),
            field("file", &text),
            field("go", "Go"),
        ]);
        assert_eq!(answer.status, 201, "{size}: {}", answer.text());
        assert_eq!(answer.json()["size"], size);
        assert_eq!(answer.json()["filename"], "file.txt");
    }
    let empty = server.post_form(&[file("a.txt", "text/plain", b"")]);
    assert_eq!((empty.status, &empty.json()["size"]), (201, &0.into()));
}

#[test]
fn a_form_is_the_same_however_it_is_cut_into_chunks() {
    let server = Server::start(&[]);
    let body = form(&[
        field("name", "a.txt"),
        field("file", "{}"),
        nothing_chosen("cover"),
        file("写.txt", "text/plain", b"one\r\n--two\r\n"),
        field("go", "Go"),
    ]);
    for size in [1, 2, 7, 64, body.len()] {
        let mut request = format!(
            "POST /v1/attachments HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        .into_bytes();
        for chunk in body.chunks(size) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let json = server.send(&request).json();
        let told = (&json["filename"], &json["size"]);
        assert_eq!(told, (&"写.txt".into(), &12.into()), "{size}: {json:#}");
    }
}

#[test]
fn what_a_form_says_too_late_or_twice_is_refused() {
    let server = Server::start(&[]);
    let picture = || file("a.txt", "text/plain", b"hello");
    for (what, says, parts) in [
        (
            "nothing",
            "no file was chosen",
            vec![nothing_chosen("file")],
        ),
        (
            "nothing twice",
            "no file was chosen",
            vec![
                nothing_chosen("file"),
                nothing_chosen("file"),
                field("go", "Go"),
            ],
        ),
        (
            "an owner after",
            "must come before",
            vec![picture(), field("owner", "page:1")],
        ),
        (
            "an owner after a nameless file",
            "must come before",
            vec![field("file", "hello"), field("owner", "page:1")],
        ),
        ("two files", "two files", vec![picture(), picture()]),
        (
            "another file after",
            "two files",
            vec![
                picture(),
                Part {
                    name: "cover",
                    ..picture()
                },
            ],
        ),
        (
            "another file before",
            "in the field",
            vec![
                Part {
                    name: "files[]",
                    ..picture()
                },
                picture(),
            ],
        ),
        (
            "too much after",
            "too much",
            vec![
                picture(),
                field("x", Box::leak("x".repeat(200_000).into_boxed_str())),
            ],
        ),
        (
            "a coding",
            "Content-Encoding",
            vec![Part {
                extra: "content-encoding: gzip\r\n",
                ..picture()
            }],
        ),
        (
            "another coding",
            "Content-Transfer-Encoding",
            vec![Part {
                extra: "Content-Transfer-Encoding: base64\r\n",
                ..picture()
            }],
        ),
    ] {
        let answer = server.post_form(&parts);
        answer.assert_problem(400, "bad_request", what);
        assert!(answer.text().contains(says), "{what}: {}", answer.text());
    }
    server.assert_empty("refused forms");
    let plain = Part {
        extra: "content-transfer-encoding: binary\r\ncontent-encoding: identity\r\n",
        ..picture()
    };
    assert_eq!(server.post_form(&[plain]).status, 201);
}

#[test]
fn a_boundary_without_the_quotes_that_it_needs_is_read() {
    let server = Server::start(&[]);
    let whole = form(&[file("a.txt", "text/plain", b"hello")]);
    for boundary in ["a/b", "a=b", "=_Part_1(2)", "a:b?c"] {
        let body = String::from_utf8(whole.clone())
            .unwrap()
            .replace(BOUNDARY, boundary);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let answer = server.request(
            "POST",
            "/v1/attachments",
            &[("content-type", &content_type)],
            body.as_bytes(),
        );
        assert_eq!(answer.status, 201, "{boundary}: {}", answer.text());
    }
}

#[test]
fn a_name_is_stored_as_it_is_read_and_the_answer_tells_it() {
    let server = Server::start(&[]);
    let sjis = |text| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let eucjp = |text| encoding_rs::EUC_JP.encode(text).0.into_owned();
    let quoted = |name: &[u8]| [b"form-data; name=\"file\"; filename=\"", name, b"\""].concat();
    let long = "写".repeat(86) + ".pdf";
    for (disposition, stored) in [
        (quoted(&sjis("見積書.docx")), "見積書.docx"),
        (quoted(&sjis("表.txt")), "表.txt"),
        (quoted(&eucjp("写真.png")), "写真.png"),
        (b"form-data; name=\"file\"; filename*=UTF-8''%E5%86%99.png".to_vec(), "写.png"),
        (b"form-data; name=file; filename=\"=?utf-8?B?5YaZLnBuZw==?=\"; filename*=utf-8''%E5%86%99.png".to_vec(), "写.png"),
        (b"form-data; name=file; filename=\"=?utf-8?B?5YaZLnBuZw==?=\"".to_vec(), "写.png"),
        (quoted("写真\"1\".txt".replace('"', "%22").as_bytes()), "写真\"1\".txt"),
        (quoted(long.as_bytes()), &long),
        (quoted("report vol. 1.".as_bytes()), "report vol. 1"),
        (quoted("folder/sub/a.txt".as_bytes()), "a.txt"),
        (quoted("C:\\a\\写真.png".as_bytes()), "写真.png"),
        (quoted("\u{200E}a.jpg".as_bytes()), "a.jpg"),
        (quoted("aux.c".as_bytes()), "_aux.c"),
    ] {
        let answer = post(&server, &named(&disposition));
        assert_eq!(answer.status, 201, "{stored}: {}", answer.text());
        assert_eq!(answer.json()["filename"], stored);
    }
    // In an encoding that the form tells, and in one that nobody does.
    let greek = encoding_rs::ISO_8859_7.encode("Αρχείο.txt").0.into_owned();
    let charset = form(&[field("_charset_", "iso-8859-7")]);
    let charset = charset
        .strip_suffix(format!("--{BOUNDARY}--\r\n").as_bytes())
        .unwrap();
    let answer = post(&server, &[charset, &named(&quoted(&greek))].concat());
    assert_eq!(answer.json()["filename"], "Αρχείο.txt", "{}", answer.text());
    let answer = post(&server, &named(&quoted(b"caf\xE9.txt")));
    answer.assert_problem(400, "bad_request", "Latin-1");
    assert!(answer.text().contains("_charset_"), "{}", answer.text());
}

#[test]
fn transfer_codings_and_false_trailers_store_nothing() {
    let server = Server::start(&[]);
    let chunked = |headers: &str, trailer: &str| {
        let request = format!(
            "POST /v1/attachments?filename=a.txt HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n5\r\nhello\r\n0\r\n{trailer}\r\n"
        );
        server.send(request.as_bytes())
    };
    let plain = "transfer-encoding: chunked\r\n";
    let announced = "transfer-encoding: chunked\r\ntrailer: Content-Digest\r\n";
    let digest = |digest: &str| format!("content-digest: sha-256=:{digest}:\r\n");
    let right = digest("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
    let wrong = digest("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    for coding in ["gzip, chunked", "deflate, chunked"] {
        chunked(&format!("transfer-encoding: {coding}\r\n"), "").assert_problem(
            501,
            "not_implemented",
            coding,
        );
    }
    chunked(announced, &wrong).assert_problem(400, "digest_mismatch", "a false digest");
    chunked(plain, &wrong).assert_problem(400, "bad_request", "a digest that was not announced");
    chunked(announced, "content-digest: sha-256=nonsense\r\n").assert_problem(
        400,
        "bad_request",
        "no digest",
    );
    server.assert_empty("refused bodies");
    for (headers, trailer) in [
        (announced, right.as_str()),
        (announced, ""),
        (plain, "x-other: y\r\n"),
    ] {
        let answer = chunked(headers, trailer);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

#[test]
fn what_becomes_of_a_file_does_not_depend_on_how_it_is_cut_into_packets() {
    let server = Server::start(&[]);
    let mut log = vec![b'x'; 100_000];
    log[12_000] = 0;
    let head = format!(
        "POST /v1/attachments?filename=a.log HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        log.len()
    );
    for piece in [1460, log.len()] {
        let mut stream = connect(server.address);
        stream.set_nodelay(true).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        for piece in log.chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(
            read_answer(&mut stream).json()["content_type"],
            "text/plain",
            "{piece}"
        );
    }
}

#[test]
fn the_charset_of_a_text_is_brought_back_with_a_lost_catalog() {
    let mut server = Server::start(&[]);
    let sjis = encoding_rs::SHIFT_JIS.encode("日本語").0.into_owned();
    let texts = [
        ("text/plain", sjis.clone(), "text/plain"),
        (
            "text/plain; charset=Shift_JIS",
            sjis,
            "text/plain; charset=Shift_JIS",
        ),
        (
            "text/x-log",
            "写真".as_bytes().to_vec(),
            "text/plain; charset=utf-8",
        ),
    ];
    let ids: Vec<String> = texts
        .iter()
        .map(|(claim, bytes, _)| {
            server.put("filename=a.txt", claim, bytes)["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let check = |server: &Server| {
        for (id, (claim, _, served)) in ids.iter().zip(&texts) {
            let answer = server.get(&format!("/attachment/{id}"));
            assert_eq!(answer.header("content-type"), Some(*served), "{claim}");
        }
    };
    check(&server);
    assert_eq!(
        server.get(&format!("/v1/attachments/{}", ids[2])).json()["charset"],
        "utf-8"
    );
    assert_eq!(
        server.get(&format!("/v1/attachments/{}", ids[2])).json()["content_type"],
        "text/x-log"
    );
    server.kill();
    let data = server.folder.path().join("attache-data");
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("attache.db")
            && entry.path().is_file()
        {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let repaired = command(server.folder.path(), &[])
        .args(["verify", "--repair"])
        .output()
        .unwrap();
    assert!(repaired.status.success(), "{repaired:?}");
    server.restart(&[]);
    check(&server);
}

#[test]
fn delivery_links_may_carry_what_others_have_added() {
    let server = Server::start(&[]);
    let id = server.put("filename=a.png", "image/png", PNG)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for folder in ["attachment", "download"] {
        for more in ["fbclid=1", "utm_source=mail&_=1", "_=1&_=2", "q=%E9", "x"] {
            assert_eq!(
                server.get(&format!("/{folder}/{id}?{more}")).status,
                200,
                "{more}"
            );
        }
    }
    let made = server
        .request("POST", &format!("/v1/attachments/{id}/url"), &[], b"{}")
        .json();
    let url = made["url"].as_str().unwrap();
    let target = &url[url.find("/attachment/").unwrap()..];
    assert_eq!(server.get(&format!("{target}&fbclid=1")).status, 200);
    let tampered = target.replace("expires=", "expires=9");
    assert_eq!(server.get(&format!("{tampered}&fbclid=1")).status, 403);
    server
        .get("/v1/attachments?fbclid=1")
        .assert_problem(400, "bad_request", "the API");
}

#[test]
fn who_may_embed_is_configured() {
    for (variables, policy) in [
        (&[][..], "same-site"),
        (
            &[("ATTACHE_DELIVERY__EMBED", "cross-origin")],
            "cross-origin",
        ),
        (
            &[("ATTACHE_SERVER__CORS_ORIGINS", "https://wiki.example.org")],
            "cross-origin",
        ),
    ] {
        let server = Server::start(variables);
        let id = server.put("filename=a.png", "image/png", PNG)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let answer = server.get(&format!("/attachment/{id}"));
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some(policy),
            "{variables:?}"
        );
        assert_eq!(
            answer.header("vary").is_some(),
            variables.iter().any(|(name, _)| name.contains("CORS"))
        );
    }
}

#[test]
fn pages_of_listed_origins_may_use_the_api_and_read_its_errors() {
    let origins = "https://wiki.example.org, http://127.0.0.1:3000";
    let server = Server::start(&[("ATTACHE_SERVER__CORS_ORIGINS", origins)]);
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        server.request("OPTIONS", "/v1/attachments", &headers, b"")
    };
    for origin in ["https://wiki.example.org", "http://127.0.0.1:3000"] {
        let answer = preflight(origin);
        assert_eq!(answer.status, 204, "{}", answer.text());
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "authorization,content-type"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{origin}");
        }
        assert!(
            answer
                .header("access-control-allow-methods")
                .unwrap()
                .contains("DELETE")
        );
        let headers = [
            ("origin", origin),
            ("sec-fetch-site", "cross-site"),
            ("content-type", "text/plain"),
        ];
        let stored = server.request("POST", "/v1/attachments?filename=a", &headers, b"x");
        assert_eq!(stored.status, 201, "{}", stored.text());
        assert_eq!(stored.header("access-control-allow-origin"), Some(origin));
        for target in [
            "/v1/attachments/absent",
            "/attachment/absent",
            "/v1/nothing",
            "/v1/attachments?limit=x",
        ] {
            let failed = server.request("GET", target, &[("origin", origin)], b"");
            assert!(failed.status >= 400, "{target}");
            assert_eq!(
                failed.header("access-control-allow-origin"),
                Some(origin),
                "{target}"
            );
            assert_eq!(failed.header("vary"), Some("Origin"), "{target}");
        }
    }
    for origin in [
        "https://evil.example",
        "http://wiki.example.org",
        "https://wiki.example.org.evil.example",
        "null",
    ] {
        let answer = preflight(origin);
        assert_ne!(answer.status, 204, "{origin}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        let headers = [("origin", origin), ("content-type", "text/plain")];
        let refused = server.request("POST", "/v1/attachments?filename=a", &headers, b"x");
        refused.assert_problem(403, "forbidden", origin);
        assert_eq!(
            refused.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
        assert_eq!(refused.header("vary"), Some("Origin"), "{origin}");
    }
    // Nothing of it where nothing is listed, nor for what is no part of it.
    let closed = Server::start(&[]);
    let headers = [("origin", "https://wiki.example.org")];
    for answer in [
        closed.request("GET", "/v1/attachments", &headers, b""),
        server.request("GET", "/healthz", &headers, b""),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), None);
    }
}

#[test]
fn a_picture_in_svg_is_shown_where_it_is_listed_by_name() {
    let server = Server::start(&[("ATTACHE_DELIVERY__INLINE_TYPES", "image/*,image/svg+xml")]);
    let id = server.put("filename=a.svg", "image/svg+xml", SVG)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = server.get(&format!("/attachment/{id}"));
    assert_eq!(shown.header("content-type"), Some("image/svg+xml"));
    assert!(
        shown
            .header("content-disposition")
            .unwrap()
            .starts_with("inline")
    );
    let policy = shown.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.ends_with("; sandbox"),
        "{policy}"
    );
    assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
    let saved = server.get(&format!("/download/{id}"));
    assert_eq!(
        saved.header("content-type"),
        Some("application/octet-stream")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_redirect_leads_to_svg() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    tokio::task::block_in_place(|| {
        let server = Server::start_on(
            &azure,
            &[("ATTACHE_DELIVERY__INLINE_TYPES", "image/*,image/svg+xml")],
        );
        let id = server.put("filename=a.svg", "image/svg+xml", SVG)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let shown = server.get(&format!("/attachment/{id}"));
        assert_eq!(
            (shown.status, shown.header("content-type")),
            (200, Some("image/svg+xml"))
        );
        let made = server
            .request("POST", &format!("/v1/attachments/{id}/url"), &[], b"{}")
            .json();
        let redirected = server.get(&format!("/attachment/{id}?via=redirect"));
        for url in [
            made["url"].as_str().unwrap(),
            redirected.header("location").unwrap(),
        ] {
            assert!(
                url.contains("octet-stream") && !url.contains("svg%2Bxml"),
                "{url}"
            );
        }
        let png = server.put("filename=a.png", "image/png", PNG)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(server.get(&format!("/attachment/{png}")).status, 302);
    });
}
