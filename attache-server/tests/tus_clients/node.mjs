// Uploads a file by tus-js-client in Node, as TUS_HOW says. Prints the URL of the upload once the client calls it complete.

import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";

const { TUS_PACKAGES, TUS_ENDPOINT, TUS_FILE, TUS_HOW, TUS_NAME, TUS_STORE } = process.env;
/** Packages lie where `cargo xtask test` installs them, not beside this script. */
const { Upload, FileUrlStorage } = createRequire(`${TUS_PACKAGES}/`)("tus-js-client");

const CHUNK = 300_000;
const ways = {
  whole: {},
  chunked: { chunkSize: CHUNK },
  deferred: { chunkSize: CHUNK, uploadLengthDeferred: true },
  // Of a file it cannot do it.
  nothing: { uploadDataDuringCreation: true },
  "with creation": { uploadDataDuringCreation: true },
  override: { chunkSize: CHUNK, overridePatchMethod: true },
  cancelled: { chunkSize: CHUNK },
};
const file = createReadStream(TUS_FILE);
// What has no path is a stream of unknown length to it.
const sources = { deferred: () => file.pipe(new PassThrough()), nothing: () => Buffer.alloc(0) };
const source = sources[TUS_HOW]?.() ?? file;

const ended = (url) => {
  console.log(url);
  process.exit(0);
};
const upload = new Upload(source, {
  endpoint: TUS_ENDPOINT,
  metadata: { filename: TUS_NAME, filetype: "application/octet-stream", relativePath: null },
  urlStorage: new FileUrlStorage(TUS_STORE),
  ...ways[TUS_HOW],
  onSuccess: () => ended(upload.url),
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onChunkComplete: () => {
    if (TUS_HOW === "cancelled") upload.abort(true).then(() => ended(upload.url));
  },
});
// A stream has nothing that it could be known by.
const before = TUS_HOW in sources ? [] : await upload.findPreviousUploads();
if (before.length > 0) upload.resumeFromPreviousUpload(before[0]);
upload.start();
