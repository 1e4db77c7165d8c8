"""The examples of docs/spec_service_json.md are read by the code, and its table names every key."""

import re
from pathlib import Path

import msgspec
import pytest

from ops_system.model.manifest import Manifest
from ops_system.model.manifest_rules import SIGNALS, find_warnings, parse_manifest
from ops_system.model.manifest_schema import json_schema

PAGE = (Path(__file__).parents[3] / "docs" / "spec_service_json.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_has_no_problem(text):
    assert find_warnings(parse_manifest(text.encode())) == []


def test_the_large_example_shows_each_part():
    shown = msgspec.json.decode(EXAMPLES[1])
    external = {"is_external", "external_work_dir", "pid_strategy", "process_name", "pid_file"}
    assert set(shown) == {field.name for field in msgspec.structs.fields(Manifest)} - external


def test_every_key_is_explained():
    schema = json_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    assert [key for key in sorted(keys) if f"`{key}`" not in PAGE and f"### {key}" not in PAGE] == []
    assert " ".join(SIGNALS) in PAGE
