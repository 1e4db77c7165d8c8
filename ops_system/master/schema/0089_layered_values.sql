-- Values that go down from the whole master over a system and a module to an instance: environment, and variables of
-- config templates. The environment of modules stands with them.

CREATE TABLE layered_values (
    kind        TEXT NOT NULL,               -- env, var
    owner       TEXT NOT NULL,               -- global, or the id of a system, module or instance
    name        TEXT NOT NULL,
    value       TEXT,                        -- null: secret
    sealed      BLOB,                        -- the secret
    system_id   TEXT REFERENCES systems (id) ON DELETE CASCADE,
    module_id   TEXT REFERENCES modules (id) ON DELETE CASCADE,
    instance_id TEXT REFERENCES instances (id) ON DELETE CASCADE,
    PRIMARY KEY (kind, owner, name),
    CHECK ((value IS NULL) <> (sealed IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX layered_values_system ON layered_values (system_id) WHERE system_id IS NOT NULL;
CREATE INDEX layered_values_module ON layered_values (module_id) WHERE module_id IS NOT NULL;
CREATE INDEX layered_values_instance ON layered_values (instance_id) WHERE instance_id IS NOT NULL;
