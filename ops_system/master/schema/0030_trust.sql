-- What a user may do beyond the role, and on which nodes; the second factor.

ALTER TABLE users ADD COLUMN grants TEXT NOT NULL DEFAULT '[]';  -- JSON list of separate permissions
ALTER TABLE users ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';   -- JSON object: node labels; empty: every node

CREATE TABLE second_factors (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret BLOB NOT NULL,              -- sealed with the master key
    is_confirmed INTEGER NOT NULL DEFAULT 0,
    last_step INTEGER NOT NULL DEFAULT 0,  -- the newest time step that was used: none is good twice
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES second_factors (user_id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;
