//! The real nginx in front, with the configuration that we ship: files of the local store, and blobs of Azure.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use fake_azure::{FakeAzure, Op};
use support::nginx::{Nginx, Store};
use support::{Answer, Server, noise};

const DELEGATE: [(&str, &str); 2] = [
    ("ATTACHE_DELIVERY__MODE", "delegate"),
    ("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
];

fn id(json: &serde_json::Value) -> String {
    json["id"].as_str().unwrap().to_owned()
}

/// What only attache or the store should know.
fn assert_discreet(answer: &Answer) {
    let text = answer.head.to_lowercase();
    for word in [
        "x-accel",
        "x-attache",
        "x-ms-",
        "sig=",
        "windows-azure",
        "attache-data",
    ] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn nginx_sends_local_files_and_attache_sends_none() {
    let server = Server::start(&DELEGATE);
    let objects = server.folder.path().join("attache-data/objects");
    let Some(nginx) = Nginx::start(server.address, &objects, None) else {
        return;
    };
    let bytes = noise(3_000_000);
    let json = server.put("filename=%E5%86%99.bin&owner=page:1", "", &bytes);
    let target = format!("/download/{}", id(&json));
    let answer = nginx.get(&target);
    assert!(
        answer.status == 200 && answer.body == bytes,
        "{}\n{}",
        answer.head,
        nginx.log()
    );
    assert_discreet(&answer);
    let figures = server.get("/metrics").text();
    let relayed = "attache_transferred_bytes_total{direction=\"out\"} 0\n";
    assert!(figures.contains(relayed), "attache relayed: {figures}");
    let operations =
        "attache_operations_total{operation=\"delegate\",backend=\"local\",outcome=\"ok\"} 1";
    assert!(figures.contains(operations), "{figures}");

    // Reached from inside only.
    for path in [
        format!("/internal/attachment/{}.bin", id(&json)),
        format!("/internal/.facts/attachment/{}.bin.json", id(&json)),
        "/internal/azure/files/a".to_owned(),
    ] {
        assert_eq!(nginx.get(&path).status, 404, "{path}");
    }
    // The page, uploads and links go through it, too.
    assert_eq!(nginx.get("/").status, 200);
    let link = nginx.request(
        "POST",
        &format!("/v1/attachments/{}/url", id(&json)),
        &[("content-length", "0")],
    );
    let url = link.json()["url"].as_str().unwrap().to_owned();
    let target = url
        .strip_prefix(&format!("http://{}", nginx.address))
        .unwrap();
    let kept = nginx.get(target);
    assert!(kept.body == bytes);
    let cache = kept.header("cache-control").unwrap();
    let seconds = cache
        .strip_prefix("private, max-age=")
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    assert!(
        seconds.parse::<u64>().unwrap() <= 120,
        "no longer than the link: {cache}"
    );
}

#[test]
fn bytes_that_are_lost_are_a_problem_that_nobody_caches() {
    let server = Server::start(&DELEGATE);
    let objects = server.folder.path().join("attache-data/objects");
    let Some(nginx) = Nginx::start(server.address, &objects, None) else {
        return;
    };
    let json = server.put("filename=a.txt&owner=page:1", "text/plain", b"hello");
    std::fs::remove_file(objects.join(format!("attachment/{}.txt", id(&json)))).unwrap();
    let answer = nginx.get(&format!("/download/{}", id(&json)));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["code"], "upstream_refused");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_discreet(&answer);
}

/// tus-js-client takes nearly every status for the end of an upload, and begins again at the first byte; after no status it asks again.
#[test]
fn while_attache_is_away_nobody_is_told_a_status_of_an_upload() {
    // An address of its own, so that nobody takes its port while it is dead.
    let mut server = Server::start_at("127.0.1.1:0", &[]);
    let one = Nginx::start(server.address, server.folder.path(), None);
    let three = Nginx::before(&[server.address; 3], server.folder.path(), None);
    let (Some(one), Some(three)) = (one, three) else {
        return;
    };
    server.kill();
    for nginx in [one, three] {
        let upload = "/v1/uploads/01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11";
        let ask = support::request("x", "HEAD", upload, &[], b"");
        let mut stream = support::connect(nginx.address);
        std::io::Write::write_all(&mut stream, &ask).unwrap();
        let said = support::try_read_answer(&mut stream);
        assert!(said.is_err(), "{said:?}");
        for (method, target) in [
            ("PATCH", upload),
            ("HEAD", "/download/x"),
            ("POST", "/v1/uploads"),
        ] {
            assert_eq!(nginx.request(method, target, &[]).status, 502, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nginx_sends_blobs_through_signed_urls_and_the_store_learns_nothing_of_the_client() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    tokio::task::block_in_place(|| {
        let server = Server::start_on(&azure, &DELEGATE);
        let store = Store {
            endpoint: &azure.blob_endpoint(),
            ca_pem: azure.ca_pem(),
        };
        let Some(nginx) = Nginx::start(server.address, server.folder.path(), Some(store)) else {
            return;
        };
        let bytes = noise(2_000_000);
        let json = server.put(
            "filename=%E5%86%99.bin&owner=page:1&created_by=user:7",
            "",
            &bytes,
        );
        let target = format!("/download/{}", id(&json));
        azure.reset_counts();
        let secrets = [
            ("cookie", "session=canary"),
            ("authorization", "Bearer canary"),
            ("referer", "https://wiki.example.org/canary"),
            ("x-canary", "canary"),
        ];
        let answer = nginx.request("GET", &target, &secrets);
        assert!(
            answer.status == 200 && answer.body == bytes,
            "{}\n{}",
            answer.text(),
            nginx.log()
        );
        assert_discreet(&answer);
        let part = nginx.request("GET", &target, &[("range", "bytes=10-19")]);
        assert_eq!(
            (part.status, &part.body[..]),
            (206, &bytes[10..20]),
            "{}",
            part.head
        );
        assert_eq!(part.header("content-range"), Some("bytes 10-19/2000000"));
        assert_discreet(&part);
        let head = nginx.request("HEAD", &target, &[]);
        assert_discreet(&head);
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("2000000"))
        );

        // By the signature alone: a request with a credential is counted as another kind.
        let counts = azure.counts();
        assert_eq!(counts.sas_requests, 3);
        assert_eq!(counts.operations.get("GetBlob"), Some(&2));
        assert_eq!(counts.operations.get("GetBlobProperties"), Some(&1));
        let calls = azure.calls();
        assert!(
            calls
                .iter()
                .all(|call| call.if_none_match.is_none() && call.if_match.is_none())
        );

        // The longest name, which the signed URL holds encoded twice.
        let name = "%E5%86%99".repeat(255);
        let long = server.put(
            &format!("filename={name}&owner=page:1"),
            "text/plain",
            b"long",
        );
        let answer = nginx.get(&format!("/download/{}", id(&long)));
        assert_eq!(answer.body, b"long", "{}", answer.head);
        assert!(
            answer
                .header("content-disposition")
                .unwrap()
                .ends_with(&name)
        );

        // What the store says of a failure stays here.
        for (status, code) in [
            (403, "AuthenticationFailed"),
            (404, "BlobNotFound"),
            (503, "ServerBusy"),
        ] {
            azure.faults(|faults| faults.fail_next(Op::GetBlob, 1, status, code));
            let answer = nginx.get(&target);
            answer.assert_problem(502, "upstream_refused", code);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(!answer.text().contains(code), "{}", answer.text());
            assert_discreet(&answer);
        }
        azure.delete_blob("files", &format!("attachment/{}.bin", id(&json)));
        nginx
            .get(&target)
            .assert_problem(502, "upstream_refused", "gone");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_is_no_proxy_never_sees_a_signed_url_that_was_made_for_one() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    tokio::task::block_in_place(|| {
        let server = Server::start_on(&azure, &DELEGATE[..1]);
        let json = server.put("filename=a.txt", "text/plain", b"hello");
        let answer = server.get(&format!("/download/{}", id(&json)));
        assert_eq!(answer.body, b"hello");
        assert_discreet(&answer);
    });
}
