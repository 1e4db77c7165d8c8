"""What `pack-tool init` writes: a package that validates, builds and runs as it is."""

import re
from pathlib import Path

import msgspec

from ops_system.model.errors import NotAllowed
from ops_system.model.manifest_rules import FILE_NAME
from ops_system.packtool.ignore import FILE_NAME as IGNORE_FILE
from ops_system.packtool.words import Words

_SCRIPT = """#!/bin/sh
# Replace this by your program. It runs in its own folder; what it writes there survives upgrades.
trap 'echo stopping; exit 0' TERM INT
echo "started on port $1"
while :; do
    sleep 1 &
    wait $!
done
"""

_IGNORE = """# Files that stay out of the package; patterns as in .gitignore.
*.log
*.tmp
/logs/
"""


def write_starter(folder: Path, words: Words) -> list[str]:
    """Write the starter files into `folder`, made if needed; return their names. Raises NotAllowed over old ones."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._")[:64] or "service"
    manifest = {
        "schema": 1,
        "name": name,
        "version": "0.1.0",
        "description": "",
        "os": "any",
        "arch": "any",
        "entrypoint": "run.sh",
        "args": ["${port.main}"],
        "env": {},
        "ports": {"main": 8000},
        "health": {"type": "process", "interval": "10s", "timeout": "3s", "failures": 3, "start_timeout": "60s"},
        "restart": {"policy": "on-failure", "max_restarts": 5, "window": "10m"},
        "stop": {"signal": "SIGTERM", "timeout": "10s"},
    }
    files = {
        FILE_NAME: msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n",
        "run.sh": _SCRIPT,
        IGNORE_FILE: _IGNORE,
    }
    for file in files:
        if (folder / file).exists():
            raise NotAllowed(words.say("init.exists", path=folder / file))
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
    (folder / "run.sh").chmod(0o755)
    return list(files)
