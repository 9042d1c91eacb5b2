-- What the health checker saw, and how often it restarted a service lately.

CREATE TABLE health_checks (
    host       TEXT    NOT NULL PRIMARY KEY REFERENCES hosts (id),
    next_at    BIGINT NOT NULL, -- whose turn it is; moved on by whoever takes the turn
    checked_at BIGINT,
    message    TEXT
);
CREATE INDEX health_checks_next ON health_checks (next_at);

-- One row a restart; the epoch tells them apart, for a lease restarts once at most.
CREATE TABLE health_restarts (
    host  TEXT    NOT NULL REFERENCES hosts (id),
    epoch BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    PRIMARY KEY (host, epoch)
);
