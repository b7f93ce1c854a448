#!/usr/bin/env bash
# lighttpd: behind mod_proxy X-Sendfile is taken out of the response and not acted upon: an empty 200.
#
# One would guess: X-Sendfile, which lighttpd invented, works behind its reverse proxy; or else the header is passed on, where
#   somebody sees it.
# What happens: `x-sendfile` is an option of FastCGI, SCGI, AJP, uwsgi and CGI back ends only. mod_proxy removes the header and passes
#   the rest: 200, Content-Length 0, the right type and disposition, and nothing in the error log.
# Versions: lighttpd 1.4.69-1 (Debian 12).
# Why it matters: every attachment arrives as an empty file with its right name, with success at the client and in both logs.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

apt-get download -qq -o APT::Sandbox::User=root lighttpd=1.4.69-1 libxxhash0=0.8.1-1 libnettle8=3.8.1-2
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu"

mkdir files htdocs
printf 'hello' >files/stored
cat >app.py <<'PY'
import http.server, os

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Sendfile", f"{os.getcwd()}/files/stored")
        self.send_header("Content-Type", "application/pdf")
        self.send_header("Content-Disposition", 'attachment; filename="report.pdf"')
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

cat >lighttpd.conf <<CONF
server.bind = "127.0.0.1"
server.port = $port
server.document-root = "$dir/htdocs"
server.errorlog = "$dir/error.log"
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => $(cat app.port))))
CONF
root/usr/sbin/lighttpd -D -f lighttpd.conf -m root/usr/lib/lighttpd &
curl -s --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/"

root/usr/sbin/lighttpd -v | head -n 1
curl -si "http://127.0.0.1:$port/" | tr -d '\r' | tee response
logged=$(grep -vc 'server started' error.log || true)
echo "lines in the error log: $logged"

has() { grep -qi "^$1" response; }
has 'HTTP/1.1 200' && has 'Content-Length: 0' && has 'Content-Disposition: attachment' && ! has X-Sendfile &&
  ! grep -q hello response && [ "$logged" = 0 ] ||
  { echo "the behaviour has changed"; exit 1; }
