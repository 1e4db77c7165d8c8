import os
import sys
from pathlib import Path

import pytest

from ops_system.runtime.unpacked import hold

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="unpacks at every start there")


def build(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    (folder / "worker").write_text("")
    return folder


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch):
    def as_program(folder: Path):
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        monkeypatch.setattr(sys, "executable", str(folder / "worker"))
        return hold()

    return as_program


def test_a_start_removes_older_builds_that_nobody_runs(tmp_path: Path, start) -> None:
    running = build(tmp_path, "worker-1")
    other = build(tmp_path, "master-0")
    half, fresh_half = build(tmp_path, ".worker-3.17"), build(tmp_path, ".worker-4.18")
    os.utime(half, (0, 0))
    with start(running):
        old, new = build(tmp_path, "worker-0"), build(tmp_path, "worker-2")
        with start(new):
            assert [folder.exists() for folder in (old, running, new, other)] == [False, True, True, True]
            assert (half.exists(), fresh_half.exists()) == (False, True)
            with start(new):  # twice at once
                assert new.exists()
    with start(new):
        assert not running.exists()


def test_from_source_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "frozen", raising=False)
    assert hold() is None
