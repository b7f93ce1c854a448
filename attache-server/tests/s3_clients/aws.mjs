// What @aws-sdk/client-s3, lib-storage and the presigners see of an S3 endpoint.

import { Readable } from "node:stream";

import { MIB, SMALL, accessKeyId, bucket, digest, drain, endpoint, fetched, load, noise, secretAccessKey, step } from "./steps.mjs";

const aws = load("@aws-sdk/client-s3");
const { Upload } = load("@aws-sdk/lib-storage");
const { getSignedUrl } = load("@aws-sdk/s3-request-presigner");
const { createPresignedPost } = load("@aws-sdk/s3-presigned-post");

const client = (more = {}) =>
  new aws.S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, maxAttempts: 1, credentials: { accessKeyId, secretAccessKey }, ...more });
const s3 = client();
const send = (name, fields, by = s3) => by.send(new aws[`${name}Command`]({ Bucket: bucket, ...fields }));
const BIG = noise(12 * MIB);

// Objects.
const described = {
  ContentType: "text/plain; charset=utf-8",
  ContentDisposition: "inline;filename*=UTF-8''%E5%86%99.txt",
  CacheControl: "max-age=60",
  Metadata: { color: "dark blue" },
};
await step("put", () => send("PutObject", { Key: "plain", Body: SMALL, ...described }));
await step("get", () => send("GetObject", { Key: "plain" }));
await step("head", () => send("HeadObject", { Key: "plain" }));
await step("put of a string", () => send("PutObject", { Key: "string", Body: "häh" }));
await step("put of nothing", () => send("PutObject", { Key: "empty", Body: "" }));
await step("get of nothing", () => send("GetObject", { Key: "empty" }));
const stream = () => Readable.from([BIG.subarray(0, 70_000), BIG.subarray(70_000, 200_000)]);
await step("put of a stream", () => send("PutObject", { Key: "stream", Body: stream(), ContentLength: 200_000, ContentType: "image/png" }));
await step("get of the stream", () => send("GetObject", { Key: "stream" }));
await step("put of a stream, encoded", () => send("PutObject", { Key: "gz", Body: stream(), ContentLength: 200_000, ContentEncoding: "gzip" }));
await step("head of the encoded stream", () => send("HeadObject", { Key: "gz" }));
await step("range", () => send("GetObject", { Key: "stream", Range: "bytes=69990-70009" }));
await step("range past the end", () => send("GetObject", { Key: "stream", Range: "bytes=200000-" }));
await step("put over it", () => send("PutObject", { Key: "plain", Body: "new" }));
await step("get what is there now", () => send("GetObject", { Key: "plain" }));
await step("put if there is none, and there is", () => send("PutObject", { Key: "plain", Body: "x", IfNoneMatch: "*" }));
await step("get if it matches, and does not", () => send("GetObject", { Key: "plain", IfMatch: '"0123"' }));
await step("get if it is new", async () => send("GetObject", { Key: "plain", IfNoneMatch: (await send("HeadObject", { Key: "plain" })).ETag }));
for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
  await step(`put with ${ChecksumAlgorithm}`, () => send("PutObject", { Key: ChecksumAlgorithm, Body: SMALL, ChecksumAlgorithm }));
  await step(`stream with ${ChecksumAlgorithm}`, () =>
    send("PutObject", { Key: ChecksumAlgorithm, Body: stream(), ContentLength: 200_000, ChecksumAlgorithm }));
  await step(`get with ${ChecksumAlgorithm}`, () => send("GetObject", { Key: ChecksumAlgorithm, ChecksumMode: "ENABLED" }));
}
await step("put with a wrong checksum", () => send("PutObject", { Key: "wrong", Body: SMALL, ChecksumCRC32: "AAAAAA==" }));
await step("put with a wrong MD5", () => send("PutObject", { Key: "wrong", Body: SMALL, ContentMD5: "1B2M2Y8AsgTpgAmY7PhCfg==" }));
await step("nothing was put", () => send("HeadObject", { Key: "wrong" }));

// Errors.
await step("get of a missing key", () => send("GetObject", { Key: "missing" }));
await step("head of a missing key", () => send("HeadObject", { Key: "missing" }));
await step("get in a missing bucket", () => send("GetObject", { Bucket: "no-such-bucket", Key: "missing" }));
const stranger = client({ credentials: { accessKeyId, secretAccessKey: "wrong" } });
await step("wrong secret", () => send("GetObject", { Key: "plain" }, stranger));
await step("wrong secret, put of a stream", () => send("PutObject", { Key: "never", Body: stream(), ContentLength: 200_000 }, stranger));
await step("unknown key", () => send("GetObject", { Key: "plain" }, client({ credentials: { accessKeyId: "ATTA0000000000000000", secretAccessKey } })));

// Buckets.
await step("buckets", () => send("ListBuckets", {}), (answer) => ({ names: answer.Buckets.map(({ Name }) => Name) }));
await step("head of the bucket", () => send("HeadBucket", {}));
await step("where the bucket is", () => send("GetBucketLocation", {}));

// Keys and lists.
const odd = ["a b", "a+b", "a%20b", "100%", "ü", "x//y", "tail/", "q?r#s&t=u", "!*'()~", "日本/写真.png", "<&>\""];
for (const key of odd) await step(`put ${key}`, () => send("PutObject", { Key: `odd/${key}`, Body: key }));
for (const key of odd) await step(`get ${key}`, () => send("GetObject", { Key: `odd/${key}` }));
const names = (answer) => ({
  keys: answer.Contents?.map(({ Key }) => Key),
  prefixes: answer.CommonPrefixes?.map(({ Prefix }) => Prefix),
  truncated: answer.IsTruncated,
  count: answer.KeyCount,
});
await step("list", () => send("ListObjectsV2", { Prefix: "odd/" }), ({ NextContinuationToken, ...answer }) => answer);
await step("list v1", () => send("ListObjects", { Prefix: "odd/" }));
await step("list, folders", () => send("ListObjectsV2", { Prefix: "odd/", Delimiter: "/" }), names);
await step("list v1, folders", () => send("ListObjects", { Prefix: "odd/", Delimiter: "/" }), names);
await step("list, encoded", () => send("ListObjectsV2", { Prefix: "odd/", EncodingType: "url" }), names);
await step("pages", async () => {
  const pages = [];
  for await (const page of aws.paginateListObjectsV2({ client: s3, pageSize: 3 }, { Bucket: bucket, Prefix: "odd/" })) pages.push(names(page));
  return pages;
});
await step("pages of v1, by the marker", async () => {
  const pages = [];
  let Marker;
  do {
    const page = await send("ListObjects", { Prefix: "odd/", MaxKeys: 3, Marker });
    pages.push(names(page));
    Marker = page.IsTruncated ? (page.NextMarker ?? page.Contents.at(-1).Key) : undefined;
  } while (Marker !== undefined && pages.length < 9);
  return pages;
});
await step("delete many", () => send("DeleteObjects", { Delete: { Objects: odd.map((key) => ({ Key: `odd/${key}` })) } }));
await step("nothing is left", () => send("ListObjectsV2", { Prefix: "odd/" }));
await step("delete", () => send("DeleteObject", { Key: "gz" }));
await step("delete of a missing key", () => send("DeleteObject", { Key: "gz" }));

// Copies.
await step("copy", () => send("CopyObject", { Key: "copy", CopySource: `${bucket}/stream` }));
await step("head of the copy", () => send("HeadObject", { Key: "copy" }));
await step("copy of a missing key", () => send("CopyObject", { Key: "copy", CopySource: `${bucket}/missing` }));
await step("copy onto itself", () =>
  send("CopyObject", { Key: "copy", CopySource: `/${bucket}/copy`, MetadataDirective: "REPLACE", ContentType: "a/b", Metadata: { m: "1" } }));
await step("head of what was copied onto itself", () => send("HeadObject", { Key: "copy" }));

// In parts.
const upload = (body, Key = "upload") => new Upload({ client: s3, params: { Bucket: bucket, Key, Body: body, ContentType: "image/png" } }).done();
await step("upload of 12 MiB", () => upload(Readable.from([BIG])));
await step("get of 12 MiB", () => send("GetObject", { Key: "upload" }), async (answer) => digest(await drain(answer.Body)));
await step("head of 12 MiB", () => send("HeadObject", { Key: "upload" }));
await step("upload of a small stream", () => upload(stream(), "small"));
await step("upload of an empty stream", () => upload(Readable.from([]), "none"));
const Key = "parts";
const { UploadId } = await step("create upload", () => send("CreateMultipartUpload", { Key }));
const parts = [];
for (const [PartNumber, Body] of [[4, BIG.subarray(0, 5 * MIB)], [2, BIG.subarray(5 * MIB, 10 * MIB)], [9, SMALL]]) {
  const { ETag, ChecksumCRC32 } = await step(`part ${PartNumber}`, () => send("UploadPart", { Key, UploadId, PartNumber, Body }));
  parts.push({ PartNumber, ETag, ChecksumCRC32 });
}
await step("parts", () => send("ListParts", { Key, UploadId }));
await step("uploads", () => send("ListMultipartUploads", { Prefix: Key }));
parts.sort((one, other) => one.PartNumber - other.PartNumber);
await step("complete", () => send("CompleteMultipartUpload", { Key, UploadId, MultipartUpload: { Parts: parts } }));
await step("complete again", () => send("CompleteMultipartUpload", { Key, UploadId, MultipartUpload: { Parts: parts } }));
await step("get of what was completed", () => send("GetObject", { Key }));
const gone = await send("CreateMultipartUpload", { Key: "gone" });
await step("abort", () => send("AbortMultipartUpload", { Key: "gone", UploadId: gone.UploadId }));
await step("abort again", () => send("AbortMultipartUpload", { Key: "gone", UploadId: gone.UploadId }));
await step("part after abort", () => send("UploadPart", { Key: "gone", UploadId: gone.UploadId, PartNumber: 1, Body: SMALL }));

// What was signed for a browser.
const sign = (name, fields, options = { expiresIn: 60 }) => getSignedUrl(s3, new aws[`${name}Command`]({ Bucket: bucket, ...fields }), options);
await step("signed get", async () => fetched(await sign("GetObject", { Key: "upload" })));
await step("signed get under other headers", async () =>
  fetched(await sign("GetObject", { Key: "stream", ResponseContentType: "text/x", ResponseContentDisposition: "attachment;filename*=UTF-8''%E3%81%82%20b.txt" })));
await step("signed get of a missing key", async () => fetched(await sign("GetObject", { Key: "missing" })));
await step("signed put", async () => fetched(await sign("PutObject", { Key: "signed", Metadata: { x: "y" } }), { method: "PUT", body: SMALL }));
await step("head after signed put", () => send("HeadObject", { Key: "signed" }));
await step("signed put of a length", async () =>
  fetched(await sign("PutObject", { Key: "signed", ContentLength: SMALL.length }), { method: "PUT", body: SMALL }));
await step("signed put of another length", async () =>
  fetched(await sign("PutObject", { Key: "signed", ContentLength: 99 }), { method: "PUT", body: SMALL }));
await step("signed delete", async () => fetched(await sign("DeleteObject", { Key: "signed" }), { method: "DELETE" }));
const form = async (Body) => {
  const { url, fields } = await createPresignedPost(s3, {
    Bucket: bucket,
    Key: "form/${filename}",
    Conditions: [["content-length-range", 1, 100], ["starts-with", "$Content-Type", ""]],
    Expires: 60,
  });
  const data = new FormData();
  for (const [name, value] of Object.entries({ ...fields, "Content-Type": "text/plain" })) data.append(name, value);
  data.append("file", new Blob([Body]), "日 b.txt");
  return fetched(url, { method: "POST", body: data });
};
await step("a form", () => form(SMALL));
await step("get of the form's file", () => send("GetObject", { Key: "form/日 b.txt" }));
await step("a form with a file too large", () => form(BIG.subarray(0, 200)));
s3.destroy();
