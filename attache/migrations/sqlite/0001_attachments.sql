CREATE TABLE attachments (
    id              TEXT PRIMARY KEY,
    object_key      TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'retired')),
    owner           TEXT,
    filename        TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    created_by      TEXT,
    -- What the row takes of the quota: the reservation while pending, the size when ready, nothing when retired.
    charged_bytes   INTEGER NOT NULL,
    size            INTEGER,
    sha256          BLOB,
    md5             BLOB,
    crc64           BLOB,
    -- The process that works on a pending row.
    worker          TEXT NOT NULL,
    idempotency_key TEXT UNIQUE
) STRICT, WITHOUT ROWID;

CREATE INDEX attachments_newest ON attachments (created_at_ms DESC, id DESC) WHERE state = 'ready';
CREATE INDEX attachments_of_owner ON attachments (owner, created_at_ms DESC, id DESC) WHERE state = 'ready';
CREATE INDEX attachments_unfinished ON attachments (id) WHERE state <> 'ready';

-- Kept by the same transactions that change rows, so that the quota costs no scan.
CREATE TABLE usage (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    attachments    INTEGER NOT NULL,
    ready_bytes    INTEGER NOT NULL,
    reserved_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO usage VALUES (1, 0, 0, 0);
