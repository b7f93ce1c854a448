//! Every header rule of delivery, as tables over every way of delivery: relay, redirect (followed to the store), and
//! delegation to the real nginx, of local files and of blobs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;

use fake_azure::FakeAzure;
use support::https::follow;
use support::nginx::{Nginx, Store};
use support::{Answer, Server, noise};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    RelayOfFiles,
    RelayOfBlobs,
    Redirect,
    DelegateFiles,
    DelegateBlobs,
}

const WAYS: [Way; 5] = [
    Way::RelayOfFiles,
    Way::RelayOfBlobs,
    Way::Redirect,
    Way::DelegateFiles,
    Way::DelegateBlobs,
];

/// A server that delivers in one way, and what stands around it.
struct Door {
    way: Way,
    server: Server,
    azure: Option<FakeAzure>,
    nginx: Option<Nginx>,
}

impl Door {
    async fn open(way: Way) -> Option<Self> {
        Self::open_with(way, &[]).await
    }

    /// `None` if it needs a tool that is not here.
    async fn open_with(way: Way, more: &[(&str, &str)]) -> Option<Self> {
        let mode = match way {
            Way::RelayOfFiles | Way::RelayOfBlobs => "relay",
            Way::Redirect => "redirect",
            Way::DelegateFiles | Way::DelegateBlobs => "delegate",
        };
        let mut variables = vec![
            ("ATTACHE_DELIVERY__MODE", mode),
            ("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ];
        variables.extend_from_slice(more);
        let azure = match way {
            Way::RelayOfFiles | Way::DelegateFiles => None,
            _ => Some(
                FakeAzure::builder()
                    .account("acme")
                    .container("files")
                    .secret("a-secret")
                    .start()
                    .await
                    .unwrap(),
            ),
        };
        tokio::task::block_in_place(|| {
            let server = match &azure {
                Some(azure) => Server::start_on(azure, &variables),
                None => Server::start(&variables),
            };
            let objects = server.folder.path().join("attache-data/objects");
            let endpoint = azure.as_ref().map(FakeAzure::blob_endpoint);
            let store = azure.as_ref().zip(endpoint.as_deref());
            let store = store.map(|(azure, endpoint)| Store {
                endpoint,
                ca_pem: azure.ca_pem(),
            });
            let nginx = match way {
                Way::DelegateFiles | Way::DelegateBlobs => {
                    Some(Nginx::start(server.address, &objects, store)?)
                }
                _ => None,
            };
            Some(Self {
                way,
                server,
                azure,
                nginx,
            })
        })
    }

    /// All of them; fewer only where nginx is missing and may be.
    async fn all() -> Vec<Self> {
        let mut doors = Vec::new();
        for way in WAYS {
            doors.extend(Self::open(way).await);
        }
        doors
    }

    fn put(&self, query: &str, content_type: &str, bytes: &[u8]) -> String {
        let json = self.server.put(query, content_type, bytes);
        json["id"].as_str().unwrap().to_owned()
    }

    /// What a client is answered first.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        match &self.nginx {
            Some(nginx) => nginx.request(method, target, headers),
            None => self.server.request(method, target, headers, b""),
        }
    }

    /// What a client has in the end.
    fn fetch(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = self.ask(method, target, headers);
        match (answer.status, &self.azure) {
            (302, Some(azure)) => {
                let url = answer.header("location").unwrap();
                follow(url, azure.ca_pem(), method, headers)
            }
            _ => answer,
        }
    }

    fn is_redirect(&self) -> bool {
        self.way == Way::Redirect
    }
}

const SIZE: usize = 200_000;

/// What must come.
#[derive(Clone, Copy, Debug)]
enum Want {
    Whole,
    Part(usize, usize),
    Parts(&'static [(usize, usize)]),
    NotModified,
    Failed,
    Outside,
}

/// `TAG`, `SAME` and `EARLIER` stand for the attachment's own tag, its time, and a time before.
const CASES: &[(&[(&str, &str)], Want)] = &[
    (&[], Want::Whole),
    // Ranges (RFC 9110 section 14).
    (&[("range", "bytes=0-0")], Want::Part(0, 1)),
    (&[("range", "bytes=10-19")], Want::Part(10, 20)),
    (&[("range", "bytes=199990-")], Want::Part(199_990, SIZE)),
    (&[("range", "bytes=-10")], Want::Part(199_990, SIZE)),
    (&[("range", "bytes=-999999")], Want::Part(0, SIZE)),
    (
        &[("range", "bytes=199999-999999")],
        Want::Part(199_999, SIZE),
    ),
    (&[("range", "bytes=200000-")], Want::Outside),
    (&[("range", "bytes=-0")], Want::Outside),
    (&[("range", "lines=0-1")], Want::Whole),
    (&[("range", "bytes=9-1")], Want::Whole),
    (&[("range", "bytes=0-1,5-4")], Want::Whole),
    (&[("range", "bytes=0-9,10-19")], Want::Part(0, 20)),
    (&[("range", "bytes=5-14,0-9")], Want::Part(0, 15)),
    (&[("range", "bytes=0-9,999999-")], Want::Part(0, 10)),
    (
        &[("range", "bytes=100-109,0-9,-5")],
        Want::Parts(&[(100, 110), (0, 10), (199_995, SIZE)]),
    ),
    (
        &[("range", "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14")],
        Want::Parts(&[
            (0, 1),
            (2, 3),
            (4, 5),
            (6, 7),
            (8, 9),
            (10, 11),
            (12, 13),
            (14, 15),
        ]),
    ),
    (
        &[("range", "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16")],
        Want::Whole,
    ),
    // Conditions (section 13.1), each alone.
    (&[("if-match", "TAG")], Want::Whole),
    (&[("if-match", "*")], Want::Whole),
    (&[("if-match", "\"other\", TAG")], Want::Whole),
    (&[("if-match", "\"other\"")], Want::Failed),
    (&[("if-match", "W/TAG")], Want::Failed),
    (&[("if-match", "\u{e9}")], Want::Failed),
    (&[("if-unmodified-since", "SAME")], Want::Whole),
    (&[("if-unmodified-since", "EARLIER")], Want::Failed),
    (&[("if-unmodified-since", "nonsense")], Want::Whole),
    (&[("if-none-match", "TAG")], Want::NotModified),
    (&[("if-none-match", "W/TAG")], Want::NotModified),
    (&[("if-none-match", "*")], Want::NotModified),
    (&[("if-none-match", "\"other\"")], Want::Whole),
    (
        &[("if-none-match", "\"other\""), ("if-none-match", "TAG")],
        Want::NotModified,
    ),
    (&[("if-modified-since", "SAME")], Want::NotModified),
    (&[("if-modified-since", "EARLIER")], Want::Whole),
    (&[("if-modified-since", "nonsense")], Want::Whole),
    (
        &[("range", "bytes=0-9"), ("if-range", "TAG")],
        Want::Part(0, 10),
    ),
    (
        &[("range", "bytes=0-9"), ("if-range", "SAME")],
        Want::Part(0, 10),
    ),
    (
        &[("range", "bytes=0-9"), ("if-range", "\"other\"")],
        Want::Whole,
    ),
    (
        &[("range", "bytes=0-9"), ("if-range", "W/TAG")],
        Want::Whole,
    ),
    (
        &[("range", "bytes=0-9"), ("if-range", "EARLIER")],
        Want::Whole,
    ),
    (&[("if-range", "TAG")], Want::Whole),
    // Their order (section 13.2.2).
    (
        &[("if-match", "TAG"), ("if-unmodified-since", "EARLIER")],
        Want::Whole,
    ),
    (
        &[("if-match", "\"other\""), ("if-none-match", "TAG")],
        Want::Failed,
    ),
    (
        &[("if-unmodified-since", "EARLIER"), ("if-none-match", "TAG")],
        Want::Failed,
    ),
    (
        &[("if-match", "TAG"), ("if-none-match", "TAG")],
        Want::NotModified,
    ),
    (
        &[
            ("if-none-match", "\"other\""),
            ("if-modified-since", "SAME"),
        ],
        Want::Whole,
    ),
    (
        &[("if-none-match", "TAG"), ("range", "bytes=0-9")],
        Want::NotModified,
    ),
    (
        &[("if-none-match", "TAG"), ("range", "bytes=999999-")],
        Want::NotModified,
    ),
    (
        &[("if-match", "\"other\""), ("range", "bytes=999999-")],
        Want::Failed,
    ),
    (
        &[("if-match", "TAG"), ("range", "bytes=10-19")],
        Want::Part(10, 20),
    ),
    (
        &[("if-range", "\"other\""), ("range", "bytes=999999-")],
        Want::Whole,
    ),
    (
        &[("if-range", "TAG"), ("range", "bytes=999999-")],
        Want::Outside,
    ),
    (
        &[("if-range", "TAG"), ("range", "bytes=0-0,5-5")],
        Want::Parts(&[(0, 1), (5, 6)]),
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conditions_and_ranges_give_the_same_answer_whichever_way_it_comes() {
    let bytes = noise(SIZE);
    for door in Door::all().await {
        tokio::task::block_in_place(|| {
            let id = door.put("filename=a.bin&owner=page:1", "", &bytes);
            let target = format!("/download/{id}");
            let first = door
                .server
                .request("GET", &format!("{target}?via=relay"), &[], b"");
            let tag = first.header("etag").unwrap().to_owned();
            let same = first.header("last-modified").unwrap().to_owned();
            for (headers, want) in CASES {
                let headers: Vec<(&str, String)> = headers
                    .iter()
                    .map(|(name, value)| {
                        let value = value
                            .replace("TAG", &tag)
                            .replace("SAME", &same)
                            .replace("EARLIER", "Mon, 01 Jan 2024 00:00:00 GMT");
                        (*name, value)
                    })
                    .collect();
                let headers: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let what = format!("{:?} {headers:?}", door.way);
                // nginx itself refuses a header that comes twice.
                let names: std::collections::BTreeSet<_> =
                    headers.iter().map(|(name, _)| name).collect();
                if door.nginx.is_some() && names.len() < headers.len() {
                    continue;
                }
                let answer = door.ask("GET", &target, &headers);
                if door.is_redirect()
                    && matches!(want, Want::Whole | Want::Part(..) | Want::Parts(..))
                {
                    assert_eq!(answer.status, 302, "{what}: {}", answer.text());
                    // What the store makes of conditions on its own tag, and of several ranges, is its own affair.
                    let simple = headers
                        .iter()
                        .all(|(name, value)| *name == "range" && !value.contains(','));
                    if !simple || value_is_odd(&headers) {
                        continue;
                    }
                }
                let answer = door.fetch("GET", &target, &headers);
                check(
                    &what,
                    &answer,
                    *want,
                    &bytes,
                    (!door.is_redirect()).then_some((&tag, &same)),
                );
            }
        });
    }
}

/// A range that is to be ignored: Azure refuses some of those.
fn value_is_odd(headers: &[(&str, &str)]) -> bool {
    headers.iter().any(|(_, value)| {
        matches!(*value, "lines=0-1" | "bytes=9-1") || value.starts_with("bytes=-")
    })
}

fn check(what: &str, answer: &Answer, want: Want, bytes: &[u8], validators: Option<(&str, &str)>) {
    let text = || format!("{what}: {}", answer.head);
    assert!(!answer.truncated, "{}", text());
    if let (Some((tag, modified)), false) =
        (validators, matches!(want, Want::Failed | Want::Outside))
    {
        assert_eq!(answer.header("etag"), Some(tag), "{}", text());
        assert_eq!(answer.header("last-modified"), Some(modified), "{}", text());
        assert_eq!(
            answer.header("cache-control"),
            Some("private, max-age=31536000, immutable"),
            "{}",
            text()
        );
    }
    let length = answer
        .header("content-length")
        .map(|length| length.parse::<usize>().unwrap());
    let once = |name: &str| {
        let count = answer
            .head
            .lines()
            .filter(|line| line.to_lowercase().starts_with(&format!("{name}:")))
            .count();
        assert!(count <= 1, "{name} comes {count} times: {}", text());
    };
    for name in [
        "content-type",
        "content-disposition",
        "cache-control",
        "etag",
        "last-modified",
        "accept-ranges",
    ] {
        once(name);
    }
    match want {
        Want::Whole => {
            assert_eq!(answer.status, 200, "{}", text());
            assert!(answer.body == bytes, "{}", text());
            assert_eq!(length, Some(bytes.len()), "{}", text());
            assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{}", text());
            assert_eq!(answer.header("content-range"), None, "{}", text());
        }
        Want::Part(start, end) => {
            assert_eq!(answer.status, 206, "{}", text());
            assert!(answer.body == bytes[start..end], "{}", text());
            assert_eq!(length, Some(end - start), "{}", text());
            let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
            assert_eq!(
                answer.header("content-range"),
                Some(range.as_str()),
                "{}",
                text()
            );
            assert_eq!(
                answer.header("content-type"),
                Some("application/octet-stream"),
                "{}",
                text()
            );
        }
        Want::Parts(parts) => {
            assert_eq!(answer.status, 206, "{}", text());
            assert_eq!(length, Some(answer.body.len()), "{}", text());
            assert_eq!(answer.header("content-range"), None, "{}", text());
            let boundary = answer.header("content-type").unwrap();
            let boundary = boundary
                .strip_prefix("multipart/byteranges; boundary=")
                .unwrap();
            let mut wanted = Vec::new();
            for (i, (start, end)) in parts.iter().enumerate() {
                let head = format!(
                    "{}--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {start}-{}/{}\r\n\r\n",
                    if i == 0 { "" } else { "\r\n" },
                    end - 1,
                    bytes.len()
                );
                wanted.extend_from_slice(head.as_bytes());
                wanted.extend_from_slice(&bytes[*start..*end]);
            }
            wanted.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            assert!(answer.body == wanted, "{}", text());
        }
        Want::NotModified => {
            assert_eq!(answer.status, 304, "{}", text());
            assert_eq!(answer.body, b"", "{}", text());
            for name in ["content-type", "content-disposition", "content-range"] {
                assert_eq!(answer.header(name), None, "{}", text());
            }
        }
        Want::Failed => answer.assert_problem(412, "precondition_failed", what),
        Want::Outside => {
            answer.assert_problem(416, "bad_range", what);
            let range = format!("bytes */{}", bytes.len());
            assert_eq!(
                answer.header("content-range"),
                Some(range.as_str()),
                "{}",
                text()
            );
        }
    }
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script></html>";
const SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
const OCTETS: &str = "application/octet-stream";

/// Name, claim, bytes; then the type that is served, whether it may be shown, and a word of its policy.
type Typed = (
    &'static str,
    &'static str,
    &'static [u8],
    &'static str,
    bool,
    &'static str,
);

const TYPES: &[Typed] = &[
    (
        "a.png",
        "image/png",
        PNG,
        "image/png",
        true,
        "img-src 'self'",
    ),
    (
        "a.txt",
        "text/plain",
        b"hello",
        "text/plain; charset=utf-8",
        true,
        "sandbox",
    ),
    (
        "a.pdf",
        "application/pdf",
        b"%PDF-1.7\n",
        "application/pdf",
        true,
        "object-src 'self'",
    ),
    (
        "a.wav",
        "audio/wav",
        b"RIFF\x24\0\0\0WAVEfmt ",
        "audio/wav",
        true,
        "media-src 'self'",
    ),
    // What is not what it says.
    ("b.png", "image/png", HTML, OCTETS, false, "sandbox"),
    (
        "c.png",
        "image/png",
        b"\0\x01\x02",
        OCTETS,
        false,
        "sandbox",
    ),
    (
        "d.txt",
        "text/plain",
        b"\0\x01\x02",
        OCTETS,
        false,
        "sandbox",
    ),
    (
        "e.html",
        "text/plain",
        HTML,
        "text/plain; charset=utf-8",
        true,
        "sandbox",
    ),
    // What a browser could execute.
    ("a.html", "text/html", HTML, OCTETS, false, "sandbox"),
    ("a.svg", "image/svg+xml", SVG, OCTETS, false, "sandbox"),
    (
        "a.xhtml",
        "application/xhtml+xml",
        b"<html/>",
        OCTETS,
        false,
        "sandbox",
    ),
    (
        "a.js",
        "text/javascript",
        b"alert(1)",
        OCTETS,
        false,
        "sandbox",
    ),
    ("a.css", "text/css", b"a{}", OCTETS, false, "sandbox"),
    ("a.mht", "multipart/related", b"x", OCTETS, false, "sandbox"),
    ("a.xyz", "unknown/unknown", HTML, OCTETS, false, "sandbox"),
    // What nobody asked to be shown.
    (
        "a.zip",
        "application/zip",
        b"PK\x03\x04",
        "application/zip",
        false,
        "sandbox",
    ),
    (
        "a.csv",
        "text/csv",
        b"a,b\n",
        "text/csv; charset=utf-8",
        false,
        "sandbox",
    ),
];

/// Claim and bytes of a text; then its type where it is shown, and where it is saved.
const TEXTS: &[(&str, &[u8], &str, &str)] = &[
    (
        "text/markdown",
        "# 見出し".as_bytes(),
        "text/plain; charset=utf-8",
        "text/markdown; charset=utf-8",
    ),
    (
        "application/json",
        b"{}",
        "text/plain; charset=utf-8",
        "application/json; charset=utf-8",
    ),
    (
        "text/plain",
        b"\x93\xfa\x96\x7b\x8c\xea",
        "text/plain",
        "text/plain",
    ),
    (
        "text/x-log; charset=sjis",
        b"\x93\xfa\x96\x7b\x8c\xea",
        "text/plain; charset=Shift_JIS",
        "text/x-log; charset=Shift_JIS",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_text_is_in_its_charset_whichever_way_it_comes() {
    for door in Door::all().await {
        tokio::task::block_in_place(|| {
            for (claim, bytes, shown, saved) in TEXTS {
                let id = door.put("filename=a.text", claim, bytes);
                for (folder, kind, served) in [
                    ("attachment", "inline", shown),
                    ("download", "attachment", saved),
                ] {
                    let what = format!("{:?} {folder} {claim}", door.way);
                    let answer = door.fetch("GET", &format!("/{folder}/{id}"), &[]);
                    assert_eq!(answer.header("content-type"), Some(*served), "{what}");
                    let disposition = format!("{kind}; filename=\"a.text\"");
                    let given = answer.header("content-disposition");
                    assert_eq!(given, Some(disposition.as_str()), "{what}");
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_page_of_a_listed_origin_reads_an_attachment_whichever_way_it_comes() {
    let listed = [("ATTACHE_SERVER__CORS_ORIGINS", "https://wiki.example.org")];
    for way in WAYS {
        let Some(door) = Door::open_with(way, &listed).await else {
            continue;
        };
        tokio::task::block_in_place(|| {
            let id = door.put("filename=a.txt", "text/plain", b"hello");
            let page = [("origin", "https://wiki.example.org")];
            let answer = door.ask("GET", &format!("/attachment/{id}"), &page);
            let what = format!("{way:?}: {}", answer.head);
            // The store has rules of its own, so a redirect to it is no use to a script.
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, &b"hello"[..]),
                "{what}"
            );
            for (name, value) in [
                ("access-control-allow-origin", "https://wiki.example.org"),
                ("access-control-allow-credentials", "true"),
                ("cross-origin-resource-policy", "cross-origin"),
                ("vary", "Origin"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{what}");
            }
            assert!(
                answer.header("access-control-expose-headers").is_some(),
                "{what}"
            );
            let other = door.ask("GET", &format!("/attachment/{id}"), &[]);
            assert_eq!(other.header("access-control-allow-origin"), None, "{way:?}");
            assert_eq!(
                other.header("vary"),
                Some("Origin"),
                "{way:?}: {}",
                other.head
            );
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_what_is_safe_is_shown_whichever_way_it_comes() {
    for door in Door::all().await {
        tokio::task::block_in_place(|| {
            for (name, claim, bytes, served, shown, policy) in TYPES {
                let id = door.put(&format!("filename={name}"), claim, bytes);
                for (folder, inline) in [("attachment", *shown), ("download", false)] {
                    let what = format!("{:?} {folder} {name} {claim}", door.way);
                    let first = door.ask("GET", &format!("/{folder}/{id}"), &[]);
                    let last = door.fetch("GET", &format!("/{folder}/{id}"), &[]);
                    assert_eq!(last.status, 200, "{what}: {}", last.head);
                    assert!(last.body == *bytes, "{what}");
                    assert_eq!(last.header("content-type"), Some(*served), "{what}");
                    let kind = if inline { "inline" } else { "attachment" };
                    let disposition = format!("{kind}; filename=\"{name}\"");
                    assert_eq!(
                        last.header("content-disposition"),
                        Some(disposition.as_str()),
                        "{what}"
                    );
                    // A store sends no such headers; the redirect to it does.
                    for (header, value) in [
                        ("x-content-type-options", "nosniff"),
                        ("referrer-policy", "no-referrer"),
                        ("cross-origin-resource-policy", "same-site"),
                    ] {
                        assert_eq!(first.header(header), Some(value), "{what}: {}", first.head);
                    }
                    let given = first.header("content-security-policy").unwrap();
                    assert!(given.starts_with("default-src 'none'"), "{what}: {given}");
                    if inline && !door.is_redirect() {
                        assert!(given.contains(policy), "{what}: {given}");
                    } else {
                        assert!(given.ends_with("sandbox"), "{what}: {given}");
                    }
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn head_says_what_get_says_and_reads_nothing() {
    for door in Door::all().await {
        tokio::task::block_in_place(|| {
            let id = door.put("filename=%E5%86%99.png&owner=page:1", "image/png", PNG);
            for target in [format!("/attachment/{id}"), format!("/download/{id}")] {
                for headers in [
                    &[][..],
                    &[("range", "bytes=0-3")],
                    &[("if-none-match", "*")],
                    &[("if-match", "\"x\"")],
                ] {
                    let what = format!("{:?} {target} {headers:?}", door.way);
                    // Range is for GET alone (section 14.2).
                    let of_get: Vec<_> = headers
                        .iter()
                        .copied()
                        .filter(|(name, _)| *name != "range")
                        .collect();
                    let get = door.ask("GET", &target, &of_get);
                    door.azure.as_ref().inspect(|azure| azure.reset_counts());
                    let head = door.ask("HEAD", &target, headers);
                    assert_eq!(fields(&get), fields(&head), "{what}");
                    assert_eq!(get.status, head.status, "{what}");
                    assert_eq!(head.body, b"", "{what}");
                    if let Some(azure) = &door.azure {
                        let operations = azure.counts().operations;
                        assert!(
                            !operations.contains_key("GetBlob"),
                            "{what}: {operations:?}"
                        );
                    }
                }
            }
        });
    }
}

/// The head but its first line, and but what differs from one answer to the next.
fn fields(answer: &Answer) -> BTreeMap<String, String> {
    answer
        .head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        // The problem's length varies with its request's id only in its words; HEAD of it has no body.
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_is_not_touched_by_what_needs_no_byte_and_read_once_for_each_part() {
    for way in [Way::RelayOfBlobs, Way::Redirect] {
        let door = Door::open(way).await.unwrap();
        let azure = door.azure.as_ref().unwrap();
        tokio::task::block_in_place(|| {
            let id = door.put("filename=a.bin", "", &noise(SIZE));
            let target = format!("/attachment/{id}");
            // The signing key is warm.
            door.ask("GET", &target, &[]);
            azure.reset_counts();
            for (headers, status) in [
                (("if-none-match", "*"), 304),
                (("if-match", "\"x\""), 412),
                (("range", "bytes=999999-"), 416),
            ] {
                assert_eq!(door.ask("GET", &target, &[headers]).status, status);
            }
            assert_eq!(
                door.ask("HEAD", &target, &[]).status,
                if way == Way::Redirect { 302 } else { 200 }
            );
            assert_eq!(azure.counts().operations, BTreeMap::new(), "{way:?}");
            let two = [("range", "bytes=0-9,100-109")];
            door.ask("GET", &format!("{target}?via=relay"), &two);
            assert_eq!(azure.counts().operations.get("GetBlob"), Some(&2));
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redirect_is_kept_for_less_than_its_url_lives_and_the_store_keeps_to_it() {
    let door = Door::open(Way::Redirect).await.unwrap();
    tokio::task::block_in_place(|| {
        let id = door.put("filename=a.txt", "text/plain", b"hello");
        let first = door.ask("GET", &format!("/attachment/{id}"), &[]);
        let keep = first.header("cache-control").unwrap();
        let seconds: i64 = keep
            .strip_prefix("private, max-age=")
            .unwrap()
            .parse()
            .unwrap();
        let url = first.header("location").unwrap();
        let expiry = url.split("se=").nth(1).unwrap().split('&').next().unwrap();
        let expiry = expiry.replace("%3A", ":");
        let format = &time::format_description::well_known::Rfc3339;
        let left =
            time::OffsetDateTime::parse(&expiry, format).unwrap() - time::OffsetDateTime::now_utc();
        assert!(
            (1..left.whole_seconds()).contains(&seconds),
            "{keep}, {left}"
        );
        let last = door.fetch("GET", &format!("/attachment/{id}"), &[]);
        assert_eq!(
            last.header("cache-control"),
            Some("private, max-age=1200, immutable")
        );
        // Who may ask otherwise gets the bytes from us.
        let relayed = door.ask("GET", &format!("/attachment/{id}?via=relay"), &[]);
        assert_eq!((relayed.status, &relayed.body[..]), (200, &b"hello"[..]));
    });
}
