-- A host's own history, and an owner's instances, without a walk through everything.
CREATE INDEX attempts_host ON attempts (host);
CREATE INDEX hosts_owner ON hosts (owner) WHERE removed_at IS NULL;
