#!/usr/bin/env bash
# Azurite stores the framing of an upload with CRC-64 as part of the blob.
#
# One would guess: an upload with the SDK's checksum option is checked and stored, or is refused by an emulator that does not
#   know the option.
# What happens: `contentChecksumAlgorithm: 'StorageCrc64'` does not send the header x-ms-content-crc64; it wraps the body in a
#   "structured message" (x-ms-structured-body). Azurite does not know that header, so it stores the message as the content:
#   5 bytes become 44, the response is 201, and the stored Content-MD5 is that of the 44 bytes. A read with the same option
#   fails at the client; every other reader gets the frame.
# Versions: azurite 3.37.0, @azure/storage-blob 12.32.0.
# Why it matters: who turns checksums on to protect attachments has tests that write damaged ones with success.
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
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { createHash } from 'node:crypto';

const credential = new StorageSharedKeyCredential(...process.env.AZURITE_ACCOUNTS.split(':'));
const container = new BlobServiceClient(`${process.argv[2]}/acme`, credential).getContainerClient('files');
await container.create();
const checked = { contentChecksumAlgorithm: 'StorageCrc64' };
const blob = container.getBlockBlobClient('hello.txt');

const put = await blob.upload('hello', 5, checked);
const bytes = await blob.downloadToBuffer();
const { contentLength, contentMD5 } = await blob.getProperties();
const ofStored = Buffer.from(contentMD5).equals(createHash('md5').update(bytes).digest());
const readBack = await blob.download(0, undefined, checked).then(() => 'ok', (error) => error.message);

console.log(`upload of 5 bytes: ${put._response.status}`);
console.log(`plain read: ${bytes.length} bytes, ${bytes.toString('latin1').replace(/[^ -~]/g, '.')}`);
console.log(`properties: length ${contentLength}, Content-MD5 of the stored bytes: ${ofStored}`);
console.log(`read with the same option: ${readBack}`);
const same = put._response.status === 201 && bytes.length === 44 && bytes.includes('hello') && contentLength === 44
  && ofStored && readBack === 'Unexpected structured content length';
process.exit(same ? 0 : 1);
JS

echo "azurite $(node_modules/.bin/azurite-blob --version), @azure/storage-blob $(node -p 'require("@azure/storage-blob/package.json").version')"
node try.mjs "$base" || { echo "the behaviour has changed"; exit 1; }
