import stat
from pathlib import Path

import pytest

from ops_system.runtime.files import remove_durably, write_atomic


def test_the_new_content_replaces_the_old_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")
    write_atomic(target, b"new", 0o644)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.mkdir()
    (target / "kept").touch()
    with pytest.raises(OSError, match=r"state\.json"):
        write_atomic(target, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert (target / "kept").exists()


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_durably(tmp_path / "absent")
