-- Hosts that a worker leaves to others, because it cannot load their credential, as json; null when there are none.
ALTER TABLE drivers ADD COLUMN left_to_others TEXT;
