-- Two versions of the program may work on one database. A schema is known by the number of its last migration.

-- The oldest schema that a program must know to work on this database. A migration that takes something away which older
-- programs need, or changes what it means, raises it in the same transaction: to the schema that the first programs know
-- which do without.
CREATE TABLE compatibility (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL
) STRICT;
INSERT INTO compatibility (id, since) VALUES (1, 8);

-- The schema that the worker's program knows; 0 where that was not kept yet.
ALTER TABLE workers ADD COLUMN schema INTEGER NOT NULL DEFAULT 0;

-- The newest schema known to any program that wrote to the rollout: programs that know less do not carry it on.
ALTER TABLE rollouts ADD COLUMN schema INTEGER NOT NULL DEFAULT 0;
