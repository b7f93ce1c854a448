-- How far a move of the bytes from one store into another is: what a mover noted last.
CREATE TABLE attache.moves (
    one           integer PRIMARY KEY CHECK (one = 1),
    from_place    text COLLATE "C" NOT NULL,
    to_place      text COLLATE "C" NOT NULL,
    objects       bigint NOT NULL,
    bytes         bigint NOT NULL,
    total_objects bigint NOT NULL,
    total_bytes   bigint NOT NULL,
    noted_ms      bigint NOT NULL
);
