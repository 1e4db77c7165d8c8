-- Who may do what, what was done, and what the master remembers about itself.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,       -- Argon2id, with its parameters
    is_disabled INTEGER NOT NULL DEFAULT 0,
    last_login_ms INTEGER,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,  -- SHA-256 of the cookie's value
    csrf_token TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    proven_ms INTEGER NOT NULL         -- when the password was last shown (step-up)
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    permissions TEXT NOT NULL,         -- JSON list: the fixed grants
    scope TEXT NOT NULL,               -- JSON object: node labels
    idc TEXT,
    expires_ms INTEGER,
    last_used_ms INTEGER,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    uses_left INTEGER NOT NULL,
    labels TEXT NOT NULL,              -- JSON object given to the node
    expires_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    details TEXT NOT NULL,             -- JSON object with sorted keys
    hash BLOB NOT NULL                 -- SHA-256(previous row's hash, this row in canonical form)
) STRICT;
CREATE INDEX audit_by_action ON audit (action, seq);
CREATE INDEX audit_by_actor ON audit (actor_name, seq);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;

CREATE TABLE idempotency (
    principal_id TEXT NOT NULL,
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status INTEGER NOT NULL,           -- 0: under way, or the master died in between
    body BLOB NOT NULL,                -- sealed with the master key
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (principal_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (created_ms);
