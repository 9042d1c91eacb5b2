-- Connections of health checks are counted by themselves as well: beside a rollout few of them may be open.
ALTER TABLE slots ADD COLUMN of_check INTEGER NOT NULL DEFAULT 0 CHECK (of_check IN (0, 1));
