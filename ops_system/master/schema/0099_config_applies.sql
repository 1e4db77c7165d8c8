-- In which waves, and how many at a time, an operation `config.apply` brings configuration to instances.
CREATE TABLE config_applies (
    operation_id TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    max_parallel INTEGER NOT NULL,
    waves TEXT NOT NULL              -- JSON: lists of instance ids
) STRICT;
