-- What an instance used before a rollout touched it: gates compare with it.

ALTER TABLE upgrade_targets ADD COLUMN baseline TEXT NOT NULL DEFAULT '{}';  -- JSON: mean of each series
