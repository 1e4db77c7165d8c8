-- Terminals: what sessions said (the files lie in DATA/recordings), and who may look at which by a link.

CREATE TABLE terminal_recordings (
    id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    session TEXT NOT NULL,
    owner_id TEXT NOT NULL,          -- who began the session: a user's or an API token's id
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,                -- NULL: it goes on, or the master was stopped meanwhile
    size_bytes INTEGER NOT NULL,
    started_by TEXT NOT NULL,
    node_name TEXT NOT NULL,
    name TEXT NOT NULL,
    details TEXT NOT NULL            -- JSON: all that lists show
) STRICT;

CREATE INDEX terminal_recordings_by_session ON terminal_recordings (session);

CREATE TABLE terminal_shares (
    id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
