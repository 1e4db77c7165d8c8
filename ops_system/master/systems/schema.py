"""The JSON Schema of a system's document, made from its structs: `python -m ops_system.master.systems.schema FILE`.

`docs/system.schema.json` is its output; a test compares.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from ops_system.master.systems.document import SCHEMA_VERSION, SystemDocument
from ops_system.master.systems.rules import MAX_NAME, MAX_ORDER, MAX_REPLICAS
from ops_system.model.manifest_rules import ENV_KEY_PATTERN, MAX_PORT, PORT_NAME_PATTERN
from ops_system.model.packages import NAME_PATTERN
from ops_system.model.quantities import DURATION_PATTERN

Node = dict[str, Any]

_ENV: Node = {"propertyNames": {"pattern": ENV_KEY_PATTERN}}
_DURATION: Node = {"pattern": DURATION_PATTERN}
_FIELDS: dict[str, dict[str, Node]] = {
    "SystemDocument": {
        "schema": {"const": SCHEMA_VERSION, "description": "Version of this document's form."},
        "name": {
            "minLength": 1,
            "maxLength": MAX_NAME,
            "description": "Says which system; a new name makes a new one.",
        },
        "description": {"description": "For people."},
        "env": {**_ENV, "description": "Environment of every module; a module's own value wins."},
        "env_secrets": {"description": "Names of environment values that stand in the master alone."},
        "modules": {
            "propertyNames": {"pattern": NAME_PATTERN},
            "description": "Modules by name. One that is not here is removed, which wants it to have no instances.",
        },
    },
    "ModuleDocument": {
        "package": {"pattern": NAME_PATTERN, "description": "Name of a package of the catalogue."},
        "version": {"pattern": NAME_PATTERN, "description": "Its version; put it in quotes."},
        "start_order": {"minimum": -MAX_ORDER, "maximum": MAX_ORDER, "description": "Smaller starts earlier."},
        "depends_on": {"description": "Modules of this document that are healthy before this one starts."},
        "replicas": {
            "description": f"How many instances, at most {MAX_REPLICAS}; left out: one on every matching node."
        },
        "placement": {"description": "Where it may run."},
        "args": {"description": "In place of the package's; placeholders are expanded."},
        "env": {**_ENV, "description": "Over the package's and the system's."},
        "env_secrets": {"description": "Names of environment values that stand in the master alone."},
        "ports": {
            "propertyNames": {"pattern": PORT_NAME_PATTERN},
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_PORT},
            "description": "Over the package's; no two instances on one node share a port.",
        },
        "config_mounts": {"description": "Files put into the instance's folder."},
        "health": {"description": "Over the package's probe, key by key."},
        "restart": {"description": "Over the package's restart policy, key by key."},
    },
    "Placement": {
        "labels": {"description": "A node must carry all of these."},
        "spread_by": {"description": "A label key; replicas are spread evenly over its values."},
    },
    "ConfigMount": {
        "path": {"description": "Relative to the instance's folder."},
        "content": {"description": "The file; placeholders are expanded."},
        "mode": {"pattern": r"^0?[0-7]{3}$", "description": "Octal."},
        "template": {"description": "Name of a config template in place of content."},
        "template_version": {"description": "Its version; left out: the newest approved one."},
    },
    "HealthOverride": dict.fromkeys(("interval", "timeout", "start_timeout"), _DURATION),
    "RestartOverride": dict.fromkeys(("delay", "max_delay", "window"), _DURATION),
}


def json_schema() -> Node:
    """Return the schema (JSON Schema 2020-12) as plain JSON values."""
    _, parts = msgspec.json.schema_components([SystemDocument], ref_template="#/$defs/{name}")
    for struct, fields in _FIELDS.items():
        for name, extra in fields.items():
            parts[struct]["properties"][name].update(extra)
    document: Node = parts.pop("SystemDocument")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A system as a document",
        **{key: value for key, value in document.items() if key != "title"},
        "$defs": parts,
    }


def schema_text() -> str:
    """Return the schema as it stands in the file."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
