import plistlib
from pathlib import Path

from ops_system.service.base import Unit
from ops_system.service.macos import LaunchdServices
from tests.fakes.services import FakeLaunchd

UNIT = Unit("master", "ops-system master", ("/opt/master",), "/", log_file="/d/master.log")


def test_a_daemon_of_the_system(tmp_path: Path) -> None:
    launchd = FakeLaunchd()
    mine = LaunchdServices(root=tmp_path, uid=0, run=launchd.run)
    path = tmp_path / "Library/LaunchDaemons/ops-system.master.plist"
    change = mine.install(UNIT, may_start=True)
    assert (change.done, change.service.state, change.service.path) == ("installed", "active", str(path))
    assert plistlib.loads(path.read_bytes())["ProgramArguments"] == ["/opt/master"]
    assert mine.install(UNIT, may_start=False).done == "unchanged"
    assert mine.remove("master").done == "removed"
    assert not path.exists()
    assert not launchd.loaded
    assert mine.remove("master").done == "absent"


def test_an_agent_of_a_user_keeps_what_was_changed(tmp_path: Path) -> None:
    launchd = FakeLaunchd()
    mine = LaunchdServices(home=tmp_path, uid=501, run=launchd.run)
    first = mine.install(UNIT, may_start=False)
    assert (first.hints, first.service.state) == (("at_login", "start_later"), "enabled")
    path = tmp_path / "Library/LaunchAgents/ops-system.master.plist"
    path.write_bytes(path.read_bytes() + b"<!-- mine -->")
    change = mine.install(UNIT, may_start=True)
    assert (change.done, change.kept) == ("updated", f"{path}.bak")
    assert launchd.loaded == {"gui/501/ops-system.master"}
