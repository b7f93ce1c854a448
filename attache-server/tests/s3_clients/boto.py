"""What boto3 sees of an S3 endpoint: a line of JSON for each step, with nothing in it that differs from one run to the next.

Runs with boto3 of 2024 and of 2026. What a version cannot ask is an error of that version, the same before every server.
"""

import base64
import datetime
import hashlib
import http.client
import io
import json
import os
import ssl
import sys
import time
import urllib.parse
import zlib
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, BUCKET = os.environ["S3_ENDPOINT"], os.environ["S3_BUCKET"]
MIB = 1024 * 1024
# Differs in every byte's neighbourhood, so that a piece at the wrong place shows.
BIG = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(12 * MIB // 32))
SMALL = b"hello, store\n"
# Of SMALL: the standard library computes neither.
CRC32C, CRC64NVME = "9J+Q+A==", "zTCIbuKnGTo="
ODD = ["a b", "a+b", "a%20b", "100%", "ü/é", "x//y", "tail/", "q?r#s&t=u", "!*'()~", "日本/写真.png", "<&>\"", "dot/./x", "a:b@c,d;e=f$"]


def client(secret=None, region="us-east-1", **more):
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        aws_access_key_id=os.environ["S3_KEY"],
        aws_secret_access_key=secret or os.environ["S3_SECRET"],
        region_name=region,
        verify=os.environ.get("S3_CA", True),
        config=Config(retries={"total_max_attempts": 1}, **more),
    )


def digest(data):
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()[:16]}


def plain(value, name=""):
    """Without what is new in each run: times and ids."""
    if isinstance(value, dict):
        return {
            key: "an id" if key in ("UploadId", "ID") and inner else plain(inner, key)
            for key, inner in value.items()
            if key not in ("RequestId", "HostId", "ResponseMetadata", "RetryAttempts", "HTTPHeaders")
        }
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return "a date"
    if isinstance(value, bytes):
        return digest(value)
    if hasattr(value, "read"):
        return digest(value.read())
    if isinstance(value, str):
        return value.replace(ENDPOINT, "ENDPOINT")
    return value


def step(name, call, keep=None):
    """What `call` returned, or the error it ended in. `keep` chooses of a long answer."""
    try:
        answer = call()
        seen = plain(keep(answer) if keep else answer)
        if not isinstance(seen, dict):
            seen = {"value": seen}
        if isinstance(answer, dict) and "ResponseMetadata" in answer:
            seen["status"] = answer["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        answer = None
        meta = error.response.get("ResponseMetadata", {})
        seen = {"status": meta.get("HTTPStatusCode"), "code": error.response["Error"].get("Code")}
    except (BotoCoreError, TypeError) as error:
        answer, seen = None, {"error": type(error).__name__}
    print(json.dumps({"step": name, **seen}, ensure_ascii=False, sort_keys=True), flush=True)
    return answer


def fetch(url, method="GET", data=None, headers={}):
    """Without boto3, as a browser uses what was signed for it; of headers, those alone that are given."""
    for _ in range(3):
        to = urllib.parse.urlsplit(url)
        if to.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ["S3_CA"])
            connection = http.client.HTTPSConnection(to.netloc, context=context, timeout=60)
        else:
            connection = http.client.HTTPConnection(to.netloc, timeout=60)
        connection.request(method, urllib.parse.urlunsplit(("", "", to.path, to.query, "")), data, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 302:
            break
        url = answer.headers["Location"]
    if answer.status >= 300:
        text = body.decode("utf-8", "replace")
        return {"status": answer.status, "code": text.split("<Code>")[1].split("</Code>")[0] if "<Code>" in text else None}
    kept = ("Content-Type", "Content-Disposition") if method == "GET" else ()
    return {"status": answer.status, **{name: answer.headers[name] for name in kept}, **digest(body)}


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def b64(name, data):
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


s3 = client()
put = lambda key, body=SMALL, **more: s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
get = lambda key, **more: s3.get_object(Bucket=BUCKET, Key=key, **more)
head = lambda key, **more: s3.head_object(Bucket=BUCKET, Key=key, **more)


def objects():
    described = {
        "ContentType": "text/plain; charset=utf-8",
        "ContentDisposition": "inline; filename*=UTF-8''%E5%86%99.txt",
        "ContentEncoding": "identity",
        "ContentLanguage": "ja",
        "CacheControl": "max-age=60",
        "Metadata": {"color": "dark blue", "mixed-case": "Yes"},
    }
    step("put", lambda: put("plain"))
    step("get", lambda: get("plain"))
    step("head", lambda: head("plain"))
    step("put described", lambda: put("described", **described))
    step("get described", lambda: get("described"))
    step("head described", lambda: head("described"))
    step("put empty", lambda: put("empty", b""))
    step("get empty", lambda: get("empty"))
    step("put over it", lambda: put("plain", b"other bytes"))
    step("get what is there now", lambda: get("plain"))
    step("range", lambda: get("plain", Range="bytes=2-4"))
    step("range, open", lambda: get("plain", Range="bytes=6-"))
    step("range, from the end", lambda: get("plain", Range="bytes=-5"))
    step("range of all", lambda: get("plain", Range="bytes=0-"))
    step("range past the end", lambda: get("plain", Range="bytes=99-"))
    step("get under other headers", lambda: get("plain", ResponseContentType="a/b", ResponseContentDisposition="attachment", ResponseCacheControl="no-store"))
    step("put of a stream", lambda: put("stream", io.BytesIO(SMALL * 1000)))
    step("get of the stream", lambda: get("stream"))
    step("put of what cannot be read twice", lambda: s3.upload_fileobj(io.BytesIO(SMALL), BUCKET, "fileobj"))
    step("delete", lambda: s3.delete_object(Bucket=BUCKET, Key="stream"))
    step("delete again", lambda: s3.delete_object(Bucket=BUCKET, Key="stream"))


def errors():
    step("get of a missing key", lambda: get("missing"))
    step("head of a missing key", lambda: head("missing"))
    step("get in a missing bucket", lambda: s3.get_object(Bucket="no-such-bucket", Key="x"))
    step("put in a missing bucket", lambda: s3.put_object(Bucket="no-such-bucket", Key="x", Body=b"x"))
    step("list of a missing bucket", lambda: s3.list_objects_v2(Bucket="no-such-bucket"))
    step("head of a missing bucket", lambda: s3.head_bucket(Bucket="no-such-bucket"))
    step("wrong secret", lambda: client("wrong").get_object(Bucket=BUCKET, Key="plain"))
    step("wrong secret, put", lambda: client("wrong").put_object(Bucket=BUCKET, Key="never", Body=SMALL))
    step("another region", lambda: client(region="ap-northeast-1").get_object(Bucket=BUCKET, Key="plain"))
    step("a key too long", lambda: put("k" * 1025))


def buckets():
    step("buckets", lambda: s3.list_buckets(), lambda a: {"names": [b["Name"] for b in a["Buckets"]]})
    step("head of the bucket", lambda: s3.head_bucket(Bucket=BUCKET))
    step("where the bucket is", lambda: s3.get_bucket_location(Bucket=BUCKET))
    step("make the bucket", lambda: s3.create_bucket(Bucket=BUCKET))
    step("versions are off", lambda: s3.get_bucket_versioning(Bucket=BUCKET))
    step("policy", lambda: s3.get_bucket_policy(Bucket=BUCKET))
    step("lifecycle", lambda: s3.get_bucket_lifecycle_configuration(Bucket=BUCKET))


def odd_keys():
    for key in ODD:
        step(f"put {key}", lambda: put(f"odd/{key}", key.encode()))
        step(f"get {key}", lambda: get(f"odd/{key}"))
        step(f"copy {key}", lambda: s3.copy_object(Bucket=BUCKET, Key=f"odd2/{key}", CopySource={"Bucket": BUCKET, "Key": f"odd/{key}"}))
    keys = lambda a: {"keys": [o["Key"] for o in a.get("Contents", [])], "prefixes": [p["Prefix"] for p in a.get("CommonPrefixes", [])]}
    step("list of odd keys", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="odd/"), keys)
    step("list of odd keys, v1", lambda: s3.list_objects(Bucket=BUCKET, Prefix="odd2/"), keys)
    step("list of odd keys, by folder", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="odd/", Delimiter="/"), keys)
    many = {"Objects": [{"Key": f"{place}/{key}"} for place in ("odd", "odd2") for key in ODD]}
    step("delete of odd keys", lambda: s3.delete_objects(Bucket=BUCKET, Delete=many))
    step("no odd keys are left", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="odd"))


def listings():
    keys = [f"list/{folder}/{n:03}" for folder in ("a", "b+c", "d e") for n in range(9)] + ["list/z", "list/a.txt", "list/a-", "list/ü"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: put(key, key.encode()), keys))
    step("list v2", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/"))
    step("list v2 with owners", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/z", FetchOwner=True))
    step("list v1", lambda: s3.list_objects(Bucket=BUCKET, Prefix="list/"))
    step("list, folders", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="/"))
    step("list v1, folders", lambda: s3.list_objects(Bucket=BUCKET, Prefix="list/", Delimiter="/"))
    step("list, one level", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/b+c/", Delimiter="/"))
    step("list, another delimiter", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", Delimiter="00"))
    step("list, nothing there", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="nowhere/"))
    step("list v1, nothing there", lambda: s3.list_objects(Bucket=BUCKET, Prefix="nowhere/"))
    step("list after a key", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter="list/d e/006"))
    step("list v1 after a key", lambda: s3.list_objects(Bucket=BUCKET, Prefix="list/", Marker="list/d e/006"))
    step("list of no keys", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", MaxKeys=0))
    for name in ("list_objects", "list_objects_v2"):
        for delimiter in ("", "/"):
            pages = lambda: [
                {"keys": [o["Key"] for o in page.get("Contents", [])], "prefixes": [p["Prefix"] for p in page.get("CommonPrefixes", [])], "truncated": page["IsTruncated"]}
                for page in s3.get_paginator(name).paginate(Bucket=BUCKET, Prefix="list/", Delimiter=delimiter, PaginationConfig={"PageSize": 4})
            ]
            step(f"pages of {name} {delimiter}", pages)
    step("a page", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", MaxKeys=2), lambda a: {k: v for k, v in a.items() if k != "NextContinuationToken"} | {"goes on": bool(a.get("NextContinuationToken"))})
    step("a page, v1", lambda: s3.list_objects(Bucket=BUCKET, Prefix="list/", MaxKeys=2))
    step("delete many", lambda: s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[:3]]}))
    step("delete many quietly, missing ones too", lambda: s3.delete_objects(Bucket=BUCKET, Delete={"Quiet": True, "Objects": [{"Key": key} for key in keys]}))
    step("nothing is left", lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="list/"))


def copies():
    source = {"Bucket": BUCKET, "Key": "described"}
    copy = lambda key, source=source, **more: s3.copy_object(Bucket=BUCKET, Key=key, CopySource=source, **more)
    step("copy", lambda: copy("copy"))
    step("head of the copy", lambda: head("copy"))
    step("copy with new metadata", lambda: copy("copy2", MetadataDirective="REPLACE", Metadata={"new": "1"}, ContentType="a/b"))
    step("head of that copy", lambda: head("copy2"))
    step("copy onto itself, as it is", lambda: copy("described"))
    step("copy onto itself with new metadata", lambda: copy("described", MetadataDirective="REPLACE", Metadata={"mtime": "17"}, ContentType="text/x"))
    step("head of what was copied onto itself", lambda: head("described"))
    step("copy of a missing key", lambda: copy("copy3", {"Bucket": BUCKET, "Key": "missing"}))
    step("copy from a missing bucket", lambda: copy("copy3", {"Bucket": "no-such-bucket", "Key": "missing"}))
    step("copy if it matches", lambda: copy("copy4", CopySourceIfMatch=head("copy")["ETag"]))
    step("copy if it matches, and does not", lambda: copy("copy5", CopySourceIfMatch='"0123"'))


def conditions():
    put("cond", b"one")
    etag = head("cond")["ETag"]
    step("put if there is none, and there is", lambda: put("cond", b"two", IfNoneMatch="*"))
    step("put if there is none", lambda: put("cond2", b"two", IfNoneMatch="*"))
    step("put if it matches", lambda: put("cond", b"three", IfMatch=etag))
    step("put if it matches, and does not", lambda: put("cond", b"four", IfMatch=etag))
    etag = head("cond")["ETag"]
    step("get if it matches", lambda: get("cond", IfMatch=etag))
    step("get if it matches, and does not", lambda: get("cond", IfMatch='"0123"'))
    step("get if it is new", lambda: get("cond", IfNoneMatch=etag))
    step("get if it is new, and is", lambda: get("cond", IfNoneMatch='"0123"'))
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    step("get if changed since", lambda: get("cond", IfModifiedSince=long_ago))
    step("get if not changed since", lambda: get("cond", IfUnmodifiedSince=long_ago))
    step("head if it is new", lambda: head("cond", IfNoneMatch=etag))


def checksums():
    for name, value in {"CRC32": crc32(SMALL), "SHA1": b64("sha1", SMALL), "SHA256": b64("sha256", SMALL), "CRC32C": CRC32C, "CRC64NVME": CRC64NVME}.items():
        given = {f"Checksum{name}": value}
        step(f"put with {name}", lambda: put(f"sum-{name}", **given))
        step(f"head with {name}", lambda: head(f"sum-{name}", ChecksumMode="ENABLED"))
        step(f"get with {name}", lambda: get(f"sum-{name}", ChecksumMode="ENABLED"))
    for name in ("CRC32", "SHA1", "SHA256"):
        step(f"put, {name} by the client", lambda: put(f"auto-{name}", ChecksumAlgorithm=name))
        step(f"put with a wrong {name}", lambda: put("wrong", **{f"Checksum{name}": {"CRC32": crc32(b"?"), "SHA1": b64("sha1", b"?"), "SHA256": b64("sha256", b"?")}[name]}))
    step("put with an MD5", lambda: put("md5", ContentMD5=b64("md5", SMALL)))
    step("put with a wrong MD5", lambda: put("md5", ContentMD5=b64("md5", b"?")))
    step("put with an MD5 that is none", lambda: put("md5", ContentMD5="bm9uZQ=="))


def multipart():
    s3.upload_fileobj(io.BytesIO(BIG), BUCKET, "big", ExtraArgs={"ContentType": "image/png", "Metadata": {"n": "3"}})
    step("head of 12 MiB", lambda: head("big"))
    into = io.BytesIO()
    step("12 MiB down", lambda: (s3.download_fileobj(BUCKET, "big", into), into.getvalue())[1], digest)
    step("copy of 12 MiB", lambda: s3.copy({"Bucket": BUCKET, "Key": "big"}, BUCKET, "big2"))
    step("head of the copy of 12 MiB", lambda: head("big2"))
    step("12 MiB in one put", lambda: put("one", BIG))
    step("range of 12 MiB", lambda: get("big", Range="bytes=8388600-8388615"))

    upload = {"Bucket": BUCKET, "Key": "parts"}
    made = step("create upload", lambda: s3.create_multipart_upload(**upload, ContentType="a/b", Metadata={"k": "v"}))
    upload["UploadId"] = made["UploadId"]
    bodies = {7: BIG[: 5 * MIB], 2: BIG[5 * MIB : 10 * MIB], 10000: SMALL}
    parts = []
    for number in (7, 10000, 2):
        answer = step(f"part {number}", lambda: s3.upload_part(**upload, PartNumber=number, Body=bodies[number]))
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    step("part 2 again", lambda: s3.upload_part(**upload, PartNumber=2, Body=bodies[2]))
    step("a part of number 0", lambda: s3.upload_part(**upload, PartNumber=0, Body=b"x"))
    step("a part of number 10001", lambda: s3.upload_part(**upload, PartNumber=10001, Body=b"x"))
    step("parts", lambda: s3.list_parts(**upload))
    step("parts, a page", lambda: s3.list_parts(**upload, MaxParts=1, PartNumberMarker=2))
    step("uploads", lambda: s3.list_multipart_uploads(Bucket=BUCKET, Prefix="parts"))
    step("nothing to read yet", lambda: head("parts"))
    finish = lambda parts, **more: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **more)
    step("complete in the wrong order", lambda: finish(parts))
    parts.sort(key=lambda part: part["PartNumber"])
    step("complete with a part that is not there", lambda: finish([{"PartNumber": 1, "ETag": '"0123456789abcdef0123456789abcdef"'}] + parts))
    step("complete", lambda: finish(parts))
    step("head of what was completed", lambda: head("parts"))
    step("get of what was completed", lambda: get("parts"))
    step("uploads afterwards", lambda: s3.list_multipart_uploads(Bucket=BUCKET, Prefix="parts"))
    step("complete again", lambda: finish(parts))
    small = {"Bucket": BUCKET, "Key": "small-parts"}
    small["UploadId"] = s3.create_multipart_upload(**small)["UploadId"]
    tags = [{"PartNumber": n, "ETag": s3.upload_part(**small, PartNumber=n, Body=SMALL)["ETag"]} for n in (1, 2)]
    step("complete with a small part before the last", lambda: s3.complete_multipart_upload(**small, MultipartUpload={"Parts": tags}))

    gone = {"Bucket": BUCKET, "Key": "gone"}
    gone["UploadId"] = s3.create_multipart_upload(**gone)["UploadId"]
    s3.upload_part(**gone, PartNumber=1, Body=SMALL)
    step("part copied", lambda: s3.upload_part_copy(**gone, PartNumber=2, CopySource={"Bucket": BUCKET, "Key": "big"}, CopySourceRange="bytes=10-99"))
    step("part copied from a missing key", lambda: s3.upload_part_copy(**gone, PartNumber=3, CopySource={"Bucket": BUCKET, "Key": "missing"}))
    step("abort", lambda: s3.abort_multipart_upload(**gone))
    step("part after abort", lambda: s3.upload_part(**gone, PartNumber=1, Body=SMALL))
    step("parts after abort", lambda: s3.list_parts(**gone))
    step("complete after abort", lambda: s3.complete_multipart_upload(**gone, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0123456789abcdef0123456789abcdef"'}]}))


def presigned():
    put("signed", SMALL, ContentType="text/plain")
    for version in ("s3", "s3v4"):
        signer = client(signature_version=version)
        expired = signer.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=1)
        end = time.monotonic() + 2
        url = lambda action, key="signed", **more: signer.generate_presigned_url(action, {"Bucket": BUCKET, "Key": key, **more}, ExpiresIn=60)
        step(f"{version}: get", lambda: fetch(url("get_object")))
        step(f"{version}: get as a download", lambda: fetch(url("get_object", ResponseContentDisposition="attachment; filename*=UTF-8''%E3%81%82%20b.txt", ResponseContentType="application/x-y")))
        step(f"{version}: head", lambda: fetch(url("head_object"), "HEAD"))
        step(f"{version}: get of a missing key", lambda: fetch(url("get_object", "missing")))
        step(f"{version}: put", lambda: fetch(url("put_object", "signed-put"), "PUT", SMALL))
        step(f"{version}: get after put", lambda: get("signed-put"), lambda a: {"Body": a["Body"]})
        step(f"{version}: put with a type", lambda: fetch(url("put_object", "signed-put2", ContentType="image/gif"), "PUT", SMALL, {"Content-Type": "image/gif"}))
        step(f"{version}: head after put with a type", lambda: head("signed-put2"), lambda a: {"type": a["ContentType"]})
        step(f"{version}: delete", lambda: fetch(url("delete_object", "signed-put"), "DELETE"))
        step(f"{version}: a URL that was changed", lambda: fetch(url("get_object").replace("/signed?", "/described?")))
        step(f"{version}: a URL whose time is over", lambda: (time.sleep(max(0, end - time.monotonic())), fetch(expired))[1])
        step(f"{version}: a form with a file too large", lambda: form(signer, b"x" * 200))
        step(f"{version}: a form that was changed", lambda: form(signer, change={"key": "elsewhere"}))
        step(f"{version}: a form", lambda: form(signer))
    step("get of the form's file", lambda: get("up/a b.txt"))


def form(signer, body=SMALL, change={}):
    conditions = [["starts-with", "$Content-Type", "text/"], ["content-length-range", 1, 100], ["starts-with", "$key", "up/"], {"success_action_status": "201"}]
    made = signer.generate_presigned_post(BUCKET, "up/${filename}", Conditions=conditions, ExpiresIn=60)
    fields = {**made["fields"], "Content-Type": "text/plain", "success_action_status": "201", **change}
    edge, data = "----an-edge", b""
    for name, value in fields.items():
        data += f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    data += f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\nContent-Type: text/plain\r\n\r\n'.encode() + body + f"\r\n--{edge}--\r\n".encode()
    answer = fetch(made["url"], "POST", data, {"Content-Type": f"multipart/form-data; boundary={edge}"})
    answer.pop("length", None), answer.pop("sha256", None)
    return answer


def tags():
    put("tagged")
    step("tags", lambda: s3.get_object_tagging(Bucket=BUCKET, Key="tagged"))
    step("put with tags", lambda: put("tagged", Tagging="a=1"))
    step("acl", lambda: s3.get_object_acl(Bucket=BUCKET, Key="tagged"))
    step("put with an acl", lambda: put("tagged", ACL="private", StorageClass="STANDARD"))


PARTS = (objects, errors, buckets, odd_keys, listings, copies, conditions, checksums, multipart, presigned, tags)
if __name__ == "__main__":
    for part in PARTS:
        if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
            part()
