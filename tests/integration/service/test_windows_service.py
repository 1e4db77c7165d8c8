"""A Windows service: installed, started, told to stop and removed by the service control manager. Also in the Wine lane."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.windows, pytest.mark.skipif(sys.platform != "win32", reason="Windows' own manager")]

ROLE = """
import asyncio, sys
sys.path[:0] = {path!r}
from ops_system.runtime.tasks import StopRequest, run_role, running, serve
from ops_system.service.manager import with_manager

log = open({log!r}, "a", buffering=1)

async def role(manager):
    stop = StopRequest()
    async with running(manager.run(stop), "manager"):
        manager.tell_ready()
        log.write("ready\\n")
        if {is_service}:
            await serve({{"part": asyncio.Event().wait}}, stop=stop)
    log.write("stopped\\n")

def run(manager):
    log.write(type(manager).__name__ + "\\n")
    run_role(role(manager))
    return 0

log.write(f"code {{with_manager(run)}}\\n")
"""


def write_role(folder: Path, *, is_service: bool) -> tuple[Path, Path]:
    script, log = folder / "a role.py", folder / "log"
    script.write_text(ROLE.format(path=sys.path, log=str(log), is_service=is_service))
    return script, log


def test_a_role_lives_and_ends_by_the_service_control_manager(tmp_path: Path) -> None:
    from ops_system.service.base import Unit
    from ops_system.service.windows import WindowsServices

    script, log = write_role(tmp_path, is_service=True)
    services, unit = WindowsServices(), Unit("test-probe", "a probe", (sys.executable, str(script), "a b"), "C:\\")
    services.check()
    try:
        first = services.install(unit, may_start=True)
        assert (first.done, first.service.kind, first.service.state) == ("installed", "windows", "active")
        assert services.install(unit, may_start=False).done == "unchanged"
        assert services.has_word("test-probe", "a b")
        changed = Unit("test-probe", "a probe", (sys.executable, str(script), "c d"), "C:\\")
        assert services.install(changed, may_start=False).done == "updated"
        assert services.has_word("test-probe", "c d")
    finally:
        gone = services.remove("test-probe")
    assert (gone.done, gone.service.state) == ("removed", "absent")
    assert services.remove("test-probe").done == "absent"
    assert log.read_text().splitlines() == ["_ServiceManager", "ready", "stopped", "code 0"] * 2


def test_the_same_role_started_by_hand_is_no_service(tmp_path: Path) -> None:
    script, log = write_role(tmp_path, is_service=False)
    assert subprocess.run([sys.executable, str(script)], timeout=60).returncode == 0
    assert log.read_text().splitlines() == ["Notifier", "ready", "stopped", "code 0"]
