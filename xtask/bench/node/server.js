// An attachment server in the manner of a typical application on Microsoft's SDK: what attache is measured against.
//
// MODE=request     credential and client are built for every request
// MODE=singleton   both are built once
// MODE=piped       as singleton, and a download ends with its client (stream.pipeline)
//
// In all of them every redirect asks for a user delegation key, as the SDK's samples do.
"use strict";

const { pipeline } = require("node:stream");
const express = require("express");
const { ClientSecretCredential } = require("@azure/identity");
const storage = require("@azure/storage-blob");

const { ACCOUNT, AUTHORITY_HOST, BLOB_ENDPOINT, CLIENT_ID, CLIENT_SECRET, CONTAINER, MODE, TENANT_ID } = process.env;
const BLOCK_BYTES = 8 * 1024 * 1024;
const CONCURRENCY = 2;
const URL_LIFETIME_MS = 120_000;

function connect() {
  const credential = new ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET, {
    authorityHost: AUTHORITY_HOST,
    disableInstanceDiscovery: true,
  });
  return new storage.BlobServiceClient(BLOB_ENDPOINT, credential);
}

const shared = MODE === "request" ? null : connect();
const service = () => shared ?? connect();
const blobOf = (name) => service().getContainerClient(CONTAINER).getBlockBlobClient(name);

async function temporaryUrl(name) {
  const client = service();
  const startsOn = new Date(Date.now() - 15 * 60_000);
  const expiresOn = new Date(Date.now() + URL_LIFETIME_MS);
  const key = await client.getUserDelegationKey(startsOn, expiresOn);
  const query = storage.generateBlobSASQueryParameters(
    {
      containerName: CONTAINER,
      blobName: name,
      permissions: storage.BlobSASPermissions.parse("r"),
      protocol: storage.SASProtocol.Https,
      startsOn,
      expiresOn,
      contentDisposition: "attachment",
      contentType: "application/octet-stream",
    },
    key,
    ACCOUNT,
  );
  return `${BLOB_ENDPOINT}/${CONTAINER}/${name}?${query}`;
}

function requestedRange(header) {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header ?? "");
  return match ? { first: Number(match[1]), count: Number(match[2]) - Number(match[1]) + 1 } : { first: 0 };
}

const app = express();
app.disable("x-powered-by");
app.disable("etag");

app.get("/redirect/*name", async (request, response) => {
  response.redirect(302, await temporaryUrl(request.params.name.join("/")));
});

app.post("/url/*name", async (request, response) => {
  response.json({ url: await temporaryUrl(request.params.name.join("/")) });
});

app.get("/relay/*name", async (request, response) => {
  const { first, count } = requestedRange(request.headers.range);
  const answer = await blobOf(request.params.name.join("/")).download(first, count);
  response.status(count ? 206 : 200);
  response.setHeader("content-length", answer.contentLength);
  response.setHeader("content-type", answer.contentType);
  if (MODE === "piped") pipeline(answer.readableStreamBody, response, () => {});
  else answer.readableStreamBody.pipe(response);
});

app.post("/upload/*name", async (request, response) => {
  const name = request.params.name.join("/");
  await blobOf(name).uploadStream(request, BLOCK_BYTES, CONCURRENCY, {
    blobHTTPHeaders: { blobContentType: "application/octet-stream" },
  });
  response.status(201).json({ name });
});

const server = app.listen(0, "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
// Benchmarks keep connections; a server that closes idle ones measures their reconnects.
server.keepAliveTimeout = 120_000;
