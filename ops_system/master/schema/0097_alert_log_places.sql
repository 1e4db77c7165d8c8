-- How far each log was looked through for each rule on log lines.
CREATE TABLE alert_log_places (
    rule_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    offset INTEGER NOT NULL,           -- bytes: every line before it is counted, and so long ago that it counts no more
    PRIMARY KEY (rule_id, instance_id)
) STRICT, WITHOUT ROWID;
