#!/usr/bin/env bash
# azcopy pins the ranges of a download by If-Unmodified-Since, in whole seconds, and not by the entity tag.
#
# One would guess: the ranges of one file carry `If-Match` with the entity tag that the first response gave, as those of Microsoft's own
#   Python SDK do, so that parts of two versions can never be put together.
# What happens: every range carries If-Unmodified-Since with Last-Modified and no If-Match. HTTP dates have no fractions: a blob
#   that is overwritten in the second in which it was written satisfies the condition (RFC 9110, 8.8.2.2, calls such dates weak).
# Versions: azcopy 10.32.2 (@azure-tools/azcopy-linux), azurite 3.37.0, @azure/storage-blob 12.32.0.
# Why it matters: a server that stands in for Azure, or a proxy before it, must implement If-Unmodified-Since, which is the rarely
#   tested one; and who overwrites blobs quickly has no promise that a copy is one version.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

npm install --silent --no-audit --no-fund --prefix "$dir" azurite@3.37.0 @azure/storage-blob@12.32.0 \
  @azure-tools/azcopy-linux@10.32.2 >/dev/null
azcopy=$dir/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64
chmod +x "$azcopy"

export AZURITE_ACCOUNTS="acme:$(printf 'a key for the emulator' | base64)"
: >azurite.log
node_modules/.bin/azurite-blob --blobPort 0 --inMemoryPersistence --disableTelemetry >azurite.log 2>&1 &
for _ in $(seq 150); do grep -q 'listens on' azurite.log && break; sleep 0.2; done
base=$(grep -oE 'listens on http://127.0.0.1:[0-9]+' azurite.log | cut -d' ' -f3)

cat >try.mjs <<'JS'
import { BlobSASPermissions, BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';

const [base, azcopy] = process.argv.slice(2);
const credential = new StorageSharedKeyCredential(...process.env.AZURITE_ACCOUNTS.split(':'));
const container = new BlobServiceClient(`${base}/acme`, credential).getContainerClient('files');
await container.create();
const blob = container.getBlockBlobClient('large.bin');
await blob.uploadData(Buffer.alloc(24 << 20));
const modified = (await blob.getProperties()).lastModified.toUTCString();

const ranges = [];
const proxy = http.createServer((request, response) => {
  if (request.method === 'GET') ranges.push(request.headers);
  const { method, url: path, headers } = request;
  request.pipe(http.request(base, { method, path, headers }, (upstream) => {
    response.writeHead(upstream.statusCode, upstream.headers);
    upstream.pipe(response);
  }));
}).listen(0, '127.0.0.1');
await once(proxy, 'listening');

const url = new URL(await blob.generateSasUrl({
  permissions: BlobSASPermissions.parse('r'), expiresOn: new Date(Date.now() + 3_600_000),
}));
url.port = proxy.address().port;
const env = { ...process.env, AZCOPY_LOG_LOCATION: `${process.cwd()}/log`, AZCOPY_JOB_PLAN_LOCATION: `${process.cwd()}/plan` };
const copy = spawn(azcopy, ['copy', url.href, 'large.bin', '--from-to=BlobLocal', '--log-level=NONE'], { env, stdio: 'ignore' });
const [code] = await once(copy, 'exit');
for (const headers of ranges) {
  console.log(`${headers['x-ms-range'] ?? headers.range}: If-Match ${headers['if-match'] ?? 'none'}, `
    + `If-Unmodified-Since ${headers['if-unmodified-since']}`);
}
const same = code === 0 && ranges.length === 3
  && ranges.every((headers) => !headers['if-match'] && headers['if-unmodified-since'] === modified);
process.exit(same ? 0 : 1);
JS

"$azcopy" --version
node try.mjs "$base" "$azcopy" || { echo "the behaviour has changed"; exit 1; }
