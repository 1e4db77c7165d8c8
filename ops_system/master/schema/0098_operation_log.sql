-- What happened to an operation and its targets, line by line; the newest of each (rules.LOG_LINES).
CREATE TABLE operation_log (
    operation_id TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    target_id TEXT NOT NULL,         -- empty: the operation itself
    target_name TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT,                     -- JSON
    PRIMARY KEY (operation_id, seq)
) STRICT, WITHOUT ROWID;
