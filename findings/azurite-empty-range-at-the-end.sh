#!/usr/bin/env bash
# Azurite satisfies a range that starts exactly at the end, with a Content-Range that runs backwards.
#
# One would guess: `Range: bytes=5-` of 5 bytes is 416, as no byte of the range exists (RFC 9110, 14.1.2: a range is satisfiable
#   if its first position is less than the length), and as it is for `bytes=6-`.
# What happens: 206 with `Content-Range: bytes 5-4/5` and no body, which RFC 9110 (14.4) calls invalid: the last position is
#   before the first. An empty blob asked for `bytes=0-0` gives `bytes 0--1/0`. Microsoft's SDK takes both without an error.
# Versions: azurite 3.37.0, @azure/storage-blob 12.32.0.
# Why it matters: a client that resumes a download that was complete asks for just that range. Code that relays Content-Range
#   as it is, or tests its 416 path with the emulator at the first byte behind the end, is wrong and finds out late.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

npm install --silent --no-audit --no-fund --prefix "$dir" azurite@3.37.0 @azure/storage-blob@12.32.0 >/dev/null

export AZURITE_ACCOUNTS="acme:$(printf 'a key for the emulator' | base64)"
: >azurite.log
node_modules/.bin/azurite-blob --blobPort 0 --inMemoryPersistence --disableTelemetry >azurite.log 2>&1 &
for _ in $(seq 150); do grep -q 'listens on' azurite.log && break; sleep 0.2; done
base=$(grep -oE 'listens on http://127.0.0.1:[0-9]+' azurite.log | cut -d' ' -f3)

cat >try.mjs <<'JS'
import { BlobSASPermissions, BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';

const credential = new StorageSharedKeyCredential(...process.env.AZURITE_ACCOUNTS.split(':'));
const container = new BlobServiceClient(`${process.argv[2]}/acme`, credential).getContainerClient('files');
await container.create();

let same = true;
async function ask(text, range, expected) {
  const blob = container.getBlockBlobClient(`length-${text.length}`);
  await blob.upload(text, text.length);
  const url = await blob.generateSasUrl({
    permissions: BlobSASPermissions.parse('r'), expiresOn: new Date(Date.now() + 3_600_000),
  });
  const response = await fetch(url, { headers: { range } });
  const body = await response.arrayBuffer();
  const seen = `${response.status} Content-Range: ${response.headers.get('content-range')}`;
  console.log(`${range} of ${text.length} bytes: ${seen}, ${response.ok ? `${body.byteLength} bytes` : 'an error'} in the body`);
  same &&= seen === expected;
}
await ask('hello', 'bytes=4-', '206 Content-Range: bytes 4-4/5');
await ask('hello', 'bytes=5-', '206 Content-Range: bytes 5-4/5');
await ask('hello', 'bytes=5-9', '206 Content-Range: bytes 5-4/5');
await ask('hello', 'bytes=6-', '416 Content-Range: bytes */5');
await ask('', 'bytes=0-0', '206 Content-Range: bytes 0--1/0');

const resumed = await container.getBlockBlobClient('length-5').download(5);
console.log(`the SDK's download(5): no error, contentRange ${resumed.contentRange}`);
process.exit(same && resumed.contentRange === 'bytes 5-4/5' ? 0 : 1);
JS

echo "azurite $(node_modules/.bin/azurite-blob --version)"
node try.mjs "$base" || { echo "the behaviour has changed"; exit 1; }
