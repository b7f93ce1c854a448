-- Text that is compared has the collation "C": the order of bytes, as keys and owners are ordered everywhere else.
CREATE TABLE attache.attachments (
    id                text COLLATE "C" PRIMARY KEY,
    object_key        text COLLATE "C" NOT NULL UNIQUE,
    state             text NOT NULL CHECK (state IN ('pending', 'partial', 'ready', 'retired')),
    owner             text COLLATE "C",
    filename          text NOT NULL,
    -- As it was decided; what the bytes turned out to be has the last word, when it is read.
    content_type      text NOT NULL,
    utf8              boolean,
    created_at_ms     bigint NOT NULL,
    created_by        text,
    -- What the row takes of the quota: the reservation while pending or partial, the size when ready, nothing when retired.
    charged_bytes     bigint NOT NULL,
    size              bigint,
    sha256            bytea,
    md5               bytea,
    crc64             bytea,
    -- The process that works on a row that is pending or retired.
    worker            text COLLATE "C" NOT NULL,
    -- The row of `usage` that counts it. Always 0, until one counter is not enough.
    slot              integer NOT NULL DEFAULT 0,
    idempotency_key   text COLLATE "C",
    store_tag         text,
    -- What the store calls an upload in parts, and when it may be removed.
    upload            text,
    upload_expires_ms bigint,
    CHECK (state <> 'partial' OR upload IS NOT NULL),
    CHECK ((upload IS NULL) = (upload_expires_ms IS NULL)),
    CHECK (state <> 'ready' OR (size IS NOT NULL AND sha256 IS NOT NULL))
);

CREATE UNIQUE INDEX attachments_idempotency_key ON attache.attachments (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX attachments_newest ON attache.attachments (created_at_ms DESC, id DESC) WHERE state = 'ready';
CREATE INDEX attachments_of_owner ON attache.attachments (owner, created_at_ms DESC, id DESC) WHERE state = 'ready';
-- A pattern of owners holds at least a whole kind (`page:`), so a page of `page:*` is read in its order. No planner finds that by
-- statistics. The owner at the end makes longer prefixes readable from the index alone.
CREATE INDEX attachments_of_kind ON attache.attachments (split_part(owner, ':', 1), created_at_ms DESC, id DESC) INCLUDE (owner)
    WHERE state = 'ready';
CREATE INDEX attachments_unfinished ON attache.attachments (id) WHERE state <> 'ready';
CREATE INDEX attachments_uploads ON attache.attachments (id) WHERE upload IS NOT NULL;

-- Kept by the statements that change rows, so that the quota costs no scan. A statement that would overshoot makes a counter NULL,
-- which undoes all of it. Room in the page keeps the updates off the indexes.
CREATE TABLE attache.usage (
    slot           integer PRIMARY KEY,
    attachments    bigint NOT NULL,
    ready_bytes    bigint NOT NULL,
    reserved_bytes bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO attache.usage VALUES (0, 0, 0, 0);

-- The processes, by the clock of the database. One that has not been seen for a while is dead; its rows may be taken over.
CREATE TABLE attache.workers (
    id          text COLLATE "C" PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    seen_at     timestamptz NOT NULL,
    -- Since when it has been seen without a gap that would have made it dead.
    alive_since timestamptz NOT NULL
);

CREATE TABLE attache.tokens (
    id         text COLLATE "C" PRIMARY KEY,
    -- SHA-256 of the whole token.
    hash       bytea NOT NULL,
    name       text NOT NULL,
    -- Words with spaces between.
    scopes     text NOT NULL,
    owners     text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used  bigint
);

CREATE TABLE attache.ended_sessions (
    hash    bytea PRIMARY KEY,
    expires bigint NOT NULL
);

-- Goes up with every token that is made or revoked, and with every session that is ended.
CREATE TABLE attache.access_version (
    one     integer PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL
);
INSERT INTO attache.access_version VALUES (1, 0);

CREATE TABLE attache.signing_keys (
    name text COLLATE "C" PRIMARY KEY,
    key  bytea NOT NULL
);
