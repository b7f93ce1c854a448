#!/usr/bin/env bash
# Whether an Azure blob has a Content-MD5 depends on how its bytes were sent, not on what was asked for.
#
# One would guess: Microsoft's SDK stores an MD5 with every upload, or with none; and the same call does the same for a
#   larger file.
# What happens: the MD5 of a small blob is the service's own work, done for Put Blob alone. Put Block List has none to give, and
#   the SDKs do not compute one. So `upload_blob` of Python leaves an MD5 up to 64 MiB and nothing from one byte more;
#   and `uploadStream` of JavaScript, which always sends blocks, leaves nothing for 2 bytes, where `uploadData` leaves one.
# Versions: azure-storage-blob 12.31.1 (Python), @azure/storage-blob 12.32.0, azurite 3.37.0.
# Why it matters: code that relies on Content-MD5 (to verify, to skip equal files, to detect a change) works with the files of the
#   tests, and fails with the large attachments, which are those that get damaged.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

npm install --silent --no-audit --no-fund --prefix "$dir" azurite@3.37.0 @azure/storage-blob@12.32.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-storage-blob==12.31.1

export AZURITE_ACCOUNTS="acme:$(printf 'a key for the emulator' | base64)"
# This Python SDK asks for a newer version of the service than this Azurite knows.
: >azurite.log
node_modules/.bin/azurite-blob --blobPort 0 --inMemoryPersistence --skipApiVersionCheck --disableTelemetry >azurite.log 2>&1 &
for _ in $(seq 150); do grep -q 'listens on' azurite.log && break; sleep 0.2; done
base=$(grep -oE 'listens on http://127.0.0.1:[0-9]+' azurite.log | cut -d' ' -f3)

cat >try.py <<'PY'
import os, sys
from azure.storage.blob import BlobServiceClient

account, key = os.environ["AZURITE_ACCOUNTS"].split(":")
container = BlobServiceClient(f"{sys.argv[1]}/{account}", credential={"account_name": account, "account_key": key}) \
    .get_container_client("files")
container.create_container()
seen = []
for size in (64 << 20, (64 << 20) + 1):
    container.upload_blob(f"size-{size}", bytes(size))
    md5 = container.get_blob_client(f"size-{size}").get_blob_properties().content_settings.content_md5
    print(f"Python upload_blob, {size} bytes: Content-MD5 {bytes(md5).hex() if md5 else 'missing'}")
    seen.append(bool(md5))
sys.exit(seen != [True, False])
PY
cat >try.mjs <<'JS'
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { Readable } from 'node:stream';

const credential = new StorageSharedKeyCredential(...process.env.AZURITE_ACCOUNTS.split(':'));
const container = new BlobServiceClient(`${process.argv[2]}/acme`, credential).getContainerClient('files');
const seen = [];
for (const [name, upload] of [
  ['uploadData', (blob) => blob.uploadData(Buffer.from('hi'))],
  ['uploadStream', (blob) => blob.uploadStream(Readable.from([Buffer.from('hi')]))],
]) {
  const blob = container.getBlockBlobClient(name);
  await upload(blob);
  const { contentMD5 } = await blob.getProperties();
  console.log(`JavaScript ${name}, 2 bytes: Content-MD5 ${contentMD5 ? Buffer.from(contentMD5).toString('hex') : 'missing'}`);
  seen.push(Boolean(contentMD5));
}
process.exit(seen.join() === 'true,false' ? 0 : 1);
JS

echo "$(venv/bin/pip freeze | grep azure-storage-blob), @azure/storage-blob $(node -p 'require("@azure/storage-blob/package.json").version')"
{ venv/bin/python try.py "$base" && node try.mjs "$base"; } || { echo "the behaviour has changed"; exit 1; }
