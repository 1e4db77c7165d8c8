-- The scope of the person who began an action on a system: it is looked at again when each instance has its turn.

ALTER TABLE rollouts ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';  -- JSON object: node labels
