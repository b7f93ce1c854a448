#!/usr/bin/env bash
# nginx: X-Accel-Redirect keeps Content-Disposition, and drops Content-Security-Policy, X-Content-Type-Options and the entity tag.
#
# One would guess: the headers of the application's response go out with the file that nginx sends in its place; with
#   Content-Type and Content-Disposition they visibly do.
# What happens: only a fixed list survives (Content-Type, Content-Disposition, Accept-Ranges, Cache-Control, Expires, Set-Cookie). The
#   policy headers and Vary are gone without a line in the log. ETag and Last-Modified become those of the file on disk, so a client
#   that sends back the application's entity tag gets 200 with the body, not 304. `Accept-Ranges: none` goes out beside
#   nginx's own `Accept-Ranges: bytes`. The application's status is lost as well: its 404 becomes 200 with the file.
# Versions: nginx 1.22.1-9+deb12u11 (Debian 12).
# Why it matters: a sandbox policy and nosniff are what keeps an uploaded HTML file from running as a page of the site. They must be
#   put back by `add_header` with `$upstream_http_...` in the internal location.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

apt-get download -qq -o APT::Sandbox::User=root nginx=1.22.1-9+deb12u11
dpkg -x nginx_*.deb root

mkdir files
printf 'hello' >files/stored
cat >app.py <<'PY'
import http.server

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path == "/missing" else 200)
        for name, value in {
            "X-Accel-Redirect": "/files/stored", "Content-Type": "text/html", "Content-Length": "0",
            "Content-Disposition": 'attachment; filename="page.html"', "Cache-Control": "private, max-age=60",
            "Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff", "Vary": "Authorization",
            "ETag": '"of-the-application"', "Accept-Ranges": "none",
        }.items():
            self.send_header(name, value)
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

cat >nginx.conf <<CONF
daemon off; pid $dir/nginx.pid; error_log $dir/error.log;
$([ "$(id -u)" != 0 ] || echo 'user root;')
events {}
http {
  access_log off;
  client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3; uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
  server {
    listen 127.0.0.1:$port;
    location / { proxy_pass http://127.0.0.1:$(cat app.port); }
    location /files/ { internal; alias $dir/files/; }
  }
}
CONF
root/usr/sbin/nginx -e "$dir/error.log" -p "$dir" -c "$dir/nginx.conf" &
curl -s --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/"

root/usr/sbin/nginx -v 2>&1
curl -si "http://127.0.0.1:$port/" | tr -d '\r' | tee response; echo
again=$(curl -s -o /dev/null -w '%{http_code}' -H 'If-None-Match: "of-the-application"' "http://127.0.0.1:$port/")
missing=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/missing")
echo "If-None-Match with the application's entity tag: $again; where the application says 404: $missing"

has() { grep -qi "^$1" response; }
has 'HTTP/1.1 200' && has 'Content-Disposition: attachment' && has 'Cache-Control: private' && has 'Content-Type: text/html' &&
  ! has Content-Security-Policy && ! has X-Content-Type-Options && ! has Vary && ! has 'ETag: "of-the-application"' && has ETag &&
  has 'Accept-Ranges: none' && has 'Accept-Ranges: bytes' && [ "$again" = 200 ] && [ "$missing" = 200 ] ||
  { echo "the behaviour has changed"; exit 1; }
