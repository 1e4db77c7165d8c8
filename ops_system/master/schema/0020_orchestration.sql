-- Operations, packages, systems, modules, instances, their timelines, actions on whole systems.

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    reverted INTEGER NOT NULL DEFAULT 0,
    steps TEXT NOT NULL,             -- JSON
    error TEXT,                      -- JSON
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    created_by TEXT NOT NULL
) STRICT;
CREATE INDEX operations_by_time ON operations (created_ms);
CREATE INDEX operations_open ON operations (id) WHERE ended_ms IS NULL;

CREATE TABLE operation_targets (
    operation_id TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    name TEXT NOT NULL,
    node_id TEXT,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    bytes_done INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    reason TEXT,                     -- JSON
    PRIMARY KEY (operation_id, target_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX operation_targets_by_target ON operation_targets (target_id);

CREATE TABLE packages (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    version_key TEXT NOT NULL,       -- sorts as versions do
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    signature TEXT NOT NULL,
    manifest TEXT NOT NULL,          -- JSON
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE INDEX packages_by_sha256 ON packages (sha256);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE systems (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE modules (
    id TEXT PRIMARY KEY,
    system_id TEXT NOT NULL REFERENCES systems (id),
    name TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    start_order INTEGER NOT NULL,
    plan TEXT NOT NULL,              -- JSON: the rest of the definition
    created_ms INTEGER NOT NULL,
    UNIQUE (system_id, name)
) STRICT;
CREATE INDEX modules_by_package ON modules (package, version);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    system_id TEXT NOT NULL,
    module_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    name TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    desired TEXT NOT NULL,
    generation INTEGER NOT NULL,
    spec TEXT NOT NULL,              -- JSON: the whole wish
    observed TEXT,                   -- JSON: the last accepted report
    action TEXT,                     -- what is being waited for, with the operation that waits
    operation_id TEXT,
    action_ms INTEGER,
    created_ms INTEGER NOT NULL,
    UNIQUE (module_id, node_id)
) STRICT;
CREATE INDEX instances_by_node ON instances (node_id);
CREATE INDEX instances_by_system ON instances (system_id);
CREATE INDEX instances_by_package ON instances (package, version);

-- What was destroyed, with the last wish (absent): a worker that brings it back is told again.
CREATE TABLE instance_tombstones (
    id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    spec TEXT NOT NULL,
    removed_ms INTEGER NOT NULL
) STRICT;

-- A worker that lost its state folder counts its events from one again; `era` tells the two runs of numbers apart.
CREATE TABLE event_marks (
    node_id TEXT PRIMARY KEY,
    era INTEGER NOT NULL,
    last_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE instance_events (
    id INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL,
    era INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    event TEXT NOT NULL,             -- JSON
    UNIQUE (node_id, era, seq)
) STRICT;
CREATE INDEX instance_events_by_instance ON instance_events (instance_id, id);

CREATE TABLE rollouts (
    operation_id TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    system_id TEXT NOT NULL,
    action TEXT NOT NULL,
    waves TEXT NOT NULL              -- JSON: lists of instance ids
) STRICT;
