-- Rollouts of module versions: canary, waves, gates, and the way back.

ALTER TABLE operations ADD COLUMN is_paused INTEGER NOT NULL DEFAULT 0;  -- nothing new begins

CREATE TABLE upgrades (
    operation_id  TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    module_id     TEXT NOT NULL,
    system_id     TEXT NOT NULL,
    from_version  TEXT NOT NULL,             -- what the module planned before
    to_version    TEXT NOT NULL,
    strategy      TEXT NOT NULL,             -- JSON
    note          TEXT NOT NULL,             -- why, in the words of who began it
    scope         TEXT NOT NULL,             -- JSON: labels that limit who began it
    failure       TEXT,                      -- JSON: why it goes back or stands still
    bake_until_ms INTEGER                    -- how long the present wave is still watched
) STRICT;
CREATE INDEX upgrades_module ON upgrades (module_id);

CREATE TABLE upgrade_targets (
    operation_id TEXT NOT NULL REFERENCES upgrades (operation_id) ON DELETE CASCADE,
    instance_id  TEXT NOT NULL,
    node_id      TEXT NOT NULL,
    wave         INTEGER NOT NULL,
    phase        TEXT NOT NULL,
    before       TEXT NOT NULL,              -- JSON: the definition to go back to
    is_touched   INTEGER NOT NULL DEFAULT 0, -- it was told the new version
    pid          INTEGER,                    -- of the process that was proven
    reason       TEXT,                       -- JSON: why it failed
    PRIMARY KEY (operation_id, instance_id)
) STRICT, WITHOUT ROWID;
