-- The person that a token goes back to, over the tokens that it was made with: it ends with them.
ALTER TABLE tokens ADD COLUMN login TEXT;

CREATE INDEX sessions_last_used ON sessions (last_used_at);
CREATE INDEX sign_in_failures_last ON sign_in_failures (last_at);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);
