#!/usr/bin/env bash
# Apache's mod_xsendfile: the path is taken as it is, and a response other than 200 leaves the server with the path and no file.
#
# One would guess: X-Sendfile is nginx's X-Accel-Redirect under another name, so that an application which percent-encodes the
#   path (as it must for nginx, where `%` and `?` mean something) does right for both.
# What happens: mod_xsendfile decodes nothing. `a%20b.txt` is looked for under that very name (404); a raw space is right. It
#   acts on 200 only: after a 404 or 206 the file is not sent, and the header itself goes out, with the path on the server's disk
#   (nginx sends the file with 200). Unlike nginx it keeps every header, the application's ETag and policy included, and compares
#   If-None-Match with that ETag.
# Versions: libapache2-mod-xsendfile 0.12-2+b1 with apache2-bin 2.4.71-1~deb12u1 (Debian 12).
# Why it matters: stored names with spaces, percent signs or question marks are served by one server and lost by the other; code
#   that supports both needs two encodings, or keys of letters, digits, `-`, `.` and `/`.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

apt-get download -qq -o APT::Sandbox::User=root apache2-bin=2.4.71-1~deb12u1 libapache2-mod-xsendfile=0.12-2+b1 \
  libapr1=1.7.2-3+deb12u1 libaprutil1=1.6.3-1+deb12u1 liblua5.3-0=5.3.6-2
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"

mkdir files htdocs
chmod 755 "$dir" # the workers are not root
printf 'hello' >'files/a b.txt'
cat >app.py <<'PY'
import http.server, os

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = "a%20b.txt" if self.path == "/encoded" else "a b.txt"
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("X-Sendfile", f"{os.getcwd()}/files/{name}")
        self.send_header("ETag", '"of-the-application"')
        self.send_header("Content-Security-Policy", "sandbox")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
print(server.server_port, flush=True)
server.serve_forever()
PY
: >app.port
python3 app.py >app.port &
until [ -s app.port ]; do sleep 0.1; done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

modules=$dir/root/usr/lib/apache2/modules
cat >apache.conf <<CONF
ServerRoot $dir
ServerName localhost
Listen 127.0.0.1:$port
PidFile $dir/apache.pid
Mutex file:$dir
ErrorLog $dir/error.log
$([ "$(id -u)" != 0 ] || printf 'User nobody\nGroup nogroup')
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule proxy_module $modules/mod_proxy.so
LoadModule proxy_http_module $modules/mod_proxy_http.so
LoadModule xsendfile_module $modules/mod_xsendfile.so
DocumentRoot $dir/htdocs
XSendFile on
XSendFilePath $dir/files
ProxyPass / http://127.0.0.1:$(cat app.port)/
CONF
root/usr/sbin/apache2 -f "$dir/apache.conf" -DFOREGROUND >/dev/null 2>&1 &
curl -s --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/"

root/usr/sbin/apache2 -v | head -n 1
ask() { curl -s -D headers -o body -w '%{http_code}' "${@:2}" "http://127.0.0.1:$port$1"; }
encoded=$(ask /encoded)
literal=$(ask /literal)
kept=$(grep -ciE '^(ETag: "of-the-application"|Content-Security-Policy: sandbox)' headers)
sent=$(cat body)
unchanged=$(ask /literal -H 'If-None-Match: "of-the-application"')
missing=$(ask /missing)
leaked=$(grep -ci "^X-Sendfile: $dir/files/a b.txt" headers || true)
echo "file \"a b.txt\": X-Sendfile \"…/a%20b.txt\" gives $encoded, \"…/a b.txt\" gives $literal \"$sent\", $kept of 2 headers kept"
echo "If-None-Match with the application's tag: $unchanged"
echo "X-Sendfile with status 404: $missing, $(stat -c %s body) bytes, header X-Sendfile sent to the client: $leaked"

[ "$encoded $literal $sent $kept $unchanged $missing $leaked" = "404 200 hello 2 304 404 1" ] && [ ! -s body ] ||
  { echo "the behaviour has changed"; exit 1; }
