"""What awscli, rclone and s3cmd print about an S3 endpoint: a line of JSON for each command, without what is new in each run."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

ENDPOINT, BUCKET = os.environ["S3_ENDPOINT"], os.environ["S3_BUCKET"]
KEY, SECRET = os.environ["S3_KEY"], os.environ["S3_SECRET"]
TOOL, PROGRAM = sys.argv[1:3]
MIB = 1024 * 1024
HOST = ENDPOINT.split("://")[1]
FOLDER = tempfile.TemporaryDirectory(prefix="attache-s3-")
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": FOLDER.name, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def path(name):
    return os.path.join(FOLDER.name, name)


def write(name, data):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), "wb") as file:
        file.write(data)
    # A fixed time: rclone and s3cmd keep it with the object, and compare.
    os.utime(path(name), (1_700_000_000, 1_700_000_000))


def step(name, *arguments, output=True):
    """A command: how it ended, and what it printed on stdout."""
    run = subprocess.run([PROGRAM, *BASE, *arguments], cwd=FOLDER.name, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    seen = {"step": name, "exit": run.returncode}
    if run.returncode:
        codes = re.findall(r"\b(NoSuch\w+|AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId|Invalid\w+|Precondition\w+|NotFound|not found|404)\b", run.stderr)
        seen["codes"] = sorted(set(codes))
    elif output:
        seen["lines"] = sorted(clean(line) for line in run.stdout.splitlines() if line.strip())
    if os.environ.get("S3_VERBOSE"):
        print(name, run.stdout, run.stderr, file=sys.stderr)
    print(json.dumps(seen, ensure_ascii=False, sort_keys=True), flush=True)
    return run.stdout


def clean(line):
    line = line.replace(ENDPOINT, "ENDPOINT").replace(HOST, "HOST").replace(FOLDER.name, "FOLDER").split("\r")[-1]
    line = re.sub(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?", "DATE", line)
    line = re.sub(r"ACL: +\w+:", "ACL: OWNER:", line)
    line = re.sub(r"\d+(\.\d+)? ([kKMG]i?)?B/s|in \d\.\d+ seconds?|\(done\)", "", line)
    line = re.sub(r"(\"UploadId\": |uid:|gid:|uname:|gname:|atime:|ctime:|mtime:)[^/,]*", r"\1-", line)
    return re.sub(r"\s+", " ", line).strip()


def digest(name, file):
    """What a download left."""
    try:
        data = open(path(file), "rb").read()
        seen = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()[:16]}
    except OSError:
        seen = {"length": None}
    print(json.dumps({"step": name, **seen}, sort_keys=True), flush=True)


write("small.txt", b"hello, store\n")
write("big.bin", b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(17 * MIB // 32)))
for number in range(12):
    write(f"tree/{number % 3}/file {number}+ä.txt", f"file {number}".encode())


def aws():
    s3 = f"s3://{BUCKET}"
    step("ls of buckets", "s3", "ls", output=False)
    step("cp", "s3", "cp", "--no-progress", "small.txt", f"{s3}/small.txt")
    step("cp of 17 MiB", "s3", "cp", "--no-progress", "big.bin", f"{s3}/big.bin")
    step("cp back", "s3", "cp", "--no-progress", f"{s3}/big.bin", "back.bin")
    digest("what came back", "back.bin")
    step("cp to the screen", "s3", "cp", f"{s3}/small.txt", "-")
    step("cp within", "s3", "cp", "--no-progress", f"{s3}/big.bin", f"{s3}/big2.bin")
    step("mv within", "s3", "mv", "--no-progress", f"{s3}/small.txt", f"{s3}/moved ü+.txt")
    step("sync", "s3", "sync", "--no-progress", "tree", f"{s3}/tree")
    step("sync again", "s3", "sync", "--no-progress", "tree", f"{s3}/tree")
    step("ls", "s3", "ls", f"{s3}/")
    step("ls of all", "s3", "ls", "--recursive", "--page-size", "5", "--summarize", s3)
    step("head", "s3api", "head-object", "--bucket", BUCKET, "--key", "big.bin")
    step("list", "s3api", "list-objects-v2", "--bucket", BUCKET, "--prefix", "tree/1/")
    step("presign", "s3", "presign", f"{s3}/big.bin", output=False)
    step("rm of a missing key", "s3", "rm", f"{s3}/missing")
    step("cp of a missing key", "s3", "cp", f"{s3}/missing", "-")
    step("ls of a missing bucket", "s3", "ls", "s3://no-such-bucket")
    step("rm of all", "s3", "rm", "--recursive", s3)
    step("ls of nothing", "s3", "ls", s3, output=False)


def rclone():
    to = f"s3:{BUCKET}"
    step("lsd", "lsd", "s3:", output=False)
    step("copy", "copy", "small.txt", f"{to}/dir")
    step("copy again", "copy", "small.txt", f"{to}/dir")
    step("copy of 17 MiB in parts", "copy", "big.bin", f"{to}/dir")
    step("check", "check", "--one-way", "--download", "small.txt", f"{to}/dir")
    step("copy back", "copyto", f"{to}/dir/big.bin", "back.bin")
    digest("what came back", "back.bin")
    step("hashes", "md5sum", f"{to}/dir")
    step("sync", "sync", "tree", f"{to}/tree")
    step("check of all", "check", "tree", f"{to}/tree")
    step("lsl", "lsl", f"{to}/tree")
    step("lsf, times and hashes", "lsf", "-R", "--format", "psh", f"{to}/tree")
    # A touch: the object is copied onto itself with another time.
    os.utime(path("small.txt"), (1_600_000_000, 1_600_000_000))
    step("a touch", "copy", "small.txt", f"{to}/dir")
    step("lsl after a touch", "lsl", f"{to}/dir")
    step("move within", "moveto", f"{to}/dir/small.txt", f"{to}/dir/moved ü+.txt")
    step("cat", "cat", f"{to}/dir/moved ü+.txt")
    step("cat of a part", "cat", "--offset", "7", "--count", "5", f"{to}/dir/moved ü+.txt")
    step("size", "size", to)
    step("cat of a missing key", "cat", f"{to}/missing")
    step("delete of one", "deletefile", f"{to}/dir/big.bin")
    step("purge", "delete", to)
    step("ls of nothing", "ls", to)


def s3cmd():
    s3 = f"s3://{BUCKET}"
    step("ls of buckets", "ls", output=False)
    step("put", "put", "small.txt", f"{s3}/small.txt", output=False)
    step("put of 17 MiB in parts", "put", "big.bin", f"{s3}/big.bin", output=False)
    step("ls", "ls", f"{s3}/")
    step("ls with hashes", "ls", "--list-md5", f"{s3}/")
    step("get", "get", f"{s3}/big.bin", "back.bin", output=False)
    digest("what came back", "back.bin")
    step("info", "info", f"{s3}/small.txt")
    step("info of the bucket", "info", s3, output=False)
    step("cp", "cp", f"{s3}/small.txt", f"{s3}/copy ü+.txt", output=False)
    step("mv", "mv", f"{s3}/small.txt", f"{s3}/moved.txt", output=False)
    step("modify", "modify", "--add-header=x-amz-meta-a:b", f"{s3}/moved.txt", output=False)
    step("sync", "sync", "tree/", f"{s3}/tree/", output=False)
    step("sync again", "sync", "tree/", f"{s3}/tree/")
    step("ls of all", "ls", "--recursive", s3)
    step("du", "du", s3)
    step("uploads", "multipart", s3, output=False)
    step("get of a missing key", "get", f"{s3}/missing", "missing")
    step("ls of a missing bucket", "ls", "s3://no-such-bucket")
    step("del of one", "del", f"{s3}/moved.txt")
    step("del of all", "del", "--recursive", "--force", f"{s3}/")
    step("ls of nothing", "ls", s3)


if TOOL == "aws":
    BASE = ["--endpoint-url", ENDPOINT]
    ENVIRONMENT.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION="us-east-1", AWS_MAX_ATTEMPTS="1")
    if "S3_CA" in os.environ:
        ENVIRONMENT["AWS_CA_BUNDLE"] = os.environ["S3_CA"]
    aws()
elif TOOL == "rclone":
    settings = f"[s3]\ntype = s3\nprovider = Other\naccess_key_id = {KEY}\nsecret_access_key = {SECRET}\nendpoint = {ENDPOINT}\nregion = us-east-1\n"
    write("rclone.conf", settings.encode())
    BASE = ["--config", path("rclone.conf"), "--low-level-retries", "1", "--retries", "1", "--s3-list-chunk", "5", "--s3-upload-cutoff", "6M"]
    rclone()
else:
    settings = f"[default]\naccess_key = {KEY}\nsecret_key = {SECRET}\nhost_base = {HOST}\nhost_bucket = {HOST}\nuse_https = {ENDPOINT.startswith('https')}\nmultipart_chunk_size_mb = 5\nmax_retries = 1\nprogress_meter = False\n"
    write("s3cmd.conf", settings.encode())
    BASE = ["--config", path("s3cmd.conf")]
    s3cmd()
