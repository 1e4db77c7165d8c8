-- Commands run on nodes, what each said, and commands that are kept for later.

CREATE TABLE command_runs (
    operation_id TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    command TEXT NOT NULL            -- JSON: argv, command, timeout_s, user
) STRICT;

CREATE TABLE command_results (
    operation_id TEXT NOT NULL REFERENCES command_runs (operation_id) ON DELETE CASCADE,
    node_id TEXT NOT NULL,
    outcome TEXT NOT NULL,           -- JSON: exit code, signal, time, whether cut
    stdout BLOB NOT NULL,            -- zlib
    stderr BLOB NOT NULL,            -- zlib
    PRIMARY KEY (operation_id, node_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE saved_commands (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    command TEXT NOT NULL,           -- JSON, as in command_runs
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
