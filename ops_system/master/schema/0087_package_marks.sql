-- What people write on a version of a package: tags, a note, and that it stays.

ALTER TABLE packages ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';         -- JSON
ALTER TABLE packages ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE packages ADD COLUMN is_pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE packages ADD COLUMN marked_ms INTEGER;
ALTER TABLE packages ADD COLUMN marked_by TEXT NOT NULL DEFAULT '';
