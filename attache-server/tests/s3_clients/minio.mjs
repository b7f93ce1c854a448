// What minio's client for JavaScript sees of an S3 endpoint. It numbers parts from 2, asks where a bucket is before it speaks to it, and
// reads XML by its own parser.

import { Readable } from "node:stream";

import { MIB, SMALL, accessKeyId, bucket, digest, drain, endpoint, fetched, load, noise, secretAccessKey, step } from "./steps.mjs";

const { Client, CopyConditions } = load("minio");
const { hostname, port, protocol } = new URL(endpoint);
const client = (more = {}) =>
  new Client({ endPoint: hostname, port: Number(port), useSSL: protocol === "https:", accessKey: accessKeyId, secretKey: secretAccessKey, ...more });
const minio = client();
const BIG = noise(12 * MIB);
const body = async (stream) => digest(await drain(await stream));
const all = async (stream) => {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
};

await step("is the bucket there", () => minio.bucketExists(bucket));
await step("is a missing bucket there", () => minio.bucketExists("no-such-bucket"));
await step("buckets", () => minio.listBuckets(), (buckets) => buckets.map(({ name }) => name));

await step("put", () => minio.putObject(bucket, "plain", SMALL, SMALL.length, { "Content-Type": "text/plain", "X-Amz-Meta-Color": "dark blue" }));
await step("stat", () => minio.statObject(bucket, "plain"));
await step("get", () => body(minio.getObject(bucket, "plain")));
await step("range", () => body(minio.getPartialObject(bucket, "plain", 2, 4)));
await step("range past the end", () => body(minio.getPartialObject(bucket, "plain", 99, 4)));
await step("put of nothing", () => minio.putObject(bucket, "empty", ""));
await step("stat of nothing", () => minio.statObject(bucket, "empty"));
await step("put of a stream of unknown length", () => minio.putObject(bucket, "stream", Readable.from([BIG])));
await step("get of that stream", () => body(minio.getObject(bucket, "stream")));
await step("stat of that stream", () => minio.statObject(bucket, "stream"));
await step("put in parts", () => client({ partSize: 5 * MIB }).putObject(bucket, "parts", Readable.from([BIG]), BIG.length));
await step("get of what was put in parts", () => body(minio.getObject(bucket, "parts")));
await step("stat of what was put in parts", () => minio.statObject(bucket, "parts"));

await step("get of a missing key", () => body(minio.getObject(bucket, "missing")));
await step("stat of a missing key", () => minio.statObject(bucket, "missing"));
await step("wrong secret", () => body(client({ secretKey: "wrong", region: "us-east-1" }).getObject(bucket, "plain")));
await step("put in a missing bucket", () => minio.putObject("no-such-bucket", "plain", SMALL));

const odd = ["a b", "a+b", "a%20b", "100%", "ü", "x//y", "q?r#s&t=u", "!*'()~", "日本/写真.png", "<&>"];
for (const key of odd) await step(`put ${key}`, () => minio.putObject(bucket, `odd/${key}`, key));
for (const key of odd) await step(`get ${key}`, () => body(minio.getObject(bucket, `odd/${key}`)));
await step("list", () => all(minio.listObjects(bucket, "odd/", true)));
await step("list v2", () => all(minio.listObjectsV2(bucket, "odd/", true)));
await step("list, folders", () => all(minio.listObjects(bucket, "odd/", false)));
await step("list v2, folders", () => all(minio.listObjectsV2(bucket, "odd/", false)));
await step("delete many", () => minio.removeObjects(bucket, odd.map((key) => `odd/${key}`)));
await step("nothing is left", () => all(minio.listObjects(bucket, "odd/", true)));

// Its pages are of a thousand keys, whatever it is asked for.
if (process.env.S3_MANY) {
  const keys = Array.from({ length: 1003 }, (_, n) => `many/${String(n).padStart(4, "0")}+ä`);
  const waiting = [...keys];
  await step("many: 1,003 puts", async () => {
    const worker = async () => {
      for (let key = waiting.pop(); key; key = waiting.pop()) await minio.putObject(bucket, key, "x");
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  });
  const names = (items) => ({ count: items.length, in_order: items.every(({ name }, n) => name === keys[n]) });
  await step("many: list of 1,003", () => all(minio.listObjects(bucket, "many/", true)), names);
  await step("many: list v2 of 1,003", () => all(minio.listObjectsV2(bucket, "many/", true)), names);
  await step("many: delete of 1,003", () => minio.removeObjects(bucket, keys), (errors) => ({ errors }));
  await step("many: none of 1,003 is left", () => all(minio.listObjects(bucket, "many/", true)));
}

await step("copy", () => minio.copyObject(bucket, "copy", `/${bucket}/plain`, new CopyConditions()));
await step("stat of the copy", () => minio.statObject(bucket, "copy"));
await step("delete", () => minio.removeObject(bucket, "copy"));
await step("delete of a missing key", () => minio.removeObject(bucket, "copy"));
await step("uploads that were left", () => all(minio.listIncompleteUploads(bucket, "", true)));

await step("signed get", async () => fetched(await minio.presignedGetObject(bucket, "plain", 60)));
await step("signed get under other headers", async () =>
  fetched(await minio.presignedGetObject(bucket, "plain", 60, { "response-content-type": "a/b", "response-content-disposition": "attachment" })));
await step("signed put", async () => fetched(await minio.presignedPutObject(bucket, "signed", 60), { method: "PUT", body: SMALL }));
await step("get after signed put", () => body(minio.getObject(bucket, "signed")));
await step("a form", async () => {
  const policy = minio.newPostPolicy();
  policy.setBucket(bucket);
  policy.setKey("form.txt");
  policy.setExpires(new Date(Date.now() + 60_000));
  policy.setContentLengthRange(1, 100);
  const { postURL, formData } = await minio.presignedPostPolicy(policy);
  const data = new FormData();
  for (const [name, value] of Object.entries(formData)) data.append(name, value);
  data.append("file", new Blob([SMALL]), "form.txt");
  return fetched(postURL, { method: "POST", body: data });
});
await step("get of the form's file", () => body(minio.getObject(bucket, "form.txt")));
process.exit(0);
