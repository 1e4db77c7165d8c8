from pathlib import Path

import pytest

from ops_system.model.errors import Unavailable
from ops_system.model.nodes import BootService
from ops_system.service.base import Unit
from ops_system.service.linux import SystemdServices
from tests.fakes.services import FakeSystemd

UNIT = Unit("worker", "ops-system worker", ("/opt/worker", "-work_dir=/w"), "/")
NAME = "ops-worker.service"


@pytest.fixture
def systemd(tmp_path: Path) -> FakeSystemd:
    return FakeSystemd(tmp_path)


def services(systemd: FakeSystemd, uid: int = 0) -> SystemdServices:
    return SystemdServices(root=systemd.root, home=systemd.root / "home", uid=uid, run=systemd.run)


def test_install_twice_then_remove_twice(systemd: FakeSystemd) -> None:
    mine, path = services(systemd), systemd.root / "etc/systemd/system" / NAME
    first = mine.install(UNIT, may_start=True)
    assert (first.done, first.service) == ("installed", BootService("systemd", "active", NAME, str(path)))
    assert path.stat().st_mode & 0o777 == 0o644
    assert systemd.did() == ["daemon-reload", f"enable {NAME}", f"restart {NAME}"]
    systemd.calls.clear()
    assert mine.install(UNIT, may_start=False).done == "unchanged"
    assert f"restart {NAME}" not in systemd.did()
    gone = mine.remove("worker")
    assert (gone.done, gone.service.state, gone.kept) == ("removed", "absent", "")
    assert not path.exists()
    assert not list(path.parent.glob("*.wants/*"))
    assert f"disable --now {NAME}" in systemd.did()
    again = mine.remove("worker")
    assert (again.done, again.service.state) == ("absent", "absent")


def test_new_flags_restart_a_service_that_runs(systemd: FakeSystemd) -> None:
    mine = services(systemd)
    mine.install(UNIT, may_start=True)
    systemd.calls.clear()
    changed = Unit("worker", "ops-system worker", ("/opt/worker", "-work_dir=/w", "-port=1"), "/")
    assert mine.install(changed, may_start=False).done == "updated"
    assert f"restart {NAME}" in systemd.did()
    assert not list((systemd.root / "etc/systemd/system").glob("*.bak*"))


def test_a_half_installed_unit_is_repaired(systemd: FakeSystemd) -> None:
    mine = services(systemd)
    mine.install(UNIT, may_start=False)
    next((systemd.root / "etc/systemd/system").glob("*.wants/*")).unlink()
    assert mine.status("worker").state == "installed"
    repaired = mine.install(UNIT, may_start=True)
    assert (repaired.done, repaired.service.state) == ("repaired", "active")


def test_a_unit_changed_by_hand_is_kept(systemd: FakeSystemd) -> None:
    mine, path = services(systemd), systemd.root / "etc/systemd/system" / NAME
    mine.install(UNIT, may_start=True)
    path.write_text(path.read_text() + "# first\n")
    changed = mine.install(UNIT, may_start=True)
    assert (changed.done, changed.kept) == ("updated", f"{path}.bak")
    path.write_text(path.read_text() + "# second\n")
    assert mine.remove("worker").kept == f"{path}.bak1"
    assert "# first" in Path(f"{path}.bak").read_text()
    assert "# second" in Path(f"{path}.bak1").read_text()


def test_a_user_gets_a_unit_of_his_own(systemd: FakeSystemd) -> None:
    mine, path = services(systemd, uid=4711), systemd.root / "home/.config/systemd/user" / NAME
    change = mine.install(UNIT, may_start=True)
    assert change.service == BootService("systemd", "active", NAME, str(path))
    assert change.hints == ("lingers",)
    assert f"--user enable {NAME}" in systemd.did()
    assert "enable-linger" in systemd.did()
    assert "WantedBy=default.target" in path.read_text()
    assert mine.remove("worker").done == "removed"
    systemd.fails["enable-linger"] = "denied"
    assert mine.install(UNIT, may_start=True).hints == ("no_linger",)


def test_a_user_does_not_remove_what_is_the_systems(systemd: FakeSystemd) -> None:
    services(systemd).install(UNIT, may_start=True)
    assert services(systemd, uid=4711).status("worker").state == "active"
    with pytest.raises(Unavailable, match="as root"):
        services(systemd, uid=4711).remove("worker")


def test_beside_a_copy_that_runs_it_waits_for_the_next_boot(systemd: FakeSystemd) -> None:
    change = services(systemd).install(UNIT, may_start=False)
    assert change.hints == ("start_later",)
    assert change.service.state == "enabled"
    assert f"restart {NAME}" not in systemd.did()


def test_a_start_that_fails_says_where_to_look(systemd: FakeSystemd) -> None:
    systemd.fails["restart"] = "Job for ops-worker.service failed."
    with pytest.raises(Unavailable, match="journalctl -xe"):
        services(systemd).install(UNIT, may_start=True)


def test_a_systemd_that_does_not_answer_leaves_nothing_behind(systemd: FakeSystemd) -> None:
    systemd.fails["show"] = "Failed to connect to bus: No medium found"
    with pytest.raises(Unavailable, match=r"No medium found.*enable-linger"):
        services(systemd, uid=4711).install(UNIT, may_start=True)
    assert not (systemd.root / "home").exists()


def test_without_systemd_nothing_is_touched(tmp_path: Path) -> None:
    mine = SystemdServices(root=tmp_path, home=tmp_path / "home", uid=0)
    with pytest.raises(Unavailable, match="not run by systemd"):
        mine.install(UNIT, may_start=True)
    assert list(tmp_path.iterdir()) == []
    assert mine.status("worker") == BootService("", "absent", NAME)
    assert mine.remove("worker").done == "absent"


@pytest.mark.parametrize("kind", ["mask", "folder"])
def test_what_is_no_unit_file_is_left_alone(systemd: FakeSystemd, kind: str) -> None:
    path = systemd.root / "etc/systemd/system" / NAME
    path.parent.mkdir(parents=True)
    if kind == "mask":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    with pytest.raises(Unavailable, match=NAME):
        services(systemd).install(UNIT, may_start=True)
    assert path.is_symlink() or path.is_dir()
