-- Where notices go, what was noticed lately, and what is or was being delivered.

CREATE TABLE channels (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    language TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    events TEXT NOT NULL,              -- JSON: the kinds of events it wants
    email TEXT,                        -- JSON: server and addresses, without the password
    target TEXT NOT NULL,              -- for people: where it leads, without tokens
    has_secret INTEGER NOT NULL,
    secrets BLOB NOT NULL,             -- sealed JSON: url, secret, password
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

-- The outbox, and for a while the log. A row is written before the first attempt, so that a restart loses none.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    channel_id TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    bundle TEXT NOT NULL,              -- JSON: what it tells
    state TEXT NOT NULL,               -- pending, sent, failed
    attempts INTEGER NOT NULL,
    due_ms INTEGER,                    -- of the next attempt; NULL: ended
    error TEXT,                        -- JSON: why the last attempt failed
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE INDEX deliveries_by_channel ON deliveries (channel_id, id);
CREATE INDEX deliveries_due ON deliveries (channel_id, due_ms) WHERE due_ms IS NOT NULL;

-- When the same was last told of the same object: what flaps is not told again at once.
CREATE TABLE notice_marks (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    told_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_marks_by_time ON notice_marks (told_ms);
