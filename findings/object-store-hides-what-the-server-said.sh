#!/usr/bin/env bash
# object_store: a lost race is "already exists", a missing bucket is a missing object, and a range beyond the end has no kind.
#
# One would guess: `Error::AlreadyExists` of a create-only put means that the object is there; a missing bucket is told apart from a
#   missing key; 416 has a kind of its own; and Retry-After is honoured by a client that retries 503 by itself.
# What happens: every 409 is `AlreadyExists`, S3's ConditionalRequestConflict included (two writers at once, "retry the upload", the
#   object perhaps absent). 404 NoSuchBucket is `NotFound`, for put as well. 416 is `Generic`, its status in the text only. 503 with
#   `Retry-After: 5` is tried three times within a second.
# Versions: object_store 0.14.2, against recorded responses of a loopback server.
# Why it matters: code that takes `AlreadyExists` for "an earlier attempt of mine succeeded" loses the attachment; code that takes
#   `NotFound` for "it is deleted" forgets every attachment when a bucket's name is wrong.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
object_store = { version = "=0.14.2", features = ["aws"] }
tokio = { version = "1", features = ["rt", "macros"] }

[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{path::Path, Error, ObjectStoreExt, ObjectStore, PutMode, RetryConfig};
use std::io::{BufRead, BufReader, Write};
use std::sync::{atomic::{AtomicUsize, Ordering}, Arc};
use std::time::{Duration, Instant};

/// A store whose server responds to everything with `head`, and how often it was asked.
fn store(head: &'static str, code: &'static str) -> (AmazonS3, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut line = String::new();
            while stream.read_line(&mut line).expect("a request") > 2 {
                line.clear();
            }
            seen.fetch_add(1, Ordering::SeqCst);
            let body = format!("<Error><Code>{code}</Code></Error>");
            write!(stream.get_mut(), "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .expect("a response");
        }
    });
    let retry = RetryConfig { max_retries: 2, ..RetryConfig::default() };
    let store = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_bucket_name("files")
        .with_access_key_id("test").with_secret_access_key("test").with_retry(retry).build().expect("a store");
    (store, requests)
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::AlreadyExists { .. } => "AlreadyExists",
        Error::NotFound { .. } => "NotFound",
        Error::Generic { .. } => "Generic",
        _ => "another",
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let key = Path::from("report.pdf");
    let mut seen = Vec::new();

    let (s3, _) = store("409 Conflict", "ConditionalRequestConflict");
    seen.push(kind(&s3.put_opts(&key, "x".into(), PutMode::Create.into()).await.expect_err("409")));
    println!("create-only put, 409 ConditionalRequestConflict: {}", seen[0]);

    let (s3, _) = store("404 Not Found", "NoSuchBucket");
    seen.push(kind(&s3.put(&key, "x".into()).await.expect_err("404")));
    println!("put, 404 NoSuchBucket: {}", seen[1]);

    let (s3, _) = store("416 Range Not Satisfiable\r\nContent-Range: bytes */5", "InvalidRange");
    seen.push(kind(&s3.get_range(&key, 5..6).await.expect_err("416")));
    println!("get_range, 416 InvalidRange: {}", seen[2]);

    let (s3, requests) = store("503 Slow Down\r\nRetry-After: 5", "SlowDown");
    let start = Instant::now();
    seen.push(kind(&s3.get(&key).await.expect_err("503")));
    let (requests, elapsed) = (requests.load(Ordering::SeqCst), start.elapsed());
    println!("get, 503 with Retry-After: 5: {}, {requests} requests in {} ms", seen[3], elapsed.as_millis());

    assert_eq!(seen, ["AlreadyExists", "NotFound", "Generic", "Generic"]);
    assert!(requests == 3 && elapsed < Duration::from_secs(5));
}
RUST
export CARGO_TARGET_DIR="$dir/target"
cargo build --quiet
cargo tree --quiet --depth 1 | grep object_store
target/debug/finding || { echo "the behaviour has changed"; exit 1; }
