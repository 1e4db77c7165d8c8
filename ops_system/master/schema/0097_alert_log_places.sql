-- How far each log was looked through for each rule on log lines, and what that found lately.
CREATE TABLE alert_log_places (
    rule_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    offset INTEGER NOT NULL,           -- bytes: every line before it was looked at
    hits TEXT NOT NULL,                -- JSON: [[Unix seconds, lines], …], oldest first
    PRIMARY KEY (rule_id, instance_id)
) STRICT, WITHOUT ROWID;
