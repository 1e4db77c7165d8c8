import stat
from pathlib import Path

import pytest

from ops_system.model.ids import InstanceId
from ops_system.model.instances import ConfigFile
from ops_system.processes.spec import PrepareFailed
from ops_system.worker.placement import Placement

ID = InstanceId("inst_1")


def package(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def placement(tmp_path: Path) -> Placement:
    return Placement(tmp_path / "work", ID)


def test_an_upgrade_replaces_our_files_and_keeps_the_services_own(tmp_path: Path) -> None:
    place = placement(tmp_path)
    place.activate(package(tmp_path / "v1", run="one", old__note="gone", conf="ours"), "a" * 64, "run")
    (place.dir / "data.db").write_text("written by the service")
    (place.dir / "old" / "mine").write_text("also")
    place.activate(package(tmp_path / "v2", run="two", conf="new"), "b" * 64, "./run")
    assert (place.dir / "run").read_text() == "two"
    assert (place.dir / "conf").read_text() == "new"
    assert not (place.dir / "old/note").exists()
    assert (place.dir / "old/mine").read_text() == "also"
    assert (place.dir / "data.db").read_text() == "written by the service"
    assert place.is_current("b" * 64, "run", frozenset())
    assert not place.is_current("a" * 64, "run", frozenset())


def test_the_entrypoint_becomes_executable_and_nothing_else_does(tmp_path: Path) -> None:
    place = placement(tmp_path)
    place.activate(package(tmp_path / "v1", run="#!/bin/sh", notes="x"), "a" * 64, "run")
    assert stat.S_IMODE((place.dir / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((place.dir / "notes").stat().st_mode) == 0o644


def test_a_running_binary_keeps_its_own_file(tmp_path: Path) -> None:
    place = placement(tmp_path)
    place.activate(package(tmp_path / "v1", run="one"), "a" * 64, "run")
    with (place.dir / "run").open() as running:
        place.activate(package(tmp_path / "v2", run="two"), "b" * 64, "run")
        assert running.read() == "one"


def test_a_crash_in_between_is_seen_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placement(tmp_path)
    v2 = package(tmp_path / "v2", a="2", run="2", z="2")
    place.activate(package(tmp_path / "v1", a="1", run="1", gone="1"), "a" * 64, "run")
    copy = Placement._copy

    def dies(self: Placement, source: Path, name: str, *, is_executable: bool) -> None:
        if name == "run":
            raise KeyboardInterrupt
        copy(self, source, name, is_executable=is_executable)

    monkeypatch.setattr(Placement, "_copy", dies)
    with pytest.raises(KeyboardInterrupt):
        place.activate(v2, "b" * 64, "run")
    monkeypatch.undo()
    assert not place.is_current("a" * 64, "run", frozenset())
    assert not place.is_current("b" * 64, "run", frozenset())
    place.activate(v2, "b" * 64, "run")
    assert sorted(path.name for path in place.dir.iterdir()) == ["a", "run", "z"]


def test_an_entrypoint_changed_on_the_disk_is_put_anew(tmp_path: Path) -> None:
    place = placement(tmp_path)
    place.activate(package(tmp_path / "v1", run="one"), "a" * 64, "run")
    (place.dir / "run").write_text("tampered")
    assert not place.is_current("a" * 64, "run", frozenset())


def test_links_the_service_left_are_not_written_through(tmp_path: Path) -> None:
    place = placement(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("root")
    place.make_folders()
    (place.dir / "conf").symlink_to(outside)
    with pytest.raises(PrepareFailed, match="in the way"):
        place.activate(package(tmp_path / "v1", run="one", conf__passwd="evil"), "a" * 64, "run")
    (place.dir / "conf").unlink()
    (place.dir / "run").symlink_to(outside / "passwd")
    place.activate(package(tmp_path / "v1", run="one"), "a" * 64, "run")
    assert (outside / "passwd").read_text() == "root"
    assert not (place.dir / "run").is_symlink()


def test_a_config_file_that_is_dropped_leaves_with_the_next_activation(tmp_path: Path) -> None:
    place = placement(tmp_path)
    v1 = package(tmp_path / "v1", run="one")
    place.activate(v1, "a" * 64, "run")
    place.write_config((ConfigFile("conf/app.ini", "x=1", 0o600),))
    assert stat.S_IMODE((place.dir / "conf/app.ini").stat().st_mode) == 0o600
    assert place.is_current("a" * 64, "run", frozenset({"conf/app.ini"}))
    assert not place.is_current("a" * 64, "run", frozenset())
    place.activate(v1, "a" * 64, "run")
    assert not (place.dir / "conf/app.ini").exists()


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "back\\slash", ""])
def test_a_config_path_stays_inside(tmp_path: Path, path: str) -> None:
    place = placement(tmp_path)
    place.make_folders()
    with pytest.raises(PrepareFailed):
        place.write_config((ConfigFile(path, "x"),))
    assert not (tmp_path / "work/instances/escape").exists()


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    place = placement(tmp_path)
    place.activate(package(tmp_path / "v1", run="one"), "a" * 64, "run")
    (place.log_dir / "stdout.log").write_text("x")
    place.remove()
    place.remove()
    assert [list((tmp_path / "work" / name).iterdir()) for name in ("instances", "logs", "state/placed")] == [
        [],
        [],
        [],
    ]
