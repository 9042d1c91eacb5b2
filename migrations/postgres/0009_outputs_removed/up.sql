-- What steps printed is kept for a while only. It is removed host by host, in the order of the plan.

-- When all that was printed in the rollout was removed; null while any of it may be there.
ALTER TABLE rollouts ADD COLUMN outputs_removed_at BIGINT;

-- The position of the last attempt that is done with while that is under way; null before.
ALTER TABLE rollouts ADD COLUMN outputs_removed_to BIGINT;

-- Those that it is still to be done for, by their age.
CREATE INDEX rollouts_outputs ON rollouts (finished_at) WHERE outputs_removed_at IS NULL;
