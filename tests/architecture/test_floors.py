"""The floors hold: what import-linter checks, and what it cannot see."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "ops_system").rglob("*.py"))


def test_import_contracts_hold():
    result = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("aiosqlite", {"storage/connection.py"}),
        ("minio", {"storage/blobs/minio.py"}),
        ("ptyprocess", {"processes/pty_posix.py"}),
        ("winpty", {"processes/pty_windows.py"}),
        ("jinja2", {"provision/templates.py", "provision/filters.py"}),
        ("zstandard", {"master/images/streams.py"}),
    ],
)
def test_a_library_has_one_home(library, homes):
    importing = {str(path.relative_to(ROOT / "ops_system")) for path in SOURCES if library in imported_modules(path)}
    assert importing <= homes


def test_psutil_stays_in_its_three_homes():
    allowed = ("processes/", "worker/metrics/", "worker/fingerprint/", "installer/inventory/")
    importing = [str(path.relative_to(ROOT / "ops_system")) for path in SOURCES if "psutil" in imported_modules(path)]
    assert [name for name in importing if not name.startswith(allowed)] == []


def test_no_words_that_hide_missing_design():
    banned = {"utils", "common", "helpers", "managers"}
    assert [path for path in SOURCES if banned & set(path.relative_to(ROOT).with_suffix("").parts)] == []


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names
