-- Which versions of packages are kept. No row: all of them.

CREATE TABLE package_retention (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    keep_versions INTEGER,                   -- so many of each name; null: their number does not count
    keep_days     INTEGER,                   -- and those younger; null: their age does not count
    is_daily      INTEGER NOT NULL,
    changed_ms    INTEGER NOT NULL,
    changed_by    TEXT NOT NULL,
    ran_ms        INTEGER                    -- when it was last begun
) STRICT;

-- Bytes that no package names any more and that are still to be removed from the store.
CREATE TABLE blobs_to_free (
    sha256 TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
