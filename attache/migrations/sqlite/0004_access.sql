-- Who may do what, and what signs links and sessions: in the same database as what they are about, so that processes that share
-- it share them.
CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    -- SHA-256 of the whole token.
    hash       BLOB NOT NULL,
    name       TEXT NOT NULL,
    -- Words with spaces between.
    scopes     TEXT NOT NULL,
    owners     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used  INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE ended_sessions (
    hash    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Goes up with every token that is made or revoked, and with every session that is ended.
CREATE TABLE access_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO access_version VALUES (1, 0);

CREATE TABLE signing_keys (
    name TEXT PRIMARY KEY,
    key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
