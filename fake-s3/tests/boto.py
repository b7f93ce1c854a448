"""What Amazon's own SDK makes of the stand-in: a step that is not answered as S3 answers it ends the script."""

import base64
import hashlib
import os
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client(**settings):
    config = {"signature_version": "s3v4", "retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}}
    return boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        region_name=settings.pop("region", "eu-central-1"),
        aws_access_key_id=settings.pop("key", os.environ["S3_KEY"]),
        aws_secret_access_key=settings.pop("secret", os.environ["S3_SECRET"]),
        verify=os.environ.get("S3_CA") or False,
        config=Config(**config),
    )


def refused(status, code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ClientError as error:
        found = (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
        assert found == (status, code), (found, (status, code))
        return error.response
    raise AssertionError(f"{code} was expected")


s3 = client()
B = "files"
ODD = "ordner/ü a+b%2F!*'()~.txt"

# One request.
put = s3.put_object(Bucket=B, Key=ODD, Body=b"hello", ContentType="text/plain", Metadata={"owner": "page:1"},
                    ContentDisposition="inline; filename=a.txt")
assert put["ETag"] == '"' + hashlib.md5(b"hello").hexdigest() + '"', put
got = s3.get_object(Bucket=B, Key=ODD)
assert got["Body"].read() == b"hello" and got["ContentType"] == "text/plain" and got["Metadata"] == {"owner": "page:1"}
assert s3.get_object(Bucket=B, Key=ODD, Range="bytes=1-2")["Body"].read() == b"el"
assert s3.get_object(Bucket=B, Key=ODD, Range="bytes=-2")["Body"].read() == b"lo"
refused(416, "InvalidRange", s3.get_object, Bucket=B, Key=ODD, Range="bytes=5-")
assert s3.head_object(Bucket=B, Key=ODD)["ContentLength"] == 5
refused(404, "NoSuchKey", s3.get_object, Bucket=B, Key="none")
refused(404, "404", s3.head_object, Bucket=B, Key="none")
refused(404, "NoSuchBucket", s3.get_object, Bucket="none", Key="none")

# Digests.
refused(400, "BadDigest", s3.put_object, Bucket=B, Key="bad", Body=b"hello",
        ChecksumSHA256=base64.b64encode(hashlib.sha256(b"other").digest()).decode())
refused(400, "BadDigest", s3.put_object, Bucket=B, Key="bad", Body=b"hello",
        ContentMD5=base64.b64encode(hashlib.md5(b"other").digest()).decode())
refused(400, "InvalidDigest", s3.put_object, Bucket=B, Key="bad", Body=b"hello", ContentMD5="AAAA")
refused(404, "404", s3.head_object, Bucket=B, Key="bad")
s3.put_object(Bucket=B, Key="sum", Body=b"hello", ChecksumAlgorithm="SHA256")
with_sum = s3.get_object(Bucket=B, Key="sum", ChecksumMode="ENABLED")
assert with_sum["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
assert "ChecksumSHA256" not in s3.get_object(Bucket=B, Key="sum", ChecksumMode="ENABLED", Range="bytes=0-1")

# Conditions.
refused(412, "PreconditionFailed", s3.put_object, Bucket=B, Key="sum", Body=b"x", IfNoneMatch="*")
refused(412, "PreconditionFailed", s3.put_object, Bucket=B, Key="sum", Body=b"x", IfMatch='"other"')
refused(404, "NoSuchKey", s3.put_object, Bucket=B, Key="none", Body=b"x", IfMatch='"other"')
refused(412, "PreconditionFailed", s3.get_object, Bucket=B, Key="sum", IfMatch='"other"')
refused(304, "304", s3.get_object, Bucket=B, Key="sum", IfNoneMatch=put["ETag"])

# Copies.
source = {"Bucket": B, "Key": ODD}
s3.copy_object(Bucket=B, Key="copy", CopySource=source)
assert s3.head_object(Bucket=B, Key="copy")["Metadata"] == {"owner": "page:1"}
s3.copy_object(Bucket=B, Key="copy", CopySource=source, MetadataDirective="REPLACE", Metadata={"a": "b"})
assert s3.head_object(Bucket=B, Key="copy")["Metadata"] == {"a": "b"}
refused(412, "PreconditionFailed", s3.copy_object, Bucket=B, Key="copy", CopySource=source, CopySourceIfMatch='"x"')
refused(400, "InvalidRequest", s3.copy_object, Bucket=B, Key="copy", CopySource={"Bucket": B, "Key": "copy"})

# Lists.
for key in ("l/a", "l/a+b", "l/b/1", "l/b/2", "l/ü", "l/😀"):
    s3.put_object(Bucket=B, Key=key, Body=b"")
page = s3.list_objects_v2(Bucket=B, Prefix="l/", Delimiter="/", MaxKeys=2)
assert [item["Key"] for item in page["Contents"]] == ["l/a", "l/a+b"] and page["IsTruncated"]
page = s3.list_objects_v2(Bucket=B, Prefix="l/", Delimiter="/", MaxKeys=2, ContinuationToken=page["NextContinuationToken"])
assert [item["Prefix"] for item in page["CommonPrefixes"]] == ["l/b/"] and [item["Key"] for item in page["Contents"]] == ["l/ü"]
page = s3.list_objects_v2(Bucket=B, Prefix="l/", Delimiter="/", ContinuationToken=page["NextContinuationToken"])
assert [item["Key"] for item in page["Contents"]] == ["l/😀"] and not page["IsTruncated"]
page = s3.list_objects_v2(Bucket=B, Prefix="l/", StartAfter="l/b/1")
assert [item["Key"] for item in page["Contents"]] == ["l/b/2", "l/ü", "l/😀"]
assert s3.list_objects_v2(Bucket=B, MaxKeys=5000)["MaxKeys"] == 1000
refused(400, "InvalidArgument", s3.list_objects_v2, Bucket=B, ContinuationToken="zzzz")
gone = s3.delete_objects(Bucket=B, Delete={"Objects": [{"Key": "l/a"}, {"Key": "never"}]})
assert [item["Key"] for item in gone["Deleted"]] == ["l/a", "never"]

# Parts, of 16 bytes at least.
upload = s3.create_multipart_upload(Bucket=B, Key="parts", ContentType="image/png", Metadata={"m": "1"},
                                    ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
sizes = {2: b"b" * 16, 1: b"a" * 16, 3: b"c"}
parts = []
for number, data in sizes.items():
    part = s3.upload_part(Bucket=B, Key="parts", UploadId=upload, PartNumber=number, Body=data)
    parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
assert [part["Size"] for part in s3.list_parts(Bucket=B, Key="parts", UploadId=upload)["Parts"]] == [16, 16, 1]
assert [item["UploadId"] for item in s3.list_multipart_uploads(Bucket=B)["Uploads"]] == [upload]
complete = {"Bucket": B, "Key": "parts", "UploadId": upload}
refused(400, "InvalidPartOrder", s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **complete)
parts.sort(key=lambda part: part["PartNumber"])
wrong = [dict(parts[0], ETag='"0"')] + parts[1:]
refused(400, "InvalidPart", s3.complete_multipart_upload, MultipartUpload={"Parts": wrong}, **complete)
refused(400, "BadDigest", s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, ChecksumCRC32="AAAAAA==",
        ChecksumType="FULL_OBJECT", **complete)
whole = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **complete)
assert whole["ETag"].endswith('-3"') and whole["ChecksumType"] == "FULL_OBJECT", whole
got = s3.get_object(Bucket=B, Key="parts", ChecksumMode="ENABLED")
assert got["Body"].read() == b"a" * 16 + b"b" * 16 + b"c" and got["ContentType"] == "image/png"
refused(404, "NoSuchUpload", s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **complete)
small = s3.create_multipart_upload(Bucket=B, Key="small")["UploadId"]
tags = [s3.upload_part(Bucket=B, Key="small", UploadId=small, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
refused(400, "EntityTooSmall", s3.complete_multipart_upload, Bucket=B, Key="small", UploadId=small,
        MultipartUpload={"Parts": [{"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(tags)]})
s3.abort_multipart_upload(Bucket=B, Key="small", UploadId=small)
refused(404, "NoSuchUpload", s3.upload_part, Bucket=B, Key="small", UploadId=small, PartNumber=1, Body=b"x")
refused(404, "NoSuchUpload", s3.abort_multipart_upload, Bucket=B, Key="small", UploadId=small)
again = s3.create_multipart_upload(Bucket=B, Key="parts")["UploadId"]
tag = s3.upload_part(Bucket=B, Key="parts", UploadId=again, PartNumber=1, Body=b"x")["ETag"]
refused(412, "PreconditionFailed", s3.complete_multipart_upload, Bucket=B, Key="parts", UploadId=again, IfNoneMatch="*",
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
copied = s3.upload_part_copy(Bucket=B, Key="parts", UploadId=again, PartNumber=2, CopySource=source, CopySourceRange="bytes=1-3")
assert copied["CopyPartResult"]["ETag"] == '"' + hashlib.md5(b"ell").hexdigest() + '"'
s3.abort_multipart_upload(Bucket=B, Key="parts", UploadId=again)

# Who asks.
refused(403, "SignatureDoesNotMatch", client(secret="wrong").get_object, Bucket=B, Key="sum")
refused(403, "InvalidAccessKeyId", client(key="AKIAOTHER").get_object, Bucket=B, Key="sum")
# The SDK reads in the refusal which region is right, and asks again.
assert client(region="us-west-2").list_objects_v2(Bucket=B)["KeyCount"] > 0
assert s3.get_bucket_location(Bucket="elsewhere")["LocationConstraint"] == "eu-west-1"
assert s3.head_bucket(Bucket=B)["BucketRegion"] == "eu-central-1"

# URLs, as a browser opens them.
url = s3.generate_presigned_url("get_object", Params={
    "Bucket": B, "Key": ODD, "ResponseContentDisposition": "attachment; filename*=UTF-8''%E3%81%82%20b.txt"}, ExpiresIn=60)
context = None
if url.startswith("https"):
    import ssl
    context = ssl.create_default_context(cafile=os.environ["S3_CA"])
with urllib.request.urlopen(url, context=context) as answer:
    assert answer.read() == b"hello"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%E3%81%82%20b.txt"
try:
    urllib.request.urlopen(url.replace("attachment", "inline"), context=context)
    raise AssertionError("a URL that was changed works")
except urllib.error.HTTPError as error:
    assert error.code == 403 and b"SignatureDoesNotMatch" in error.read()

# Versions.
V = "kept"
assert s3.get_bucket_versioning(Bucket=V)["Status"] == "Enabled" and "Status" not in s3.get_bucket_versioning(Bucket=B)
first = s3.put_object(Bucket=V, Key="v", Body=b"1")["VersionId"]
second = s3.put_object(Bucket=V, Key="v", Body=b"2")["VersionId"]
assert s3.get_object(Bucket=V, Key="v", VersionId=first)["Body"].read() == b"1"
marker = s3.delete_object(Bucket=V, Key="v")
assert marker["DeleteMarker"]
refused(404, "NoSuchKey", s3.get_object, Bucket=V, Key="v")
refused(405, "MethodNotAllowed", s3.get_object, Bucket=V, Key="v", VersionId=marker["VersionId"])
listed = s3.list_object_versions(Bucket=V, Prefix="v")
assert [item["VersionId"] for item in listed["Versions"]] == [second, first] and listed["DeleteMarkers"][0]["IsLatest"]
page = s3.list_object_versions(Bucket=V, Prefix="v", MaxKeys=1)
page = s3.list_object_versions(Bucket=V, Prefix="v", MaxKeys=1, KeyMarker=page["NextKeyMarker"], VersionIdMarker=page["NextVersionIdMarker"])
assert [item["VersionId"] for item in page["Versions"]] == [second], page
s3.delete_object(Bucket=V, Key="v", VersionId=marker["VersionId"])
assert s3.get_object(Bucket=V, Key="v")["Body"].read() == b"2"

# What cannot be read, and what must stay.
refused(403, "InvalidObjectState", s3.get_object, Bucket=B, Key="archived")
assert s3.head_object(Bucket=B, Key="archived")["StorageClass"] == "GLACIER"
held = s3.list_object_versions(Bucket=V, Prefix="held")["Versions"][0]["VersionId"]
refused(403, "AccessDenied", s3.delete_object, Bucket=V, Key="held", VersionId=held)
print("all steps")
