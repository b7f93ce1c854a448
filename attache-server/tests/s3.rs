//! The S3 endpoint from outside: who may do what, what bad input gets, and how reads leave. What real clients do is in `s3_clients.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use fake_azure::FakeAzure;
use fake_s3::{Dialect, FakeS3};
use support::bucket::{Client, element};
use support::{Answer, Server, command, connect, noise, read_answer};

const S3: [(&str, &str); 2] = [
    ("ATTACHE_S3__LISTEN", "127.0.0.1:0"),
    ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", "files"),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    S3.iter().chain(more).copied().collect()
}

fn start(more: &[(&str, &str)], arguments: &[&str]) -> (Server, Client) {
    let variables = with(more);
    let server = Server::start(&variables);
    let client = Client::new(
        server.s3_address(),
        server.folder.path(),
        &variables,
        arguments,
    );
    (server, client)
}

const ALL: [&str; 2] = ["--bucket", "files"];

fn code(answer: &Answer) -> String {
    element(&answer.text(), "Code").unwrap_or_else(|| panic!("no error: {answer:?}"))
}

fn raw(client: &Client, request: &[u8]) -> Answer {
    let mut stream = connect(client.address);
    stream.write_all(request).unwrap();
    read_answer(&mut stream)
}

fn get(client: &Client, target: &str, headers: &[(&str, &str)]) -> Answer {
    raw(
        client,
        &support::request(&client.host, "GET", target, headers, b""),
    )
}

#[test]
fn who_is_not_known_or_may_not_is_told_so_in_the_words_of_s3() {
    let arguments = [
        "--bucket",
        "files",
        "--prefix",
        "a/",
        "--scope",
        "read,write",
    ];
    let (_server, client) = start(&[("ATTACHE_S3__BUCKETS__OTHER__PREFIX", "x")], &arguments);
    let put = client.send("PUT", "/files/a/b.txt", "", &[], b"hello");
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(
        put.header("etag"),
        Some("\"5d41402abc4b2a76b9719d911017c592\"")
    );
    let forged = Client {
        secret: "x".repeat(40),
        ..client.clone()
    };
    let stranger = Client {
        id: "ATTA0000000000000000".to_owned(),
        ..client.clone()
    };
    for (who, method, path, query, status, wanted) in [
        (
            &forged,
            "GET",
            "/files/a/b.txt",
            "",
            403,
            "SignatureDoesNotMatch",
        ),
        (
            &stranger,
            "GET",
            "/files/a/b.txt",
            "",
            403,
            "InvalidAccessKeyId",
        ),
        (&client, "GET", "/files/b.txt", "", 403, "AccessDenied"),
        (&client, "GET", "/other/a/b.txt", "", 403, "AccessDenied"),
        (&client, "GET", "/nothing/a/b.txt", "", 404, "NoSuchBucket"),
        (&client, "GET", "/files/a/none", "", 404, "NoSuchKey"),
        (&client, "DELETE", "/files/a/b.txt", "", 403, "AccessDenied"),
        (&client, "GET", "/files", "list-type=2", 403, "AccessDenied"),
        (&client, "PUT", "/newone", "", 403, "AccessDenied"),
        (&client, "GET", "/files", "versions", 501, "NotImplemented"),
        (
            &client,
            "GET",
            "/files",
            "policy",
            404,
            "NoSuchBucketPolicy",
        ),
        (
            &client,
            "PATCH",
            "/files/a/b.txt",
            "",
            501,
            "NotImplemented",
        ),
    ] {
        let answer = who.send(method, path, query, &[], b"");
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (status, wanted),
            "{method} {path}?{query}"
        );
        assert_eq!(answer.header("content-type"), Some("application/xml"));
        assert!(answer.header("x-amz-request-id").is_some());
    }
    let listed = client.send("GET", "/files", "list-type=2&prefix=a%2F", &[], b"");
    assert_eq!(element(&listed.text(), "Key").as_deref(), Some("a/b.txt"));
    let nobody = get(&client, "/files/a/b.txt", &[]);
    assert_eq!(
        (nobody.status, code(&nobody).as_str()),
        (403, "AccessDenied")
    );
    let head = raw(
        &client,
        &support::request(&client.host, "HEAD", "/files/a/none", &[], b""),
    );
    assert_eq!((head.status, head.body.len()), (403, 0));
}

#[test]
fn a_key_that_was_removed_ends_within_two_seconds() {
    let (server, client) = start(&[], &ALL);
    let removed = command(server.folder.path(), &[])
        .args(["key", "rm", &client.id])
        .status()
        .unwrap();
    assert!(removed.success());
    let start = Instant::now();
    while client.send("GET", "/files", "", &[], b"").status == 200 {
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    let answer = client.send("GET", "/files", "", &[], b"");
    assert_eq!(code(&answer), "InvalidAccessKeyId");
}

#[test]
fn bodies_that_are_not_what_was_promised_leave_nothing() {
    let (server, client) = start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "1MiB")], &ALL);
    let zeros = "0".repeat(64);
    let large = noise((1 << 20) + 1);
    let trailer: &[u8] = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    let longer: &[u8] = b"6\r\nhello!\r\n0\r\n\r\n";
    let streaming = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "5"),
    ];
    let with_trailer = [
        streaming[0],
        streaming[1],
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let signed_chunks = [
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        streaming[1],
    ];
    for (headers, body, wanted) in [
        (
            &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")][..],
            &b"hello"[..],
            "BadDigest",
        ),
        (&[("content-md5", "AAAA")], b"hello", "InvalidDigest"),
        (
            &[("x-amz-content-sha256", zeros.as_str())],
            b"hello",
            "BadDigest",
        ),
        (
            &[("x-amz-content-sha256", "abc")],
            b"hello",
            "InvalidArgument",
        ),
        (
            &[("x-amz-checksum-crc32", "AAAAAA==")],
            b"hello",
            "BadDigest",
        ),
        (
            &[("x-amz-checksum-sha256", "AAAA")],
            b"hello",
            "InvalidRequest",
        ),
        (
            &[("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")],
            b"hello",
            "BadDigest",
        ),
        (
            &[("x-amz-server-side-encryption", "aws:kms")],
            b"hello",
            "NotImplemented",
        ),
        (&[("if-none-match", "\"x\"")], b"hello", "NotImplemented"),
        (&[("x-amz-tagging", "a=1&a=2")], b"hello", "InvalidTag"),
        (&with_trailer, trailer, "BadDigest"),
        (&streaming, longer, "InvalidRequest"),
        (&streaming[..1], trailer, "MissingContentLength"),
        (&signed_chunks, trailer, "AccessDenied"),
        (
            &[("x-amz-content-sha256", "STREAMING-SOMETHING")],
            b"hello",
            "InvalidRequest",
        ),
        (&[], &large, "EntityTooLarge"),
    ] {
        let answer = client.send("PUT", "/files/a", "", headers, body);
        assert_eq!(code(&answer), wanted, "{headers:?}: {}", answer.text());
    }
    // Half of a body, and then nothing more.
    let whole = client.signed("PUT", "/files/a", "", &[], &noise(100_000));
    let mut stream = connect(client.address);
    stream.write_all(&whole[..whole.len() / 2]).unwrap();
    drop(stream);
    server.await_status("it was noticed", |status| {
        status["streams"]["uploads_open"] == 0
    });
    let listed = client.send("GET", "/files", "", &[], b"").text();
    assert_eq!(element(&listed, "Key"), None, "{listed}");
    let bucket = server.folder.path().join("attache-data/buckets/files");
    let left = support::files_below(&bucket);
    let left: Vec<_> = left.iter().filter(|file| !file.contains("turns")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_upload_that_was_listed_goes_on_as_it_was_begun() {
    let (_server, client) = start(&[], &ALL);
    let algorithm = [("x-amz-checksum-algorithm", "CRC32")];
    client.send("POST", "/files/a", "uploads", &algorithm, b"");
    let listed = client.send("GET", "/files", "uploads", &[], b"").text();
    let told = |name: &str| element(&listed, name);
    assert_eq!(told("ChecksumAlgorithm").as_deref(), Some("CRC32"));
    assert_eq!(told("ChecksumType").as_deref(), Some("COMPOSITE"));
    let upload = told("UploadId").expect("an upload");
    // The checksum of the part is computed though its sender names none, and so the object gets its own.
    let query = format!("partNumber=1&uploadId={upload}");
    let part = client.send("PUT", "/files/a", &query, &[], b"hello");
    assert_eq!(part.header("x-amz-checksum-crc32"), Some("NhCmhg=="));
    let tag = part.header("etag").expect("a tag");
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    );
    let query = format!("uploadId={upload}");
    let done = client.send("POST", "/files/a", &query, &[], body.as_bytes());
    let checksum = element(&done.text(), "ChecksumCRC32");
    assert!(
        checksum.is_some_and(|sum| sum.ends_with("-1")),
        "{}",
        done.text()
    );
}

/// RFC 9112 section 6.1: chunks count, and the connection ends with the response, whoever wrote the request.
#[test]
fn behind_a_request_with_a_length_and_chunks_there_is_no_other_one() {
    let (_server, client) = start(&[], &ALL);
    client.send("PUT", "/files/known", "", &[], b"what a smuggler wants");
    let target = client.presigned("GET", "/files/known", "", 60);
    let inner = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", client.host);
    let lengths = ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"];
    for (one, two) in [(0, 1), (1, 0)] {
        let target = client.presigned("PUT", "/files/a", "", 60);
        let request = format!(
            "PUT {target} HTTP/1.1\r\nhost: {}\r\n{}{}\r\n0\r\n\r\n{inner}",
            client.host, lengths[one], lengths[two]
        );
        let mut stream = connect(client.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).to_lowercase();
        assert_eq!(said.matches("http/1.1 ").count(), 1, "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        assert!(!said.contains("smuggler"), "{said}");
    }
}

#[test]
fn keys_that_look_like_paths_are_keys() {
    let (server, client) = start(&[], &ALL);
    let long = format!("/files/{}", "a".repeat(1024));
    for (path, key) in [
        ("/files/../../x", "../../x"),
        ("/files/a//b", "a//b"),
        ("/files//a", "/a"),
        ("/files/a", "a"),
        ("/files/a/b", "a/b"),
        ("/files/%C3%BC%2B%20%3F", "ü+ ?"),
        ("/files/.attache/about", ".attache/about"),
        (&long, ""),
    ] {
        let put = client.send("PUT", path, "", &[], path.as_bytes());
        assert_eq!(put.status, 200, "{path}: {put:?}");
        let read = client.send("GET", path, "", &[], b"");
        assert_eq!(read.body, path.as_bytes(), "{key}");
    }
    let listed = client.send("GET", "/files", "", &[], b"").text();
    assert_eq!(listed.matches("<Key>").count(), 8, "{listed}");
    assert!(!server.folder.path().join("x").exists());
    let longer = format!("/files/{}", "a".repeat(1025));
    for (path, wanted) in [
        (longer.as_str(), "KeyTooLongError"),
        ("/files/%00", "InvalidArgument"),
        ("/files/%ff", "InvalidURI"),
    ] {
        assert_eq!(code(&client.send("PUT", path, "", &[], b"x")), wanted);
    }
}

#[test]
fn uploads_in_parts_that_cannot_be_are_refused_by_the_word_for_it() {
    let (_server, client) = start(&[], &ALL);
    let begun = client.send("POST", "/files/k", "uploads=", &[], b"").text();
    let upload = element(&begun, "UploadId").expect("an upload");
    let part = |number: &str| {
        client.send(
            "PUT",
            "/files/k",
            &format!("partNumber={number}&uploadId={upload}"),
            &[],
            number.as_bytes(),
        )
    };
    for number in ["0", "10001", "x"] {
        assert_eq!(code(&part(number)), "InvalidArgument", "{number}");
    }
    let (one, two) = (part("1"), part("2"));
    let etag = |answer: &Answer| answer.header("etag").unwrap().trim_matches('"').to_owned();
    let complete = |parts: &[(u32, String)]| {
        let parts: String = parts
            .iter()
            .map(|(number, etag)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        client.send(
            "POST",
            "/files/k",
            &format!("uploadId={upload}"),
            &[],
            body.as_bytes(),
        )
    };
    let (one, two) = (etag(&one), etag(&two));
    assert_eq!(code(&complete(&[])), "MalformedXML");
    assert_eq!(
        code(&complete(&[(2, two.clone()), (1, one.clone())])),
        "InvalidPartOrder"
    );
    assert_eq!(
        code(&complete(&[(1, one.clone()), (2, two.clone())])),
        "EntityTooSmall"
    );
    assert_eq!(code(&complete(&[(2, one.clone())])), "InvalidPart");
    assert_eq!(code(&complete(&[(3, one.clone())])), "InvalidPart");
    for name in ["nothing", &upload[1..]] {
        let answer = client.send(
            "PUT",
            "/files/k",
            &format!("partNumber=1&uploadId={name}"),
            &[],
            b"x",
        );
        assert_eq!(code(&answer), "NoSuchUpload", "{name}");
    }
    // The name of an upload is good for its key alone.
    let other = client.send(
        "PUT",
        "/files/other",
        &format!("partNumber=1&uploadId={upload}"),
        &[],
        b"x",
    );
    assert_eq!(code(&other), "NoSuchUpload");
    let first = complete(&[(2, two.clone())]);
    assert_eq!(first.status, 200, "{first:?}");
    let again = complete(&[(2, two)]);
    assert_eq!(
        element(&again.text(), "ETag"),
        element(&first.text(), "ETag"),
        "{again:?}"
    );
    assert_eq!(code(&complete(&[(1, one)])), "NoSuchUpload");
    assert_eq!(
        client
            .send(
                "DELETE",
                "/files/k",
                &format!("uploadId={upload}"),
                &[],
                b""
            )
            .status,
        204
    );
    assert_eq!(client.send("GET", "/files/k", "", &[], b"").body, b"2");
}

#[test]
fn a_url_that_was_signed_for_one_name_is_good_at_the_others_and_nowhere_else() {
    let hosts = [("ATTACHE_S3__HOSTS", "attache:9000,files.example.org")];
    let (_server, client) = start(&hosts, &ALL);
    client.send(
        "PUT",
        "/files/a.txt",
        "",
        &[("content-type", "text/plain")],
        b"hello",
    );
    let inside = Client {
        host: "attache:9000".to_owned(),
        ..client.clone()
    };
    let target = inside.presigned("GET", "/files/a.txt", "", 60);
    let at = |host: &str, target: &str| {
        raw(&client, &support::request(host, "GET", target, &[], b"")).status
    };
    assert_eq!(at("attache:9000", &target), 200);
    assert_eq!(at("files.example.org", &target), 200);
    assert_eq!(at("other.example.org", &target), 403);
    assert_eq!(at(&client.host, &target), 403);
    // A host may name the bucket.
    let virtually = Client {
        host: "files.attache:9000".to_owned(),
        ..client.clone()
    };
    let target = virtually.presigned("GET", "/a.txt", "", 60);
    assert_eq!(at("files.attache:9000", &target), 200);
    assert_eq!(at("files.files.example.org", &target), 200);
    assert_eq!(at("attache:9000", &target), 403);
}

#[test]
fn clocks_and_lives_of_urls_have_bounds() {
    let (_server, client) = start(&[], &ALL);
    client.send("PUT", "/files/a.txt", "", &[], b"hello");
    let at = |seconds, minutes| {
        let ahead = time::Duration::minutes(minutes);
        get(
            &client,
            &client.presigned_at("GET", "/files/a.txt", "", seconds, ahead),
            &[],
        )
    };
    assert_eq!(at(60, 0).status, 200);
    assert_eq!(at(60, 14).status, 200);
    assert_eq!(code(&at(60, 16)), "RequestTimeTooSkewed");
    assert_eq!(at(600, -9).status, 200);
    assert_eq!(code(&at(600, -11)), "AccessDenied");
    assert_eq!(code(&at(604_801, 0)), "AuthorizationHeaderMalformed");
    let target = client.presigned("GET", "/files/a.txt", "", 60);
    let other = target.replace("/a.txt", "/b.txt");
    assert_eq!(code(&get(&client, &other, &[])), "SignatureDoesNotMatch");
    let twice = get(&client, &target, &[("authorization", "AWS4-HMAC-SHA256 x")]);
    assert_eq!(twice.status, 400);
}

#[test]
fn a_presigned_put_does_not_believe_the_checksum_of_its_query() {
    let (_server, client) = start(&[], &ALL);
    // As the newest JavaScript SDK presigns it: the CRC-32 of nothing.
    let query = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-meta-a=b&x-amz-sdk-checksum-algorithm=CRC32&x-id=PutObject";
    let target = client.presigned("PUT", "/files/a", query, 60);
    let put = raw(
        &client,
        &support::request(
            &client.host,
            "PUT",
            &target,
            &[("content-type", "image/png")],
            b"hello",
        ),
    );
    assert_eq!(put.status, 200, "{put:?}");
    let head = client.send("HEAD", "/files/a", "", &[], b"");
    assert_eq!(head.header("x-amz-meta-a"), Some("b"));
    assert_eq!(head.header("content-type"), Some("image/png"));
    assert_eq!(head.header("content-length"), Some("5"));
}

#[test]
fn nobody_adds_to_a_url_what_was_not_signed() {
    let (_server, client) = start(&[], &ALL);
    client.send("PUT", "/files/secret", "", &[], b"secret");
    let target = client.presigned("PUT", "/files/mine", "", 60);
    for header in [
        ("x-amz-copy-source", "/files/secret"),
        ("x-amz-meta-a", "b"),
        ("x-amz-tagging", "a=b"),
    ] {
        let request = support::request(&client.host, "PUT", &target, &[header], b"");
        assert_eq!(code(&raw(&client, &request)), "AccessDenied", "{header:?}");
    }
    let mine = client.send("GET", "/files/mine", "", &[], b"");
    assert_eq!(code(&mine), "NoSuchKey");
    // Nor to a request that is signed in a header.
    let mut request = client.signed("PUT", "/files/mine", "", &[], b"");
    let at = request.len() - 2;
    request.splice(at..at, *b"x-amz-copy-source: /files/secret\r\n");
    assert_eq!(code(&raw(&client, &request)), "AccessDenied");
    // What is in the query is signed.
    let query = "x-amz-copy-source=%2Ffiles%2Fsecret";
    let target = client.presigned("PUT", "/files/mine", query, 60);
    let put = raw(
        &client,
        &support::request(&client.host, "PUT", &target, &[], b"mine"),
    );
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(
        client.send("GET", "/files/mine", "", &[], b"").body,
        b"mine"
    );
}

#[test]
fn what_browsers_open_is_under_the_policy_of_attachments() {
    let (_server, client) = start(&[("ATTACHE_S3__BUCKETS__FILES__PUBLIC", "pub/")], &ALL);
    let page = [
        ("content-type", "text/html"),
        ("content-disposition", "inline; filename=\"a.html\""),
    ];
    client.send(
        "PUT",
        "/files/pub/a.html",
        "",
        &page,
        b"<script>alert(1)</script>",
    );
    client.send(
        "PUT",
        "/files/pub/a.png",
        "",
        &[("content-type", "image/png")],
        b"png",
    );
    client.send(
        "PUT",
        "/files/b.png",
        "",
        &[("content-type", "image/png")],
        b"png",
    );
    // A program gets what was kept.
    let signed = client.send("GET", "/files/pub/a.html", "", &[], b"");
    assert_eq!(signed.header("content-type"), Some("text/html"));
    for target in [
        client.presigned("GET", "/files/pub/a.html", "", 60),
        client.presigned(
            "GET",
            "/files/pub/a.png",
            "response-content-type=text%2Fhtml",
            60,
        ),
        "/files/pub/a.html".to_owned(),
    ] {
        let read = get(&client, &target, &[]);
        assert_eq!(read.status, 200, "{read:?}");
        assert_eq!(
            read.header("content-type"),
            Some("application/octet-stream"),
            "{target}"
        );
        assert!(
            read.header("content-disposition")
                .unwrap()
                .starts_with("attachment"),
            "{target}"
        );
        assert!(
            read.header("content-security-policy")
                .unwrap()
                .contains("sandbox"),
            "{target}"
        );
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    }
    let image = get(&client, "/files/pub/a.png", &[]);
    assert_eq!(image.header("content-type"), Some("image/png"));
    assert_eq!(image.header("content-disposition"), Some("inline"));
    // Nobody who is not known chooses a type, or reads the rest.
    let chosen = get(
        &client,
        "/files/pub/a.png?response-content-type=text%2Fplain",
        &[],
    );
    assert_eq!(chosen.header("content-type"), Some("image/png"));
    assert_eq!(code(&get(&client, "/files/b.png", &[])), "AccessDenied");
    assert_eq!(
        code(&get(&client, "/files?list-type=2&prefix=pub/", &[])),
        "AccessDenied"
    );
}

#[test]
fn the_case_of_a_type_opens_nothing() {
    let (_server, client) = start(&[("ATTACHE_S3__BUCKETS__FILES__PUBLIC", "pub/")], &ALL);
    for kind in [
        "TEXT/JAVASCRIPT",
        "Text/Html",
        "IMAGE/SVG+XML",
        "Application/JavaScript",
    ] {
        client.send("PUT", "/files/pub/a", "", &[("content-type", kind)], b"x");
        let read = get(&client, "/files/pub/a", &[]);
        assert_eq!(
            read.header("content-type"),
            Some("application/octet-stream"),
            "{kind}"
        );
        assert_eq!(
            read.header("content-disposition"),
            Some("attachment"),
            "{kind}"
        );
    }
}

#[test]
fn what_would_do_something_else_than_it_asks_for_is_refused_and_changes_nothing() {
    let (_server, client) = start(&[], &ALL);
    let send = |method: &str, target: &str, query: &str, headers: &[(&str, &str)], body: &[u8]| {
        client.send(method, target, query, headers, body)
    };
    let etag = |target: &str| {
        let head = send("HEAD", target, "", &[], b"");
        head.header("etag").unwrap().to_owned()
    };
    send("PUT", "/files/dst", "", &[], b"precious");
    send("PUT", "/files/src", "", &[], b"source");
    let source = ("x-amz-copy-source", "files/src");
    let other = "\"00000000000000000000000000000000\"";
    // Conditions hold of copies as of other writes.
    for condition in [("if-none-match", "*"), ("if-match", other)] {
        let copied = send("PUT", "/files/dst", "", &[source, condition], b"");
        assert_eq!(code(&copied), "PreconditionFailed", "{condition:?}");
        let onto_itself = [
            ("x-amz-copy-source", "files/dst"),
            ("x-amz-metadata-directive", "REPLACE"),
            condition,
        ];
        let copied = send("PUT", "/files/dst", "", &onto_itself, b"");
        assert_eq!(code(&copied), "PreconditionFailed", "{condition:?}");
    }
    // What attache does not do is said, and nothing else is done instead.
    for (method, query, header) in [
        ("PUT", "", ("x-amz-write-offset-bytes", "8")),
        ("PUT", "", ("x-amz-rename-source", "/files/src")),
        (
            "PUT",
            "renameObject=",
            ("x-amz-rename-source", "/files/src"),
        ),
        ("DELETE", "", ("if-match", other)),
        ("DELETE", "", ("x-amz-if-match-size", "99")),
        ("HEAD", "partNumber=1", ("accept", "*/*")),
        ("GET", "partNumber=1", ("accept", "*/*")),
    ] {
        let answer = send(method, "/files/dst", query, &[header], b"");
        assert_eq!(answer.status, 501, "{method} {query} {header:?}");
    }
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = send(method, "/files/dst", "versionId=abc", &[], b"");
        assert_eq!(answer.status, 404, "{method}");
    }
    let delete = |object: &str| {
        let document =
            format!("<Delete><Object><Key>src</Key></Object><Object>{object}</Object></Delete>");
        send("POST", "/files", "delete=", &[], document.as_bytes())
    };
    let unreadable = delete("<Key>a&#0;</Key>");
    assert_eq!(code(&unreadable), "MalformedXML");
    assert_eq!(send("GET", "/files/src", "", &[], b"").body, b"source");
    let partly = delete(&format!("<Key>dst</Key><ETag>{other}</ETag>")).text();
    assert_eq!(
        element(&partly, "Code").as_deref(),
        Some("NotImplemented"),
        "{partly}"
    );
    assert_eq!(send("GET", "/files/src", "", &[], b"").status, 404);
    // An upload in parts is as long as its client says.
    let begun = send("POST", "/files/dst", "uploads=", &[], b"").text();
    let upload = element(&begun, "UploadId").expect("an upload");
    let part = send(
        "PUT",
        "/files/dst",
        &format!("partNumber=1&uploadId={upload}"),
        &[],
        b"short",
    );
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap().trim_matches('"')
    );
    let complete = |size: &str| {
        let headers = [("x-amz-mp-object-size", size)];
        send(
            "POST",
            "/files/dst",
            &format!("uploadId={upload}"),
            &headers,
            document.as_bytes(),
        )
    };
    for size in ["77", "", "-1"] {
        assert_eq!(code(&complete(size)), "InvalidRequest", "{size}");
    }
    assert_eq!(send("GET", "/files/dst", "", &[], b"").body, b"precious");
    // With conditions that hold it is done.
    send("PUT", "/files/src", "", &[], b"source");
    let held = etag("/files/dst");
    let copied = send("PUT", "/files/dst", "", &[source, ("if-match", &held)], b"");
    assert_eq!(copied.status, 200, "{copied:?}");
    let made = send(
        "PUT",
        "/files/new",
        "",
        &[source, ("if-none-match", "*")],
        b"",
    );
    assert_eq!(made.status, 200, "{made:?}");
    for target in ["/files/dst", "/files/new"] {
        assert_eq!(
            send("GET", target, "", &[], b"").body,
            b"source",
            "{target}"
        );
    }
    assert_eq!(complete("5").status, 200);
    assert_eq!(
        complete("5").status,
        200,
        "what is done can be completed again"
    );
    assert_eq!(send("GET", "/files/dst", "", &[], b"").body, b"short");
}

#[test]
fn ranges_and_conditions_are_answered_as_http_has_them() {
    let (_server, client) = start(&[], &ALL);
    let put = client.send("PUT", "/files/r", "", &[], &[7; 100]);
    let etag = put.header("etag").unwrap().to_owned();
    let weak = format!("W/{etag}");
    let get = |headers: &[(&str, &str)]| {
        let read = client.send("GET", "/files/r", "", headers, b"");
        (read.status, read.body.len())
    };
    let range = ("range", "bytes=50-");
    assert_eq!(get(&[range]), (206, 50));
    assert_eq!(get(&[range, ("if-range", &etag)]), (206, 50));
    for other in ["\"other\"", weak.as_str(), "Thu, 01 Jan 1970 00:00:00 GMT"] {
        assert_eq!(get(&[range, ("if-range", other)]), (200, 100), "{other}");
    }
    for no_range in [
        "bytes=+1-2",
        "bytes=0-+2",
        "bytes=+5-",
        "lines=1-2",
        "bytes=0-1,3-4",
    ] {
        assert_eq!(get(&[("range", no_range)]), (200, 100), "{no_range}");
    }
    let beyond = ("range", "bytes=500-");
    assert_eq!(get(&[beyond]).0, 416);
    assert_eq!(get(&[beyond, ("if-none-match", &etag)]).0, 304);
    assert_eq!(get(&[beyond, ("if-match", "\"x\"")]).0, 412);
    assert_eq!(
        get(&[("if-none-match", "\"x\""), ("if-none-match", &etag)]).0,
        304
    );
    assert_eq!(get(&[("if-match", &weak)]).0, 412);
    assert_eq!(get(&[("if-match", &etag)]), (200, 100));
}

#[test]
fn a_form_of_a_stranger_holds_no_memory() {
    let (_server, client) = start(&[], &ALL);
    for endless in [
        "--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n\r\n",
        "--b\r\ncontent-disposition: form-data; name=\"a",
    ] {
        let mut stream = connect(client.address);
        let head = format!(
            "POST /files HTTP/1.1\r\nhost: {}\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 100000000\r\n\r\n",
            client.host
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It answers long before all has come, and then takes no more.
        let chunk = match endless.ends_with('\n') {
            true => endless.repeat(200),
            false => format!("{endless}{}", "a".repeat(10_000)),
        };
        for _ in 0..20 {
            if stream.write_all(chunk.as_bytes()).is_err() {
                break;
            }
        }
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[test]
fn pages_of_origins_that_are_listed_may_use_urls_by_scripts() {
    let (_server, client) = start(
        &[(
            "ATTACHE_S3__BUCKETS__FILES__CORS_ORIGINS",
            "https://wiki.example.org",
        )],
        &ALL,
    );
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            (
                "access-control-request-headers",
                "content-type,x-amz-meta-a",
            ),
        ];
        raw(
            &client,
            &support::request(&client.host, "OPTIONS", "/files/a", &headers, b""),
        )
    };
    let good = preflight("https://wiki.example.org");
    assert_eq!(good.status, 200);
    assert_eq!(
        good.header("access-control-allow-origin"),
        Some("https://wiki.example.org")
    );
    assert_eq!(
        good.header("access-control-allow-headers"),
        Some("content-type,x-amz-meta-a")
    );
    let bad = preflight("https://evil.example.org");
    assert_eq!(
        (bad.status, bad.header("access-control-allow-origin")),
        (403, None)
    );
    let target = client.presigned("PUT", "/files/a", "", 60);
    let origin = [("origin", "https://wiki.example.org")];
    let put = raw(
        &client,
        &support::request(&client.host, "PUT", &target, &origin, b"hello"),
    );
    assert!(
        put.header("access-control-expose-headers")
            .unwrap()
            .contains("ETag"),
        "{put:?}"
    );
}

#[test]
fn urls_of_the_old_version_name_the_cure_or_work_where_they_may() {
    let old = |client: &Client| get(client, &old_url(client, "GET", ""), &[]);
    let (_server, client) = start(&[], &ALL);
    let refused = old(&client);
    assert_eq!(code(&refused), "InvalidRequest");
    assert!(refused.text().contains("s3v4"), "{}", refused.text());
    let (_server, client) = start(&[("ATTACHE_S3__SIGV2", "true")], &ALL);
    client.send("PUT", "/files/a.txt", "", &[], b"hello");
    assert_eq!(old(&client).body, b"hello");
}

/// A URL of signature version 2 for `/files/a.txt`. `amz`: a parameter that is signed as the header that it stands for, or nothing.
fn old_url(client: &Client, method: &str, amz: &str) -> String {
    let expires = (time::OffsetDateTime::now_utc() + time::Duration::minutes(1)).unix_timestamp();
    let line = match amz.split_once('=') {
        Some((name, value)) => format!("{name}:{value}\n"),
        None => String::new(),
    };
    let text = format!("{method}\n\n\n{expires}\n{line}/files/a.txt");
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        client.secret.as_bytes(),
    );
    let signature = ring::hmac::sign(&key, text.as_bytes());
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::STANDARD.encode(signature.as_ref());
    let signature = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!(
        "/files/a.txt?AWSAccessKeyId={}&Signature={signature}&Expires={expires}&{amz}",
        client.id
    )
}

#[test]
fn of_a_url_of_the_old_version_only_what_is_signed_says_what_is_kept() {
    let (_server, client) = start(&[("ATTACHE_S3__SIGV2", "true")], &ALL);
    let url = old_url(&client, "PUT", "x-amz-meta-a=b");
    let added = "&cache-control=public&content-disposition=attachment&content-encoding=gzip&content-language=de";
    for target in [url.clone(), format!("{url}{added}")] {
        let put = support::request(&client.host, "PUT", &target, &[], b"hello");
        assert_eq!(raw(&client, &put).status, 200);
        let head = client.send("HEAD", "/files/a.txt", "", &[], b"");
        assert_eq!(head.header("x-amz-meta-a"), Some("b"), "{head:?}");
        for name in [
            "content-disposition",
            "content-encoding",
            "content-language",
            "expires",
        ] {
            assert_eq!(head.header(name), None, "{head:?}");
        }
        assert_ne!(head.header("cache-control"), Some("public"), "{head:?}");
    }
    // What is signed as a header cannot be added.
    let forged = format!("{url}&x-amz-meta-c=d");
    let put = support::request(&client.host, "PUT", &forged, &[], b"hello");
    assert_eq!(code(&raw(&client, &put)), "SignatureDoesNotMatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presigned_reads_are_redirected_to_one_object_and_cost_one_token_and_one_key() {
    let azure = FakeAzure::builder()
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    let server = Server::start_on(&azure, &S3);
    let variables = with(&[]);
    let azure_variables = support::on_azure(&azure, server.folder.path());
    let mut all: Vec<(&str, &str)> = azure_variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    all.extend(variables);
    let client = Client::new(server.s3_address(), server.folder.path(), &all, &ALL);
    client.send(
        "PUT",
        "/files/a/b%20c.png",
        "",
        &[("content-type", "image/png")],
        b"hello",
    );
    azure.reset_counts();
    for _ in 0..200 {
        let read = get(
            &client,
            &client.presigned("GET", "/files/a/b%20c.png", "", 120),
            &[],
        );
        assert_eq!(read.status, 302, "{read:?}");
        let url = read.header("location").unwrap();
        assert!(
            url.contains("sr=b") && url.contains("sp=r&") && url.contains("spr=https"),
            "{url}"
        );
    }
    let counts = azure.counts();
    assert!(counts.token_requests <= 1, "{counts:?}");
    let keys = azure
        .calls()
        .iter()
        .filter(|call| call.op == fake_azure::Op::GetUserDelegationKey)
        .count();
    assert_eq!(keys, 1);
    // A script of a page may not read at the store, and programs come for the bytes.
    assert_eq!(
        client.send("GET", "/files/a/b%20c.png", "", &[], b"").body,
        b"hello"
    );
    let missing = get(
        &client,
        &client.presigned("GET", "/files/none", "", 120),
        &[],
    );
    assert_eq!(code(&missing), "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_may_lie_in_s3_or_at_google_and_reads_are_redirected_to_one_object_there() {
    for dialect in [Dialect::S3, Dialect::Gcs] {
        let builder = FakeS3::builder().dialect(dialect).bucket("files");
        let store = builder.bucket("wiki.2026").start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let owned = match dialect {
            Dialect::S3 => support::on_s3(&store, folder.path()),
            Dialect::Gcs => support::on_gcs(&store, folder.path()),
        };
        let mut variables = support::borrowed(&owned);
        variables.extend([
            ("ATTACHE_S3__LISTEN", "127.0.0.1:0"),
            ("ATTACHE_S3__BUCKETS__WIKI__CONTAINER", "wiki.2026"),
        ]);
        let check = |variables: &[(&str, &str)]| {
            let check = command(folder.path(), variables).arg("check").output();
            let check = check.unwrap();
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            (check.status.success(), said)
        };
        let (passed, said) = check(&variables);
        assert!(
            passed && said.contains("wiki: bucket \"wiki.2026\""),
            "{said}"
        );
        let server = Server::start(&variables);
        let client = Client::new(
            server.s3_address(),
            server.folder.path(),
            &variables,
            &["--bucket", "wiki"],
        );
        let path = "/wiki/a/b%20c.png";
        let put = client.send("PUT", path, "", &[("content-type", "image/png")], b"hello");
        assert_eq!(
            put.header("etag"),
            Some("\"5d41402abc4b2a76b9719d911017c592\""),
            "{put:?}"
        );
        let there = store
            .object("wiki.2026", "a/b c.png")
            .expect("under the client's key");
        assert_eq!(there.content_type.as_deref(), Some("image/png"));
        let read = get(&client, &client.presigned("GET", path, "", 120), &[]);
        assert_eq!(read.status, 302, "{read:?}");
        let url = read.header("location").unwrap();
        assert!(
            url.starts_with("https://") && url.contains("/wiki.2026/a/b%20c.png?"),
            "{url}"
        );
        assert_eq!(client.send("GET", path, "", &[], b"").body, b"hello");
        // What lies there for uploads is nobody's to write.
        let taken = client.send("PUT", "/wiki/attache/uploads/x", "", &[], b"x");
        assert_eq!(taken.status, 400, "{taken:?}");
        assert!(taken.text().contains("pieces of uploads"), "{taken:?}");
        assert_eq!(client.send("DELETE", path, "", &[], b"").status, 204);
        assert_eq!(store.counts().objects, 0);
        // A bucket that is not there is named by its key.
        variables.push(("ATTACHE_S3__BUCKETS__WIKI__CONTAINER", "nothing-there"));
        let (passed, said) = check(&variables);
        assert!(
            !passed && said.contains("s3.buckets.wiki.container"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_at_another_replica_when_one_is_killed() {
    let azure = FakeAzure::builder()
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut owned = support::on_azure(&azure, folder.path());
    owned.push((
        "ATTACHE_CATALOG__URL",
        format!("sqlite://{}/attache.db", folder.path().display()),
    ));
    let mut variables: Vec<(&str, &str)> = owned
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    variables.extend(S3);
    let mut first = Server::start(&variables);
    let second = Server::start(&variables);
    let client = Client::new(first.s3_address(), folder.path(), &variables, &ALL);
    let other = Client {
        address: second.s3_address(),
        host: second.s3_address().to_string(),
        ..client.clone()
    };
    let begun = client
        .send("POST", "/files/big.bin", "uploads", &[], b"")
        .text();
    let upload = element(&begun, "UploadId").expect("an upload");
    let parts: Vec<Vec<u8>> = (0..4).map(|_| noise(5 << 20)).collect();
    let put = |client: &Client, number: usize| {
        let query = format!("partNumber={}&uploadId={upload}", number + 1);
        client.send("PUT", "/files/big.bin", &query, &[], &parts[number])
    };
    let mut tags = Vec::new();
    for number in 0..2 {
        let at = if number % 2 == 0 { &client } else { &other };
        tags.push(put(at, number).header("etag").unwrap().to_owned());
    }
    // In the middle of the third.
    let query = format!("partNumber=3&uploadId={upload}");
    let third = client.signed("PUT", "/files/big.bin", &query, &[], &parts[2]);
    let mut stream = connect(client.address);
    stream.write_all(&third[..third.len() / 2]).unwrap();
    first.kill();
    for number in 2..4 {
        tags.push(put(&other, number).header("etag").unwrap().to_owned());
    }
    let body: String = tags
        .iter()
        .enumerate()
        .map(|(number, tag)| {
            format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>",
                number + 1
            )
        })
        .collect();
    let body = format!("<CompleteMultipartUpload>{body}</CompleteMultipartUpload>");
    let done = other.send(
        "POST",
        "/files/big.bin",
        &format!("uploadId={upload}"),
        &[],
        body.as_bytes(),
    );
    assert_eq!(done.status, 200, "{done:?}");
    assert!(other.send("GET", "/files/big.bin", "", &[], b"").body == parts.concat());
}
