-- Who may come in, and who did what. Secrets are here as hashes only.

CREATE TABLE users (
    name            TEXT    NOT NULL PRIMARY KEY,
    role            TEXT    NOT NULL,
    password        TEXT,             -- Argon2id, PHC form; none: cannot sign in here
    created_at      BIGINT NOT NULL,
    last_sign_in_at BIGINT,
    disabled_at     BIGINT
);

CREATE TABLE sessions (
    id           TEXT    NOT NULL PRIMARY KEY,
    secret       TEXT    NOT NULL, -- SHA-256 of what is in the cookie
    user_name    TEXT    NOT NULL REFERENCES users (name),
    source       TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX sessions_secret ON sessions (secret);
CREATE INDEX sessions_user ON sessions (user_name);

CREATE TABLE tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    secret       TEXT    NOT NULL, -- SHA-256 of the token
    created_by   TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE UNIQUE INDEX tokens_secret ON tokens (secret);

-- The offer to become the first admin.
CREATE TABLE setup (
    id         BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    secret     TEXT    NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Tries to sign in that went wrong, by account and source, and by source.
CREATE TABLE sign_in_failures (
    what     TEXT    NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at  BIGINT NOT NULL
);

CREATE TABLE audit (
    id      BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT,
    result  TEXT    NOT NULL,
    detail  TEXT
);
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of the audit trail are never changed or removed'; END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_is_kept BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();

-- Requests that were carried out, so that one that is repeated is not carried out again.
CREATE TABLE request_keys (
    request     TEXT    NOT NULL PRIMARY KEY,
    fingerprint TEXT    NOT NULL,
    rollout     TEXT    NOT NULL,
    at          BIGINT NOT NULL
);
