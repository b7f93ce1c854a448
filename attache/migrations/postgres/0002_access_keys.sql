-- Ids and secrets for programs that speak S3. attache.access_version goes up with each that is made or revoked.
CREATE TABLE attache.access_keys (
    id         text COLLATE "C" PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    -- Two of a name at a time: the one in use, and the next one. So two replicas that make one each at the same time cannot make a third.
    place      bigint NOT NULL CHECK (place IN (0, 1)),
    -- Names with spaces between.
    buckets    text NOT NULL,
    prefix     text NOT NULL,
    -- Words with spaces between.
    scopes     text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    -- The secret, sealed with the key of secrets.key_file.
    sealed     bytea NOT NULL,
    UNIQUE (name, place)
);
