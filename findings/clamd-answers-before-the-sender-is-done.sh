#!/usr/bin/env bash
# clamd answers a stream that is too long while it is still being sent, and the sender sees a broken pipe, not the answer.
#
# One would guess: INSTREAM is one request and one reply: send all chunks and the terminator, then read; a write error means that
#   clamd is down.
# What happens: at StreamMaxLength clamd writes "INSTREAM size limit exceeded. ERROR" and closes at once. Announcing a chunk longer
#   than the limit is enough, before a byte of it is sent. A sender that only writes gets EPIPE or a reset, the same as when clamd dies;
#   the answer has to be read after the write failed. The limit in Debian's configuration is 25 MB.
# Versions: clamav-daemon 1.4.6+dfsg-0+deb12u1 (Debian 12), with one harmless signature of our own.
# Why it matters: a file that can never be scanned is taken for an outage, is retried for ever, and falls under whatever the policy
#   for outages is, where it should get its own refusal.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

apt-get download -qq -o APT::Sandbox::User=root clamav-daemon=1.4.6+dfsg-0+deb12u1 libclamav12=1.4.6+dfsg-0+deb12u1 \
  libmspack0=0.11-1
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"

mkdir db
printf 'Harmless.Test:0:*:%s\n' "$(printf 'a harmless signature' | od -An -v -tx1 | tr -d ' \n')" >db/test.ndb
cat >clamd.conf <<CONF
DatabaseDirectory $dir/db
LocalSocket $dir/clamd.sock
Foreground yes
StreamMaxLength 1M
CONF
root/usr/sbin/clamd --config-file=clamd.conf >clamd.log 2>&1 &
for _ in $(seq 150); do [ -S clamd.sock ] && break; sleep 0.2; done

cat >try.py <<'PY'
import socket, struct, sys

def connect():
    clamd = socket.socket(socket.AF_UNIX)
    clamd.settimeout(10)
    clamd.connect("clamd.sock")
    return clamd

def scan(length):
    clamd, sent, error = connect(), 0, None
    clamd.sendall(b"zINSTREAM\0")
    chunk = struct.pack(">I", 64 << 10) + bytes(64 << 10)
    try:
        while sent < length:
            clamd.sendall(chunk)
            sent += 64 << 10
        clamd.sendall(bytes(4))
    except OSError as broken:
        error = type(broken).__name__
    return sent, error, clamd.recv(200).rstrip(b"\0").decode()

version = connect()
version.sendall(b"zVERSION\0")
print(version.recv(100).rstrip(b"\0").decode())
at_limit = scan(1 << 20)
beyond = scan(32 << 20)
announced = connect()
announced.sendall(b"zINSTREAM\0" + struct.pack(">I", (1 << 20) + 1))
unsent = announced.recv(200).rstrip(b"\0").decode()
print(f"exactly StreamMaxLength: write error {at_limit[1]}, reply {at_limit[2]!r}")
print(f"32 MiB: write error {beyond[1]}, reply read after it {beyond[2]!r}")
print(f"a chunk announced, nothing of it sent: reply {unsent!r}")
limit = "INSTREAM size limit exceeded. ERROR"
same = at_limit[1:] == (None, "stream: OK") and beyond[0] < 32 << 20 and beyond[2] == limit and unsent == limit \
    and beyond[1] in ("BrokenPipeError", "ConnectionResetError")
sys.exit(not same)
PY
python3 try.py || { echo "the behaviour has changed"; tail -n 5 clamd.log; exit 1; }
