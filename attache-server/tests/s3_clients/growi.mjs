// What GROWI's server does to its store, in its order: attachments, the transfer's write test, a page's bulk export, and the sweep of
// a wiki that is emptied. With the same classes of the SDK, the same options, and a bucket that may hold more than a listing shows.

import { Readable } from "node:stream";

import { SMALL, accessKeyId, bucket, digest, drain, endpoint, fetched, load, noise, secretAccessKey, step } from "./steps.mjs";

const aws = load("@aws-sdk/client-s3");
const { Upload } = load("@aws-sdk/lib-storage");
const { getSignedUrl } = load("@aws-sdk/s3-request-presigner");

const s3 = new aws.S3Client({ endpoint, region: "ap-northeast-1", forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
const send = (name, fields) => s3.send(new aws[`${name}Command`]({ Bucket: bucket, ...fields }));
const MB = 1_000_000;
const LARGE = noise(40 * MB);

// uploadAttachment
const disposition = "inline;filename*=UTF-8''%E5%86%99%E7%9C%9F.png";
const upload = (Key, body) =>
  new Upload({ client: s3, params: { Bucket: bucket, Key, Body: body, ContentType: "image/png", ContentDisposition: disposition } }).done();
const small = "attachment/5e07345972560e001761fa63.png";
const large = "attachment/5e07345972560e001761fa64.png";
await step("upload", () => upload(small, Readable.from([SMALL])));
const pieces = function* () {
  for (let at = 0; at < LARGE.length; at += 65_536) yield LARGE.subarray(at, at + 65_536);
};
await step("upload of 40 MB", () => upload(large, Readable.from(pieces())));

// findDeliveryFile in the mode "redirect": a URL of two minutes.
const link = (Key, more) =>
  getSignedUrl(s3, new aws.GetObjectCommand({ Bucket: bucket, Key, ResponseContentType: "image/png", ResponseContentDisposition: disposition, ...more }), { expiresIn: 120 });
await step("redirected read", async () => fetched(await link(small)));
await step("redirected read of 40 MB", async () => fetched(await link(large)));
await step("redirected download", async () => fetched(await link(small, { ResponseContentDisposition: disposition.replace("inline", "attachment") })));

// The same in the mode "relay".
const relay = async (Key) => {
  await send("HeadObject", { Key });
  return send("GetObject", { Key });
};
await step("relayed read", () => relay(small));
await step("relayed read of 40 MB", () => relay(large), async (answer) => ({ ...digest(await drain(answer.Body)), type: answer.ContentType }));
await step("relayed read of a missing file", () => relay("attachment/missing.png"));

// saveFile: the write test of a transfer, and an overwrite.
await step("save", () => send("PutObject", { Key: "attachment/test.txt", Body: Buffer.from("one"), ContentType: "text/plain" }));
await step("overwrite", () => send("PutObject", { Key: "attachment/test.txt", Body: Buffer.from("two, longer"), ContentType: "text/plain" }));
await step("read of what was overwritten", () => relay("attachment/test.txt"));
await step("upload over an attachment", () => upload(small, Readable.from([Buffer.from("other")])));
await step("read of that attachment", () => relay(small));

// deleteFile
const remove = async (Key) => {
  await send("HeadObject", { Key });
  return send("DeleteObject", { Key });
};
await step("delete", () => remove("attachment/test.txt"));
await step("delete of a missing file", () => remove("attachment/test.txt"));

// A bulk export of pages: parts by its own hand.
const Key = "page-bulk-export/all.zip";
const { UploadId } = await step("export begins", () => send("CreateMultipartUpload", { Key }));
const Parts = [];
for (const [n, Body] of [LARGE.subarray(0, 5_242_880), LARGE.subarray(5_242_880, 6_000_000)].entries()) {
  const { ETag } = await step(`export, part ${n + 1}`, () => send("UploadPart", { Key, UploadId, PartNumber: n + 1, Body }));
  Parts.push({ PartNumber: n + 1, ETag });
}
await step("export ends", () => send("CompleteMultipartUpload", { Key, UploadId, MultipartUpload: { Parts } }));
await step("export's size", () => send("HeadObject", { Key }));
await step("export is read", async () => fetched(await link(Key)));
await step("abort of an unknown export", () => send("AbortMultipartUpload", { Key: "page-bulk-export/none.zip", UploadId }));

// listFiles: version 1, no prefix, and NextMarker is what it goes on by. Without one it would ask for the first page for ever.
const listFiles = async () => {
  const files = [];
  let Marker;
  let pages = 0;
  do {
    const page = await send("ListObjects", { Marker });
    files.push(...(page.Contents ?? []).map(({ Key, Size }) => ({ Key, Size })));
    Marker = page.IsTruncated ? page.NextMarker : undefined;
    pages += 1;
    if (page.IsTruncated && Marker === undefined) throw Object.assign(new Error("no NextMarker"), { code: "NoNextMarker" });
  } while (Marker !== undefined);
  return { pages, files };
};
await step("list", listFiles);

// deleteFiles: as many as a wiki holds, in the thousands that an S3 request may name.
if (process.env.S3_MANY) {
  const keys = Array.from({ length: 1500 }, (_, n) => `attachment/bulk-${String(n).padStart(5, "0")}.bin`);
  const waiting = [...keys];
  await step("many: 1,500 saves", async () => {
    const worker = async () => {
      for (let key = waiting.pop(); key; key = waiting.pop()) await send("PutObject", { Key: key, Body: "x" });
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  });
  await step("many: list of 1,500", listFiles, ({ pages, files }) => ({ pages, count: files.length, first: files[0], last: files.at(-1) }));
  for (let at = 0; at < keys.length; at += 1000) {
    await step(`many: delete of many from ${at}`, () => send("DeleteObjects", { Delete: { Objects: keys.slice(at, at + 1000).map((Key) => ({ Key })) } }), ({ Deleted, Errors }) => ({
      deleted: Deleted?.length,
      errors: Errors,
    }));
  }
}
await step("what is left", listFiles);
s3.destroy();
