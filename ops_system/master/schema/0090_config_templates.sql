-- Config templates: each change is a version that stays; instances get the newest approved one unless they name another.

CREATE TABLE config_templates (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    format      TEXT NOT NULL,               -- yaml, json, toml, properties, ini, text
    description TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    created_by  TEXT NOT NULL
) STRICT;

CREATE TABLE config_template_versions (
    template_id TEXT NOT NULL REFERENCES config_templates (id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    content     TEXT NOT NULL,
    note        TEXT NOT NULL,               -- why, in the words of who wrote it
    created_ms  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    approved_ms INTEGER,                     -- null: a draft
    approved_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (template_id, version)
) STRICT, WITHOUT ROWID;
