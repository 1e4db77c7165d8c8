-- What happened to a node: heard or not, links, duty, identity, updates. Bounded per node by the program.

CREATE TABLE node_events (
    id INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    status TEXT,                     -- with kind status: the status from then on
    reason TEXT,                     -- JSON
    actor TEXT NOT NULL
) STRICT;
CREATE INDEX node_events_by_node ON node_events (node_id, id);
