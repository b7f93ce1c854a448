-- Uploads of several requests: how far each is, and what the store gave for its parts. A row outlives its upload for a while, so that
-- a client whose last answer was lost learns that all of it came.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY REFERENCES attachments (id) ON DELETE CASCADE,
    -- Goes up with each request that takes the upload up: what a former one still writes does not count.
    epoch      INTEGER NOT NULL,
    -- The process whose request works on it, and whether another request waits for that to end.
    worker     TEXT,
    wanted     INTEGER NOT NULL,
    -- Bytes that are stored; and all that there will be, if that is known.
    stored     INTEGER NOT NULL,
    length     INTEGER,
    parts      INTEGER NOT NULL,
    -- The first bytes, until the type has been told from them.
    first      BLOB NOT NULL,
    digests    BLOB NOT NULL,
    -- The client sends it to the store itself.
    direct     INTEGER NOT NULL,
    -- As the client sent it; what type it claims; whose upload it is.
    metadata   TEXT NOT NULL,
    claim      TEXT,
    caller     TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_ends ON uploads (expires_ms);
CREATE INDEX uploads_whole ON uploads (id) WHERE stored = length;

CREATE TABLE upload_parts (
    id     TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    crc64  BLOB NOT NULL,
    tag    TEXT NOT NULL,
    PRIMARY KEY (id, number)
) STRICT, WITHOUT ROWID;
