import os
import shutil
import sys

import pytest

from ops_system.processes import boot_notes
from ops_system.processes.boot_notes import discard, memory_parents, open_run_dir, place_name, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps notes in memory")


@pytest.fixture
def memory(tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    return folder


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "state"


def places(memory):
    return sorted(path.name for path in memory.iterdir())


def test_notes_go_into_memory_and_are_found_there_again(state_dir, memory):
    assert open_run_dir(state_dir, (memory,), is_in_use=False)
    (state_dir / "run/note").write_text("kept")
    assert open_run_dir(state_dir, (memory,), is_in_use=False)
    assert (memory / place_name(state_dir) / "note").read_text() == "kept"
    assert (state_dir / "run").stat().st_mode & 0o777 == 0o700


def test_without_memory_they_stay_in_a_plain_folder(state_dir):
    assert not open_run_dir(state_dir, (), is_in_use=False)
    assert (state_dir / "run").is_dir()
    assert not (state_dir / "run").is_symlink()


def test_after_a_boot_the_place_is_made_anew(state_dir, memory):
    open_run_dir(state_dir, (memory,), is_in_use=False)
    shutil.rmtree(memory / place_name(state_dir))
    assert open_run_dir(state_dir, (memory,), is_in_use=False)
    assert (state_dir / "run").is_dir()


def test_memory_that_is_not_there_any_more_is_replaced_by_a_plain_folder(state_dir, memory):
    open_run_dir(state_dir, (memory,), is_in_use=False)
    assert not open_run_dir(state_dir, (), is_in_use=False)
    (state_dir / "run/note").write_text("on the disk")
    assert places(memory) == [place_name(state_dir)]


def test_a_folder_with_notes_of_this_boot_stays_and_one_of_another_boot_goes(state_dir, memory):
    open_run_dir(state_dir, (), is_in_use=False)
    (state_dir / "run/note").touch()
    assert not open_run_dir(state_dir, (memory,), is_in_use=True)
    assert (state_dir / "run/note").exists()
    assert open_run_dir(state_dir, (memory,), is_in_use=False)
    assert not (state_dir / "run/note").exists()


def test_a_lost_state_folder_loses_its_notes_too(state_dir, memory):
    open_run_dir(state_dir, (memory,), is_in_use=False)
    (state_dir / "run/note").touch()
    (state_dir / "run").unlink()
    assert open_run_dir(state_dir, (memory,), is_in_use=False)
    assert not (state_dir / "run/note").exists()


def test_a_copied_state_folder_gets_a_place_of_its_own(state_dir, memory, tmp_path):
    open_run_dir(state_dir, (memory,), is_in_use=False)
    (state_dir / "run/note").touch()
    copy = tmp_path / "copy"
    shutil.copytree(state_dir, copy, symlinks=True)
    assert open_run_dir(copy, (memory,), is_in_use=False)
    assert not (copy / "run/note").exists()
    assert (state_dir / "run/note").exists()


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_a_place_that_others_may_have_made_is_not_taken(state_dir, memory, tmp_path, kind):
    state_dir.mkdir()
    place = memory / place_name(state_dir)
    if kind == "a link":
        place.symlink_to(tmp_path)
    else:
        place.mkdir(mode=0o755)
    assert not open_run_dir(state_dir, (memory,), is_in_use=False)
    assert not (state_dir / "run").is_symlink()
    assert place.exists()


def test_little_room_is_left_to_others(state_dir, memory, monkeypatch):
    monkeypatch.setattr(boot_notes, "MIN_FREE_BYTES", 1 << 62)
    assert not open_run_dir(state_dir, (memory,), is_in_use=False)
    assert places(memory) == []


def test_the_place_of_a_state_folder_that_is_gone_is_swept_and_no_other(state_dir, memory, tmp_path):
    open_run_dir(state_dir, (memory,), is_in_use=False)
    other = tmp_path / "other"
    open_run_dir(other, (memory,), is_in_use=False)
    (memory / "ops-1-1").mkdir(mode=0o700)
    unseen = memory / "ops-2-2"
    unseen.mkdir(mode=0o700)
    (unseen / "owner").write_text("/no/such/state\nmnt:[1]\n")
    gone = place_name(other)
    shutil.rmtree(other)
    sweep((memory,))
    assert places(memory) == sorted({place_name(state_dir), "ops-1-1", "ops-2-2"})
    assert gone not in places(memory)


def test_leaving_removes_the_place(state_dir, memory):
    discard(state_dir)
    open_run_dir(state_dir, (memory,), is_in_use=False)
    discard(state_dir)
    assert places(memory) == []


def test_only_root_has_memory_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert memory_parents() == ()
