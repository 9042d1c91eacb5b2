-- Since when a host is in the health that it is in; null where that was seen before this was kept.
ALTER TABLE health_checks ADD COLUMN since INTEGER;
