"""The keeper of an earlier worker is killed: its services fall to a process that is not ours."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from ops_system.model.instances import State
from ops_system.processes import procfs
from ops_system.processes.spec import RestartRules
from tests.fakes import supervised
from tests.fakes.processes import ID, keepers_of, kill_marked, make_spec, running_rig, until_true

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper that is no ancestor's")

# Stands for init: takes in the orphans of what it starts and reaps them.
INIT = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(sys.argv[1:])
while True:
    os.wait()
"""


async def test_services_stay_in_care_and_what_ends_is_not_known(tmp_path):
    specs = [make_spec(f"{ID}-{number}", restart=RestartRules(policy="never")) for number in range(3)]
    file = tmp_path / "specs.json"
    file.write_bytes(msgspec.json.encode(specs))
    argv = (sys.executable, supervised.__file__, str(tmp_path), str(file))
    init = await asyncio.create_subprocess_exec(sys.executable, "-c", INIT, *argv, stdout=asyncio.subprocess.DEVNULL)
    try:
        keeper = await orphan_keeper(init.pid, tmp_path, specs)
        async with running_rig(tmp_path) as rig:
            for spec in specs:
                await rig.supervisor.apply(spec)
            pids = {spec.instance_id: rig.latest[spec.instance_id].pid for spec in specs}
            os.kill(keeper, signal.SIGKILL)
            await until_true(lambda: not Path(f"/proc/{keeper}").exists())
            assert {procfs.read_row(pid).ppid for pid in pids.values()} == {init.pid}
            first, *others = pids
            os.kill(pids[first], signal.SIGUSR1)
            report = await rig.until_state(State.FAILED, first)
            assert (report.reason.code, report.exit_code, report.exit_signal) == ("exit_lost", None, None)
            assert {rig.latest[one].pid for one in others} == {pids[one] for one in others}
            assert {rig.latest[one].state for one in others} <= {State.STARTING, State.RUNNING}
    finally:
        kill_marked([spec.instance_id for spec in specs])
        init.kill()
        await init.wait()


async def orphan_keeper(init, root, specs):
    """Wait until every service is recorded as started, kill the worker, give its keeper."""
    records = [root / f"state/run/{spec.instance_id}/run.json" for spec in specs]
    await until_true(lambda: all(path.exists() and b'"leader":{' in path.read_bytes() for path in records), 30)
    (worker,) = procfs.read_children(init)
    (keeper,) = keepers_of(worker)
    os.kill(worker, signal.SIGKILL)
    await until_true(lambda: procfs.read_row(keeper).ppid == init)
    return keeper
