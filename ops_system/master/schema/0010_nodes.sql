-- Nodes: who may link, what each machine is, and when it was last heard.

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    public_key BLOB UNIQUE,            -- raw Ed25519; NULL: planned, or a quarantined clone
    join_token_id TEXT NOT NULL DEFAULT '',
    clone_of TEXT NOT NULL DEFAULT '', -- the node whose identity a quarantined machine showed
    is_paused INTEGER NOT NULL DEFAULT 0,
    is_draining INTEGER NOT NULL DEFAULT 0,
    is_revoked INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL,              -- JSON object
    fingerprint TEXT,                  -- JSON; NULL: never seen
    worker_version TEXT NOT NULL DEFAULT '',
    address TEXT NOT NULL DEFAULT '',  -- where its last link came from
    connection_epoch INTEGER NOT NULL DEFAULT 0,
    last_seen_ms INTEGER,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
