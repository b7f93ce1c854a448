// What the scripts in JavaScript share: a line of JSON for each step, with nothing in it that differs from one run to the next.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";

/** Packages lie where `cargo xtask test` installs them, not beside this script. */
export const load = createRequire(`${process.env.S3_PACKAGES}/`);

export const { S3_ENDPOINT: endpoint, S3_BUCKET: bucket, S3_KEY: accessKeyId, S3_SECRET: secretAccessKey } = process.env;
export const MIB = 1024 * 1024;
export const SMALL = Buffer.from("hello, store\n");

/** Differs in every block, so that a piece at the wrong place shows. */
export const noise = (length) => {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, n) => createHash("sha256").update(String(n)).digest());
  return Buffer.concat(blocks).subarray(0, length);
};

export const digest = (bytes) => ({ length: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex").slice(0, 16) });

/** All bytes of a stream. */
export const drain = async (stream) => {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
};

const IDS = new Set(["UploadId", "ID", "uploadId", "id"]);
const PRIVATE = new Set(["$metadata", "RequestId", "HostId", "requestid", "hostid", "amzRequestid", "amzId2"]);

/** Without what is new in each run: times and ids. */
const plain = async (value, name) => {
  if (value instanceof Date) return "a date";
  if (Buffer.isBuffer(value)) return digest(value);
  if (value?.[Symbol.asyncIterator]) return digest(await drain(value));
  if (Array.isArray(value)) return Promise.all(value.map((inner) => plain(inner)));
  if (value && typeof value === "object") {
    const fields = {};
    for (const [key, inner] of Object.entries(value)) {
      if (!PRIVATE.has(key) && inner !== undefined) fields[key] = IDS.has(key) && inner ? "an id" : await plain(inner, key);
    }
    return fields;
  }
  return typeof value === "string" ? value.replace(endpoint, "ENDPOINT") : value;
};

/** What `call` gave, or the error that it ended in. `keep` chooses of a long answer. */
export const step = async (name, call, keep = (answer) => answer) => {
  let answer;
  let seen;
  try {
    answer = await call();
    const kept = await plain(await keep(answer));
    seen = kept && typeof kept === "object" && !Array.isArray(kept) ? kept : { value: kept ?? null };
    if (answer?.$metadata) seen.status = answer.$metadata.httpStatusCode;
  } catch (error) {
    seen = { code: error.code ?? error.name, status: error.$metadata?.httpStatusCode ?? error.statusCode ?? null };
    // What is no answer of a server is a fault of the script or of the connection.
    if (seen.status === null && process.env.S3_VERBOSE) console.error(name, error);
  }
  console.log(JSON.stringify({ step: name, ...seen }));
  return answer;
};

/** Without the client: as a browser uses what was signed for it. */
export const fetched = async (url, options = {}) => {
  const answer = await fetch(url, options);
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.status >= 300) return { status: answer.status, code: body.toString().match(/<Code>(.*?)<\/Code>/)?.[1] };
  // Behind a redirect the entity tag is the store's.
  const kept = options.method ? [] : ["content-type", "content-disposition"];
  const headers = kept.map((header) => [header, answer.headers.get(header)]);
  return { status: answer.status, ...Object.fromEntries(headers), ...digest(body) };
};
