-- Ids and secrets for programs that speak S3. access_version goes up with each that is made or revoked.
CREATE TABLE access_keys (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- Two of a name at a time: the one in use, and the next one.
    place      INTEGER NOT NULL CHECK (place IN (0, 1)),
    -- Names with spaces between.
    buckets    TEXT NOT NULL,
    prefix     TEXT NOT NULL,
    -- Words with spaces between.
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    -- The secret, sealed with the key of secrets.key_file.
    sealed     BLOB NOT NULL,
    UNIQUE (name, place)
) STRICT, WITHOUT ROWID;
