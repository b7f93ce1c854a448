-- Uploads of several requests: how far each is, and what the store gave for its parts. A row outlives its upload for a while, so that
-- a client whose last answer was lost learns that all of it came.
CREATE TABLE attache.uploads (
    id         text COLLATE "C" PRIMARY KEY REFERENCES attache.attachments (id) ON DELETE CASCADE,
    -- Goes up with each request that takes the upload up: what a former one still writes does not count.
    epoch      bigint NOT NULL,
    -- The process whose request works on it, and whether another request waits for that to end.
    worker     text COLLATE "C",
    wanted     boolean NOT NULL,
    -- Bytes that are stored; and all that there will be, if that is known.
    stored     bigint NOT NULL,
    length     bigint,
    parts      bigint NOT NULL,
    -- The first bytes, until the type has been told from them.
    first      bytea NOT NULL,
    digests    bytea NOT NULL,
    -- The client sends it to the store itself.
    direct     boolean NOT NULL,
    -- As the client sent it; what type it claims; whose upload it is.
    metadata   text NOT NULL,
    claim      text,
    caller     text NOT NULL,
    expires_ms bigint NOT NULL
);

CREATE INDEX uploads_ends ON attache.uploads (expires_ms);
CREATE INDEX uploads_whole ON attache.uploads (id) WHERE stored = length;

CREATE TABLE attache.upload_parts (
    id     text COLLATE "C" NOT NULL REFERENCES attache.uploads (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    size   bigint NOT NULL,
    crc64  bytea NOT NULL,
    tag    text NOT NULL,
    PRIMARY KEY (id, number)
);
