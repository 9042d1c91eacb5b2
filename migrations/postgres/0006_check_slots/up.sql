-- Connections of health checks are counted by themselves as well: beside a rollout few of them may be open.
ALTER TABLE slots ADD COLUMN of_check BOOLEAN NOT NULL DEFAULT FALSE;
