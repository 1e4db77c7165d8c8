-- Draining a node stops its instances and keeps what was wished of them; the driver of actions on systems drives it, too.

ALTER TABLE instances ADD COLUMN is_drained INTEGER NOT NULL DEFAULT 0;  -- stopped for a drain; undrain starts it again
ALTER TABLE rollouts RENAME COLUMN system_id TO subject_id;              -- the system, or the node that is drained
