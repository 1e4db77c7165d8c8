-- Whose packages are taken, and who signed the ones that are here.

CREATE TABLE publisher_keys (
    id TEXT PRIMARY KEY,               -- SHA-256 (hex) of the raw key
    name TEXT NOT NULL UNIQUE,
    public_key TEXT NOT NULL,          -- base64 of the raw Ed25519 key
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

ALTER TABLE packages ADD COLUMN publisher TEXT;  -- JSON: key id, key, signature; NULL: not signed by a publisher
