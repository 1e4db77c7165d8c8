"""The last step of a restore, killed wherever it can be: afterwards the old data or the new, never a mixture."""

from pathlib import Path

import pytest

from ops_system.model.errors import SafetyRefusal
from ops_system.storage import restore
from ops_system.storage.folder import DataFolder
from ops_system.storage.restore import commit_restore, discard_staged, finish_restore, places, staged_place


class Killed(Exception):
    """Stands for the end of the process."""


def write_all(folder: DataFolder, word: str, *, is_staged: bool) -> None:
    for name, place in places(folder).items():
        path = staged_place(place) if is_staged else place
        if name == "ca":
            path.mkdir(parents=True)
            (path / "ca.key").write_text(word)
        else:
            path.write_text(word)
    if not is_staged:
        Path(f"{folder.database}-wal").write_text(word)


def read_all(folder: DataFolder) -> set[str]:
    words = {
        place.read_text() if place.is_file() else (place / "ca.key").read_text() for place in places(folder).values()
    }
    wal = Path(f"{folder.database}-wal")
    return words | ({wal.read_text()} if wal.exists() else set())


@pytest.fixture
def folder(tmp_path):
    made = DataFolder(tmp_path / "data")
    made.create()
    write_all(made, "old", is_staged=False)
    made.mark_initialized()
    write_all(made, "new", is_staged=True)
    return made


def kill_after(monkeypatch, steps: int) -> None:
    """Let the process die before its `steps`-th call that changes a disk."""
    left = [steps]

    def counted(real):
        def call(*arguments, **named):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(restore, "write_atomic", counted(restore.write_atomic))
    monkeypatch.setattr(restore, "remove_durably", counted(restore.remove_durably))
    monkeypatch.setattr(restore, "sync_dir", counted(restore.sync_dir))


def test_killed_anywhere_it_is_the_old_data_or_the_new(folder, monkeypatch):
    """Every step there is: the first one that is not reached ends the loop."""
    for steps in range(40):
        with monkeypatch.context() as patched:
            kill_after(patched, steps)
            try:
                commit_restore(folder, 1000 + steps)
                is_killed = False
            except Killed:
                is_killed = True
        finish_restore(folder)
        words = read_all(folder)
        assert words in ({"old"}, {"new"}), steps
        assert not is_killed or words == {"old"} or steps > 0
        if not is_killed:
            assert words == {"new"}
            assert steps > 10
            return
        for place in places(folder).values():  # lay everything out anew
            restore._remove(place)
        for name in ("-wal", "-shm"):
            Path(f"{folder.database}{name}").unlink(missing_ok=True)
        discard_staged(folder)
        write_all(folder, "old", is_staged=False)
        write_all(folder, "new", is_staged=True)
    pytest.fail("the steps have no end")


def test_the_old_data_is_kept_aside_and_older_data_goes(folder):
    commit_restore(folder, 1000)
    assert (folder.root / "ops.db.before-restore-1000").read_text() == "old"
    assert (folder.root / "ops.db.before-restore-1000-wal").read_text() == "old"
    assert (folder.root / "ca.before-restore-1000" / "ca.key").read_text() == "old"
    write_all_again = {name: staged_place(place) for name, place in places(folder).items() if name != "ca"}
    for path in write_all_again.values():
        path.write_text("newest")
    commit_restore(folder, 2000)
    assert folder.database.read_text() == "newest"
    assert (folder.ca / "ca.key").read_text() == "new"  # this backup held none
    assert not list(folder.root.glob("*.before-restore-1000*"))


def test_without_a_commit_nothing_is_taken_and_leftovers_go(folder):
    assert not finish_restore(folder)
    assert read_all(folder) == {"old"}
    discard_staged(folder)
    assert not list(folder.root.glob(".*.restored*"))


def test_a_committed_restore_is_not_discarded(folder):
    folder.restore_marker.write_text('{"stamp_ms":5}')
    discard_staged(folder)
    assert finish_restore(folder)
    assert read_all(folder) == {"new"}


def test_a_damaged_marker_is_named(folder):
    folder.restore_marker.write_text("?")
    with pytest.raises(SafetyRefusal, match=r"restore\.ready is damaged"):
        finish_restore(folder)
