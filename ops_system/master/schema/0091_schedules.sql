-- What runs by the clock, what became of each run, and how backups are made.

CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,                -- JSON: cron, time zone, what to do
    owner TEXT NOT NULL,               -- JSON: in whose name it runs
    is_paused INTEGER NOT NULL DEFAULT 0,
    next_ms INTEGER,                   -- when it is due; NULL: to be counted from now
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE schedule_runs (
    id INTEGER PRIMARY KEY,
    schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_ms INTEGER NOT NULL,           -- the moment it stands for
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    trigger TEXT NOT NULL,             -- clock, missed, person
    outcome TEXT NOT NULL,             -- running, succeeded, failed, cancelled, skipped
    operations TEXT NOT NULL,          -- JSON: the ids of what it began
    reason TEXT                        -- JSON
) STRICT;
CREATE INDEX schedule_runs_by_schedule ON schedule_runs (schedule_id, id);
CREATE INDEX schedule_runs_open ON schedule_runs (id) WHERE ended_ms IS NULL;

-- What the last look at a backup found; what it holds, for one that is sealed.
CREATE TABLE backup_looks (
    name TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    looked_ms INTEGER NOT NULL,
    problem TEXT NOT NULL,
    contents TEXT                      -- JSON
) STRICT;
