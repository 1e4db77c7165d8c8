"""The JSON Schema of service.json, made from the structs and the rules' own constants, for editors and other tools.

`docs/service.schema.json` is its output (`python -m ops_system.packtool.schema`).
"""

from typing import Any

import msgspec

from ops_system.model.manifest import Manifest
from ops_system.model.manifest_rules import (
    ENV_KEY_PATTERN,
    LEAST_NICE,
    MAX_EXIT_CODE,
    MAX_PORT,
    MAX_TEXT_CHARS,
    MOST_NICE,
    PORT_NAME_PATTERN,
    SCHEMA_VERSION,
    SIGNALS,
    UMASK_PATTERN,
    USER_PATTERN,
)
from ops_system.model.packages import NAME_PATTERN
from ops_system.model.quantities import DURATION_PATTERN, SIZE_PATTERN

Node = dict[str, Any]

_DURATION: Node = {"pattern": DURATION_PATTERN}

_FIELDS: dict[str, dict[str, Node]] = {
    "Manifest": {
        "schema": {"const": SCHEMA_VERSION, "description": "Version of this document's form."},
        "name": {"pattern": NAME_PATTERN, "description": "Name of the package."},
        "version": {"pattern": NAME_PATTERN, "description": "A version is immutable once uploaded."},
        "description": {"maxLength": MAX_TEXT_CHARS, "description": "For people."},
        "os": {"description": "System the package runs on."},
        "arch": {"description": "Processor the package runs on."},
        "entrypoint": {"description": "File to start, relative to the package's root."},
        "args": {"description": "Arguments; placeholders are expanded."},
        "env": {
            "propertyNames": {"pattern": ENV_KEY_PATTERN},
            "description": "Environment; placeholders are expanded.",
        },
        "stop_entrypoint": {"description": "File to start in place of the stop signal."},
        "stop_args": {"description": "Arguments of stop_entrypoint; placeholders are expanded."},
        "log_paths": {"description": "Log files by the name shown in the console, relative to the instance's folder."},
        "ports": {
            "propertyNames": {"pattern": PORT_NAME_PATTERN},
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_PORT},
            "description": "Ports the service listens on, by name; ${port.NAME} is the number.",
        },
        "health": {"description": "The probe that proves a start and watches the service."},
        "restart": {"description": "When an ended process comes back."},
        "stop": {"description": "How the service is asked to end."},
        "limits": {"description": "Upper bounds; what is left out is unlimited."},
        "user": {"anyOf": [{"const": ""}, {"pattern": USER_PATTERN}], "description": "Empty: the worker's user."},
        "hooks": {"description": "Commands around a start and a stop."},
        "is_external": {"description": "The process exists already and is taken over, not started."},
        "external_work_dir": {"description": "Absolute working directory of an external service."},
        "pid_strategy": {"description": "How the process is found."},
        "process_name": {"description": 'Name to look for with pid_strategy "match".'},
        "pid_file": {"description": 'File with the number of the process, with pid_strategy "pidfile".'},
    },
    "Health": {
        "type": {"description": "What is probed."},
        "target": {"description": "URL, HOST:PORT or command line, by type; placeholders are expanded."},
        "interval": {**_DURATION, "description": "Time between two probes."},
        "timeout": {**_DURATION, "description": "A probe that takes longer has failed."},
        "failures": {"minimum": 1, "maximum": 1000, "description": "Failures in a row that make it unhealthy."},
        "start_timeout": {**_DURATION, "description": "Time to become healthy after a start."},
    },
    "Restart": {
        "policy": {"description": "on-failure: after an exit code that is not among success_codes."},
        "delay": {**_DURATION, "description": "Wait before the first restart; it doubles each time."},
        "max_delay": {**_DURATION, "description": "Longest wait."},
        "max_restarts": {"minimum": 0, "description": "Restarts within window before the service counts as failed."},
        "window": {**_DURATION, "description": "See max_restarts."},
        "success_codes": {
            "items": {"type": "integer", "minimum": 0, "maximum": MAX_EXIT_CODE},
            "description": "Exit codes that mean a clean end.",
        },
    },
    "Stop": {
        "signal": {"enum": list(SIGNALS), "description": "Signal sent first."},
        "timeout": {**_DURATION, "description": "Grace before the whole tree of processes is killed."},
    },
    "Limits": {
        "memory": {"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "null"}], "description": "A size."},
        "cpu_percent": {"description": "100 is one whole core."},
        "pids": {"description": "Number of processes and threads."},
        "nofile": {"description": "Number of open files."},
        "nice": {"description": f"Priority, from {LEAST_NICE} (first) to {MOST_NICE} (last)."},
        "umask": {
            "anyOf": [{"type": "string", "pattern": UMASK_PATTERN}, {"type": "null"}],
            "description": "Rights that new files do not get, octal.",
        },
        "no_new_privs": {"description": "No set-user-id program gives more rights. null: where user is another one."},
    },
    "Hooks": {
        "pre_start": {"description": "Command as a list, run in the instance's folder before each start."},
        "post_stop": {"description": "Command as a list, run after each stop."},
        "reload": {"description": "The command that makes a running service read its configuration again."},
    },
}

_ENTRYPOINT_RULE: Node = {
    "if": {"properties": {"is_external": {"const": True}}, "required": ["is_external"]},
    "else": {"required": ["entrypoint"], "properties": {"entrypoint": {"minLength": 1}}},
}


def json_schema() -> Node:
    """Return the schema (JSON Schema 2020-12) as plain JSON values."""
    _, parts = msgspec.json.schema_components([Manifest], ref_template="#/$defs/{name}")
    for struct, fields in _FIELDS.items():
        for name, extra in fields.items():
            parts[struct]["properties"][name].update(extra)
    manifest: Node = parts.pop("Manifest")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "service.json",
        **{key: value for key, value in manifest.items() if key != "title"},
        **_ENTRYPOINT_RULE,
        "$defs": parts,
    }
    plain: Node = msgspec.json.decode(msgspec.json.encode(document))
    return plain
