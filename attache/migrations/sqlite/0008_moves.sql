-- How far a move of the bytes from one store into another is: what a mover noted last.
CREATE TABLE moves (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    from_place    TEXT NOT NULL,
    to_place      TEXT NOT NULL,
    objects       INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    total_objects INTEGER NOT NULL,
    total_bytes   INTEGER NOT NULL,
    noted_ms      INTEGER NOT NULL
) STRICT;
