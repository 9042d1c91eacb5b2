-- The fleet, what happens to it, and who does the work.
-- Times are milliseconds: `_at` by the wall clock since 1970, `lease_until` and `gone_at` by the lease clock of their era.
-- The PostgreSQL tree has the same names; a test compares them.

PRAGMA application_id = 1380930636; -- 'ROLL': how a database of ours is told from another one

-- Which store this is. Its row is also the lock that slots are counted under.
CREATE TABLE meta (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    store_id   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The number of the last event. Raised in the transaction that writes the events, so that numbers follow commits.
CREATE TABLE feed (
    id  INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO feed (id, seq) VALUES (1, 0);

CREATE TABLE hosts (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL,
    machine          TEXT    NOT NULL, -- address:port, lower case
    repo             TEXT    NOT NULL,
    spec             TEXT    NOT NULL, -- json
    labels           TEXT    NOT NULL, -- json
    owner            TEXT,
    host_keys        TEXT    NOT NULL, -- json
    current_version  TEXT,
    previous_version TEXT,
    needs_attention  INTEGER NOT NULL CHECK (needs_attention IN (0, 1)),
    health           TEXT    NOT NULL,
    last_rollout     TEXT,             -- of its last attempt, whose status and target are the host's
    last_update_at   INTEGER,
    lease_worker     TEXT,
    lease_machine    TEXT,             -- the machine that is being worked on, by the frozen plan
    lease_purpose    TEXT,
    lease_epoch      INTEGER NOT NULL, -- never falls
    added_at         INTEGER NOT NULL,
    removed_at       INTEGER,
    CHECK ((lease_worker IS NULL) = (lease_machine IS NULL) AND (lease_worker IS NULL) = (lease_purpose IS NULL)),
    CHECK (removed_at IS NULL OR lease_worker IS NULL)
) STRICT;
CREATE UNIQUE INDEX hosts_name ON hosts (name) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX hosts_repository ON hosts (machine, repo) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX hosts_busy_machine ON hosts (lease_machine) WHERE lease_worker IS NOT NULL;
CREATE INDEX hosts_leased ON hosts (lease_worker) WHERE lease_worker IS NOT NULL;
CREATE INDEX hosts_summary ON hosts (current_version, health, needs_attention) WHERE removed_at IS NULL;

CREATE TABLE rollouts (
    id          TEXT    NOT NULL PRIMARY KEY,
    number      INTEGER NOT NULL, -- order of creation, whatever the clocks said
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'halting', 'halted', 'aborting', 'aborted',
                                                  'completed', 'completed_with_failures')),
    target      TEXT,
    target_ref  TEXT    NOT NULL,
    policy      TEXT    NOT NULL, -- json
    source      TEXT,
    started_by  TEXT    NOT NULL,
    message     TEXT,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    stage       INTEGER NOT NULL,
    reason      TEXT,
    hosts       INTEGER NOT NULL,
    forced      INTEGER NOT NULL CHECK (forced IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX rollouts_number ON rollouts (number);
CREATE UNIQUE INDEX rollouts_one_active ON rollouts ((1)) WHERE state IN ('running', 'paused', 'halting', 'aborting');

-- Counters of one stage. What is not in one of them is pending.
CREATE TABLE stages (
    rollout     TEXT    NOT NULL REFERENCES rollouts (id),
    position    INTEGER NOT NULL,
    percent     INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    updating    INTEGER NOT NULL CHECK (updating >= 0),
    updated     INTEGER NOT NULL,
    unchanged   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    rolled_back INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,
    blamed      INTEGER NOT NULL, -- failed or rolled back, and the commit may be the cause
    PRIMARY KEY (rollout, position),
    CHECK (updating + updated + unchanged + failed + rolled_back + skipped <= size)
) STRICT, WITHOUT ROWID;

-- One host's part in one rollout. Small rows: this table is written at every step.
CREATE TABLE attempts (
    rollout          TEXT    NOT NULL REFERENCES rollouts (id),
    host             TEXT    NOT NULL REFERENCES hosts (id),
    position         INTEGER NOT NULL,
    stage            INTEGER NOT NULL,
    name             TEXT    NOT NULL,
    machine          TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    reason           TEXT,
    touched          INTEGER NOT NULL CHECK (touched IN (0, 1)),
    needs_attention  INTEGER NOT NULL CHECK (needs_attention IN (0, 1)),
    progress         TEXT    NOT NULL, -- json
    step             TEXT,
    step_since       INTEGER,
    step_deadline    INTEGER,
    message          TEXT,
    previous_version TEXT,             -- written once
    target_version   TEXT,
    from_version     TEXT,
    takeovers        INTEGER NOT NULL,
    steps            INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    PRIMARY KEY (rollout, host),
    UNIQUE (rollout, position)
) STRICT;
CREATE INDEX attempts_turn ON attempts (rollout, stage, status, position);

-- What the plan froze of each host.
CREATE TABLE attempt_specs (
    rollout TEXT NOT NULL,
    host    TEXT NOT NULL,
    spec    TEXT NOT NULL, -- json
    PRIMARY KEY (rollout, host),
    FOREIGN KEY (rollout, host) REFERENCES attempts (rollout, host)
) STRICT;

CREATE TABLE steps (
    rollout     TEXT    NOT NULL,
    position    INTEGER NOT NULL, -- of the attempt: neighbours are worked on together, which keeps writes together
    number      INTEGER NOT NULL,
    step        TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    duration_ms INTEGER,
    reason      TEXT,
    message     TEXT,
    output      TEXT, -- json
    PRIMARY KEY (rollout, position, number),
    FOREIGN KEY (rollout, position) REFERENCES attempts (rollout, position)
) STRICT;

-- The feed. History: it refers to nothing and nothing changes it.
CREATE TABLE events (
    seq          INTEGER NOT NULL PRIMARY KEY,
    at           INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    rollout      TEXT,
    stage        INTEGER,
    host         TEXT,
    step         TEXT,
    status       TEXT,
    reason       TEXT,
    message      TEXT,
    from_version TEXT,
    to_version   TEXT,
    duration_ms  INTEGER,
    actor        TEXT
) STRICT;
CREATE INDEX events_rollout ON events (rollout, seq) WHERE rollout IS NOT NULL;

CREATE TABLE workers (
    id          TEXT    NOT NULL PRIMARY KEY,
    label       TEXT    NOT NULL,
    serves      INTEGER NOT NULL CHECK (serves IN (0, 1)),
    process     TEXT,             -- json
    since       INTEGER NOT NULL,
    lease_era   TEXT    NOT NULL, -- boot id, or the database's clock
    lease_until INTEGER NOT NULL,
    gone_at     INTEGER           -- found dead before its lease ran out; final
) STRICT;

-- Which workers drive which rollout, beside those that serve every one.
CREATE TABLE drivers (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    worker  TEXT NOT NULL,
    PRIMARY KEY (rollout, worker)
) STRICT, WITHOUT ROWID;

CREATE TABLE slots (
    number INTEGER NOT NULL PRIMARY KEY,
    worker TEXT    NOT NULL,
    since  INTEGER NOT NULL
) STRICT;
CREATE INDEX slots_worker ON slots (worker);

-- Commits that halted a rollout by failing on hosts they touched.
CREATE TABLE bad_versions (
    version TEXT    NOT NULL PRIMARY KEY,
    rollout TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
