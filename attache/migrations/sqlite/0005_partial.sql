-- A fourth state, 'partial': an upload that no process owns, until it is taken up again or has expired. SQLite cannot change a
-- CHECK, so the table is written anew (<https://sqlite.org/lang_altertable.html#otheralter>).
CREATE TABLE attachments_next (
    id                TEXT PRIMARY KEY,
    object_key        TEXT NOT NULL UNIQUE,
    state             TEXT NOT NULL CHECK (state IN ('pending', 'partial', 'ready', 'retired')),
    owner             TEXT,
    filename          TEXT NOT NULL,
    content_type      TEXT NOT NULL,
    created_at_ms     INTEGER NOT NULL,
    created_by        TEXT,
    -- What the row takes of the quota: the reservation while pending or partial, the size when ready, nothing when retired.
    charged_bytes     INTEGER NOT NULL,
    size              INTEGER,
    sha256            BLOB,
    md5               BLOB,
    crc64             BLOB,
    -- The process that works on a pending row.
    worker            TEXT NOT NULL,
    idempotency_key   TEXT UNIQUE,
    store_tag         TEXT,
    -- What the store calls an upload in parts, and when it may be removed.
    upload            TEXT,
    upload_expires_ms INTEGER,
    CHECK (state <> 'partial' OR upload IS NOT NULL),
    CHECK ((upload IS NULL) = (upload_expires_ms IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO attachments_next (id, object_key, state, owner, filename, content_type, created_at_ms, created_by, charged_bytes,
    size, sha256, md5, crc64, worker, idempotency_key, store_tag)
SELECT id, object_key, state, owner, filename, content_type, created_at_ms, created_by, charged_bytes,
    size, sha256, md5, crc64, worker, idempotency_key, store_tag
FROM attachments;

DROP TABLE attachments;
ALTER TABLE attachments_next RENAME TO attachments;

CREATE INDEX attachments_newest ON attachments (created_at_ms DESC, id DESC) WHERE state = 'ready';
CREATE INDEX attachments_of_owner ON attachments (owner, created_at_ms DESC, id DESC) WHERE state = 'ready';
CREATE INDEX attachments_of_kind
    ON attachments (substr(owner, 1, instr(owner, ':')), created_at_ms DESC, id DESC, owner) WHERE state = 'ready';
CREATE INDEX attachments_unfinished ON attachments (id) WHERE state <> 'ready';
CREATE INDEX attachments_uploads ON attachments (id) WHERE upload IS NOT NULL;
