"""What goes into the Wine lane is chosen by Windows' markers and keeps its hashes."""

import importlib
import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RUNTIME = """\
uvloop==1.0 ; sys_platform != 'win32' \\
    --hash=sha256:aa
winloop==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via ops-system
"""
DEVELOPMENT = """\
ruff==3.0 \\
    --hash=sha256:dd
pytest==4.0 \\
    --hash=sha256:ee
"""


@pytest.fixture
def wine(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    return importlib.import_module("wine")


def test_only_what_windows_needs_is_taken_with_all_its_hashes(wine):
    assert wine.for_windows(RUNTIME, DEVELOPMENT).replace(" \\\n    --hash=sha256:", " ").splitlines() == [
        "winloop==2.0 bb cc",
        "pytest==4.0 ee",
    ]


def test_every_locked_package_of_the_lane_has_hashes(wine):
    chosen = list(wine.locked(wine.for_windows(*(lock.read_text() for lock in wine.LOCKS))))
    assert {"aiohttp", "winloop", "pywinpty", "pyinstaller"} <= {line.partition("==")[0] for line, _ in chosen}
    assert all("--hash=sha256:" in hashes for _, hashes in chosen)


def test_a_path_reads_as_on_drive_z(wine):
    assert wine.as_windows(Path("/a/b c")) == "Z:\\a\\b c"


def test_the_forwarder_names_itself_its_export_and_its_target(wine):
    data = wine.make_forwarder("x.dll", "Give", "other.Take")
    at = struct.unpack_from("<I", data, 0x3C)[0]
    assert data[:2] == b"MZ"
    assert data[at : at + 4] == b"PE\0\0"
    assert len(data) == 0x400
    assert b"x.dll\0Give\0other.Take\0" in data[0x200:]


def test_python_runs_through_wine(wine):
    assert wine.python_argv("-V")[0] == "wine"
    assert sys.executable not in wine.python_argv("-V")
