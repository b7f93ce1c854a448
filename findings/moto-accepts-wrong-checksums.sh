#!/usr/bin/env bash
# moto accepts an S3 upload whose checksum is that of other bytes, stores the wrong checksum, and hands it out.
#
# One would guess: the stand-in that "mocks S3" compares x-amz-checksum-sha256 and Content-MD5 with the body, as S3 does (400
#   BadDigest), so that a test for damaged uploads can run against it; or it computes the checksum itself.
# What happens: 200 for a wrong Content-MD5 and for a wrong ChecksumSHA256. What becomes of the claimed checksum depends on the
#   SDK's hint (x-amz-sdk-checksum-algorithm, which S3 does not need): without it the checksum is forgotten; with it, it is stored
#   as the object's own, HEAD returns it, and boto3 refuses the bytes that it reads. The error appears at the reader.
# Versions: moto 5.2.5, boto3 1.44.8.
# Why it matters: a test that damages an upload and expects an error fails for the wrong reason; worse, a store that compares HEAD's
#   checksum with its own sees agreement where nothing was checked.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'moto[server]==5.2.5' boto3==1.44.8

cat >try.py <<'PY'
import base64, hashlib, logging, sys
import boto3
from botocore.exceptions import ClientError, FlexibleChecksumError
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
                  aws_access_key_id="test", aws_secret_access_key="test")
s3.create_bucket(Bucket="files")

def digest_of_other_bytes(algorithm):
    return base64.b64encode(hashlib.new(algorithm, b"other bytes").digest()).decode()

def status(**claim):
    try:
        return s3.put_object(Bucket="files", Key="a", Body=b"hello", **claim)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["Error"]["Code"]

def stored():
    return s3.head_object(Bucket="files", Key="a", ChecksumMode="ENABLED").get("ChecksumSHA256")

wrong = digest_of_other_bytes("sha256")
md5 = status(ContentMD5=digest_of_other_bytes("md5"))
bare, forgotten = status(ChecksumSHA256=wrong), stored()
hinted, kept = status(ChecksumSHA256=wrong, ChecksumAlgorithm="SHA256"), stored()
try:
    read = s3.get_object(Bucket="files", Key="a")["Body"].read()
except FlexibleChecksumError as error:
    read = type(error).__name__
server.stop()
print(f"wrong Content-MD5: {md5}")
print(f"wrong ChecksumSHA256: {bare}, and HEAD returns {forgotten}")
print(f"the same with ChecksumAlgorithm: {hinted}, and HEAD returns {'the wrong one' if kept == wrong else kept}; boto3 reads: {read}")
sys.exit((md5, bare, forgotten, hinted, kept, read) != (200, 200, None, 200, wrong, "FlexibleChecksumError"))
PY

venv/bin/pip freeze | grep -E '^(moto|boto3)=' | tr '\n' ' '; echo
venv/bin/python try.py || { echo "the behaviour has changed"; exit 1; }
