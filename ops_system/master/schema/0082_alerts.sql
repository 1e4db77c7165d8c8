-- Rules, the alerts they raised with their history, and silences.

CREATE TABLE alert_rules (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    builtin TEXT NOT NULL,             -- which of the shipped rules it is; empty: made by people
    body TEXT NOT NULL,                -- JSON: the rule as people write it
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

-- A row is made when a rule begins to hold, and goes when it does not come to fire.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    rule_id TEXT NOT NULL,             -- stays when the rule is deleted
    subject TEXT NOT NULL,
    node_id TEXT NOT NULL,             -- empty: of no node
    severity TEXT NOT NULL,
    state TEXT NOT NULL,               -- pending, firing, no_data, resolved
    view TEXT NOT NULL,                -- JSON: the alert as last shown
    track TEXT NOT NULL,               -- JSON: timers, for the next start
    started_ms INTEGER NOT NULL,
    resolved_ms INTEGER
) STRICT;
CREATE INDEX alerts_by_time ON alerts (started_ms);
CREATE INDEX alerts_resolved ON alerts (resolved_ms) WHERE resolved_ms IS NOT NULL;
CREATE UNIQUE INDEX alerts_open ON alerts (rule_id, subject) WHERE resolved_ms IS NULL;

CREATE TABLE alert_transitions (
    id INTEGER PRIMARY KEY,
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value REAL,
    actor TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;
CREATE INDEX alert_transitions_by_alert ON alert_transitions (alert_id, id);

CREATE TABLE silences (
    id TEXT PRIMARY KEY,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    matchers TEXT NOT NULL,            -- JSON
    starts_ms INTEGER NOT NULL,
    ends_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX silences_by_end ON silences (ends_ms);

-- When rules were last looked at: the time the master was away counts for no timer.
CREATE TABLE alert_beat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms INTEGER NOT NULL
) STRICT;

-- Channels that wanted everything want alerts of rules, too.
UPDATE channels SET events = json_insert(events, '$[#]', 'alert')
    WHERE json_array_length(events) >= 3 AND NOT EXISTS (SELECT 1 FROM json_each(channels.events) WHERE value = 'alert');
