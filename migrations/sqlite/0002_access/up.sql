-- Who may come in, and who did what. Secrets are here as hashes only.

CREATE TABLE users (
    name            TEXT    NOT NULL PRIMARY KEY,
    role            TEXT    NOT NULL,
    password        TEXT,             -- Argon2id, PHC form; none: cannot sign in here
    created_at      INTEGER NOT NULL,
    last_sign_in_at INTEGER,
    disabled_at     INTEGER
) STRICT;

CREATE TABLE sessions (
    id           TEXT    NOT NULL PRIMARY KEY,
    secret       TEXT    NOT NULL, -- SHA-256 of what is in the cookie
    user_name    TEXT    NOT NULL REFERENCES users (name),
    source       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX sessions_secret ON sessions (secret);
CREATE INDEX sessions_user ON sessions (user_name);

CREATE TABLE tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    secret       TEXT    NOT NULL, -- SHA-256 of the token
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX tokens_secret ON tokens (secret);

-- The offer to become the first admin.
CREATE TABLE setup (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    secret     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Tries to sign in that went wrong, by account and source, and by source.
CREATE TABLE sign_in_failures (
    what     TEXT    NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT,
    result  TEXT    NOT NULL,
    detail  TEXT
) STRICT;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'rows of the audit trail are never changed'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'rows of the audit trail are never removed'); END;

-- Requests that were carried out, so that one that is repeated is not carried out again.
CREATE TABLE request_keys (
    request     TEXT    NOT NULL PRIMARY KEY,
    fingerprint TEXT    NOT NULL,
    rollout     TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
