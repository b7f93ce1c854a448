#!/usr/bin/env bash
# hyper (and so axum) takes `Transfer-Encoding: gzip, chunked`, removes the chunks, and gives the gzip to the application as the body.
#
# One would guess: a server that cannot undo a transfer coding says 501 (RFC 9112, 6.1), or undoes it: a transfer coding belongs to the
#   connection, not to the content, unlike Content-Encoding.
# What happens: 200. Only the last coding is looked at. The body is the compressed bytes, without Content-Encoding; the only trace is the
#   header, which few handlers read.
# Versions: axum 0.8.9 on hyper 1.
# Why it matters: an attachment sent that way is stored compressed under its own name and type, and is broken for every reader. A store
#   must refuse codings other than `chunked` itself.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
axum = { version = "=0.8.9", default-features = false, features = ["http1", "tokio"] }
tokio = { version = "1", features = ["rt", "macros", "net"] }
TOML
cat >src/main.rs <<'RUST'
use axum::{body::Bytes, http::HeaderMap, routing::post, Router};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let echo = |headers: HeaderMap, body: Bytes| async move {
        assert!(!headers.contains_key("content-encoding"));
        body
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    axum::serve(listener, Router::new().route("/", post(echo))).await.expect("the server runs");
}
RUST
export CARGO_TARGET_DIR="$dir/target"
cargo build --quiet
: >port
target/debug/finding >port &
until [ -s port ]; do sleep 0.1; done

cat >try.py <<'PY'
import gzip, http.client, sys

sent = gzip.compress(b"hello")
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("POST", "/", iter([sent]), {"Transfer-Encoding": "gzip, chunked"}, encode_chunked=True)
response = connection.getresponse()
received = response.read()
print(f"Transfer-Encoding: gzip, chunked of \"hello\": {response.status}; the handler saw {len(received)} bytes, "
      f"{'still compressed' if received == sent else received}")
sys.exit((response.status, received) != (200, sent))
PY
cargo tree --quiet | grep -oE '\b(axum|hyper) v[0-9.]+' | sort -u
python3 try.py "$(cat port)" || { echo "the behaviour has changed"; exit 1; }
