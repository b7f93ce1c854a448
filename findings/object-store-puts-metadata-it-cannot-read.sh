#!/usr/bin/env bash
# object_store puts metadata that it cannot read: afterwards the object itself cannot be read, nor its size.
#
# One would guess: a metadata value with a letter outside ASCII is refused by put, or is encoded, or comes back somehow; and at worst
#   the attribute is missing from a get.
# What happens: put sends the UTF-8 as it is and is Ok. Every get and head of that object then fails with `Generic`, "contained non UTF-8
#   characters", which is not what is wrong: the reader takes visible ASCII only. Another client reads the object without trouble.
# Versions: object_store 0.14.2, moto 5.2.5, boto3 1.44.8.
# Why it matters: an attachment stored with its title in the metadata is lost for the program that stored it, and a test that only puts
#   is green. Percent-encode metadata values.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'moto[server]==5.2.5' boto3==1.44.8

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
use object_store::aws::AmazonS3Builder;
use object_store::{path::Path, Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let endpoint = std::env::args().nth(1).expect("the endpoint");
    let s3 = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_bucket_name("files")
        .with_access_key_id("test").with_secret_access_key("test").build().expect("a store");
    let key = Path::from("report.pdf");
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata("title".into()), "Übersicht".into());
    let put = s3.put_opts(&key, "hello".into(), PutOptions { attributes, ..PutOptions::default() }).await;
    let get = s3.get(&key).await.map(|_| ()).expect_err("get fails").to_string();
    let head = s3.head(&key).await.map(|_| ()).expect_err("head fails").to_string();
    println!("put: {}\nget: {get}\nhead: {head}", if put.is_ok() { "Ok" } else { "an error" });
    assert!(put.is_ok() && get.contains("non UTF-8 characters") && head.contains("non UTF-8 characters"));
}
RUST
export CARGO_TARGET_DIR="$dir/target"
cargo build --quiet

cat >try.py <<'PY'
import logging, subprocess, sys
import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
s3.create_bucket(Bucket="files")
same = subprocess.run([f"{sys.argv[1]}/finding", endpoint]).returncode == 0
body = s3.get_object(Bucket="files", Key="report.pdf")["Body"].read()
print(f"boto3 reads the same object: {body}")
server.stop()
sys.exit(not (same and body == b"hello"))
PY
cargo tree --quiet --depth 1 | grep object_store
venv/bin/pip freeze | grep -E '^(moto|boto3)='
venv/bin/python try.py "$CARGO_TARGET_DIR/debug" || { echo "the behaviour has changed"; exit 1; }
