"""Writes `docs/service.schema.json`: `python -m ops_system.packtool.schema docs/service.schema.json`."""

import sys
from pathlib import Path

import msgspec

from ops_system.model.manifest_schema import json_schema


def schema_text() -> str:
    """Return the schema as it stands in the file."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
