-- The fleet, what happens to it, and who does the work.
-- Times are milliseconds: `_at` by the wall clock since 1970, `lease_until` and `gone_at` by the lease clock of their era.
-- The SQLite tree has the same names; a test compares them.

-- Which store this is. Its row is also the lock that slots are counted under.
CREATE TABLE meta (
    id         BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    store_id   TEXT    NOT NULL,
    created_at BIGINT NOT NULL
);

-- The number of the last event. Raised in the transaction that writes the events, so that numbers follow commits.
CREATE TABLE feed (
    id  BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
);
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
    needs_attention  BOOLEAN NOT NULL,
    health           TEXT    NOT NULL,
    last_rollout     TEXT,             -- of its last attempt, whose status and target are the host's
    last_update_at   BIGINT,
    lease_worker     TEXT,
    lease_machine    TEXT,             -- the machine that is being worked on, by the frozen plan
    lease_purpose    TEXT,
    lease_epoch      BIGINT NOT NULL, -- never falls
    added_at         BIGINT NOT NULL,
    removed_at       BIGINT,
    CHECK ((lease_worker IS NULL) = (lease_machine IS NULL) AND (lease_worker IS NULL) = (lease_purpose IS NULL)),
    CHECK (removed_at IS NULL OR lease_worker IS NULL)
);
CREATE UNIQUE INDEX hosts_name ON hosts (name) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX hosts_repository ON hosts (machine, repo) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX hosts_busy_machine ON hosts (lease_machine) WHERE lease_worker IS NOT NULL;
CREATE INDEX hosts_leased ON hosts (lease_worker) WHERE lease_worker IS NOT NULL;
CREATE INDEX hosts_summary ON hosts (current_version, health, needs_attention) WHERE removed_at IS NULL;

CREATE TABLE rollouts (
    id          TEXT    NOT NULL PRIMARY KEY,
    number      BIGINT NOT NULL, -- order of creation, whatever the clocks said
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'halting', 'halted', 'aborting', 'aborted',
                                                  'completed', 'completed_with_failures')),
    target      TEXT,
    target_ref  TEXT    NOT NULL,
    policy      TEXT    NOT NULL, -- json
    source      TEXT,
    started_by  TEXT    NOT NULL,
    message     TEXT,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT,
    stage       BIGINT NOT NULL,
    reason      TEXT,
    hosts       BIGINT NOT NULL,
    forced      BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX rollouts_number ON rollouts (number);
CREATE UNIQUE INDEX rollouts_one_active ON rollouts ((1)) WHERE state IN ('running', 'paused', 'halting', 'aborting');

-- Counters of one stage. What is not in one of them is pending.
CREATE TABLE stages (
    rollout     TEXT    NOT NULL REFERENCES rollouts (id),
    position    BIGINT NOT NULL,
    percent     BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    state       TEXT    NOT NULL,
    updating    BIGINT NOT NULL CHECK (updating >= 0),
    updated     BIGINT NOT NULL,
    unchanged   BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    rolled_back BIGINT NOT NULL,
    skipped     BIGINT NOT NULL,
    blamed      BIGINT NOT NULL, -- failed or rolled back, and the commit may be the cause
    PRIMARY KEY (rollout, position),
    CHECK (updating + updated + unchanged + failed + rolled_back + skipped <= size)
);

-- One host's part in one rollout. Small rows: this table is written at every step.
CREATE TABLE attempts (
    rollout          TEXT    NOT NULL REFERENCES rollouts (id),
    host             TEXT    NOT NULL REFERENCES hosts (id),
    position         BIGINT NOT NULL,
    stage            BIGINT NOT NULL,
    name             TEXT    NOT NULL,
    machine          TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    reason           TEXT,
    touched          BOOLEAN NOT NULL,
    needs_attention  BOOLEAN NOT NULL,
    progress         TEXT    NOT NULL, -- json
    step             TEXT,
    step_since       BIGINT,
    step_deadline    BIGINT,
    message          TEXT,
    previous_version TEXT,             -- written once
    target_version   TEXT,
    from_version     TEXT,
    takeovers        BIGINT NOT NULL,
    steps            BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    PRIMARY KEY (rollout, host),
    UNIQUE (rollout, position)
);
CREATE INDEX attempts_turn ON attempts (rollout, stage, status, position);

-- What the plan froze of each host.
CREATE TABLE attempt_specs (
    rollout TEXT NOT NULL,
    host    TEXT NOT NULL,
    spec    TEXT NOT NULL, -- json
    PRIMARY KEY (rollout, host),
    FOREIGN KEY (rollout, host) REFERENCES attempts (rollout, host)
);

CREATE TABLE steps (
    rollout     TEXT    NOT NULL,
    position    BIGINT NOT NULL, -- of the attempt: neighbours are worked on together, which keeps writes together
    number      BIGINT NOT NULL,
    step        TEXT    NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    duration_ms BIGINT,
    reason      TEXT,
    message     TEXT,
    output      TEXT, -- json
    PRIMARY KEY (rollout, position, number),
    FOREIGN KEY (rollout, position) REFERENCES attempts (rollout, position)
);

-- The feed. History: it refers to nothing and nothing changes it.
CREATE TABLE events (
    seq          BIGINT NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    kind         TEXT    NOT NULL,
    rollout      TEXT,
    stage        BIGINT,
    host         TEXT,
    step         TEXT,
    status       TEXT,
    reason       TEXT,
    message      TEXT,
    from_version TEXT,
    to_version   TEXT,
    duration_ms  BIGINT,
    actor        TEXT
);
CREATE INDEX events_rollout ON events (rollout, seq) WHERE rollout IS NOT NULL;

CREATE TABLE workers (
    id          TEXT    NOT NULL PRIMARY KEY,
    label       TEXT    NOT NULL,
    serves      BOOLEAN NOT NULL,
    process     TEXT,             -- json
    since       BIGINT NOT NULL,
    lease_era   TEXT    NOT NULL, -- boot id, or the database's clock
    lease_until BIGINT NOT NULL,
    gone_at     BIGINT           -- found dead before its lease ran out; final
);

-- Which workers drive which rollout, beside those that serve every one.
CREATE TABLE drivers (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    worker  TEXT NOT NULL,
    PRIMARY KEY (rollout, worker)
);

CREATE TABLE slots (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    worker TEXT    NOT NULL,
    since  BIGINT NOT NULL
);
CREATE INDEX slots_worker ON slots (worker);

-- Commits that halted a rollout by failing on hosts they touched.
CREATE TABLE bad_versions (
    version TEXT    NOT NULL PRIMARY KEY,
    rollout TEXT    NOT NULL,
    at      BIGINT NOT NULL
);

-- These are written at every step: room for the new row version on the same page.
ALTER TABLE attempts SET (fillfactor = 70);
ALTER TABLE hosts SET (fillfactor = 80);
ALTER TABLE stages SET (fillfactor = 50);
ALTER TABLE feed SET (fillfactor = 50);

-- The clock that leases go by: the database's own, the same for every process.
CREATE FUNCTION lease_clock_ms() RETURNS BIGINT LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT';
