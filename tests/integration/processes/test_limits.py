"""Limits by the control groups of this machine. Where it has none, what is not enforced is said, and these are skipped."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from ops_system.model.instances import Desired, State
from ops_system.model.manifest import Limits, Manifest
from ops_system.processes import procfs
from ops_system.processes.cgroups import Groups, find_hierarchies
from ops_system.processes.spec import LimitRules, RestartRules
from tests.fakes.processes import ID, PYTHON, SH, make_spec, replace, rewish, running_rig, until_true

pytestmark = pytest.mark.root  # or a delegated group

NEVER = RestartRules(policy="never")
MB = 1024 * 1024
IN_GROUP = f"until grep -q {ID} /proc/self/cgroup; do sleep 0.01; done"
CONTROLLERS = {"memory", "cpu", "pids"}


@pytest.fixture(autouse=True)
async def _groups_here(tmp_path):
    here = set().union(*(item.controllers for item in find_hierarchies(tmp_path)))
    if here != CONTROLLERS:
        pytest.skip(f"no writable control groups for {CONTROLLERS - here}")
    yield
    await until_true(lambda: Groups(tmp_path / "state", ()) and groups_of(tmp_path) == [])


def groups_of(root):
    """Return every folder of the worker's own in all hierarchies."""
    noted = root / "state/cgroups"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return [folder for line in lines if Path(line).exists() for folder in Path(line).glob("**/")]


def python(code):
    return (PYTHON, "-S", "-c", code)


def with_memory(spec, memory):
    service = Manifest(name="test", version="1.0", limits=Limits(memory=memory))
    return replace(spec, source=replace(spec.source, service=service))


HOG = "data = []\nwhile True: data.append(bytearray(1024 * 1024))"


async def test_a_memory_hog_is_killed_at_its_limit_and_that_is_said(tmp_path):
    async with running_rig(tmp_path) as rig:
        limits = LimitRules(memory_bytes=32 * MB)
        await rig.supervisor.apply(with_memory(make_spec(argv=python(HOG), limits=limits, restart=NEVER), "32MiB"))
        report = await rig.until_state(State.FAILED)
        assert (report.reason.code, report.reason.params) == ("oom_killed", {"memory": "32MiB"})
        assert "limit_not_enforced" not in rig.reasons()
        assert groups_of(tmp_path) == []


async def test_a_hog_below_a_shell_is_named_too(tmp_path):
    async with running_rig(tmp_path) as rig:
        argv = (SH, "-c", f"{PYTHON} -S -c '{HOG}'; exit $?")
        await rig.supervisor.apply(make_spec(argv=argv, limits=LimitRules(memory_bytes=32 * MB), restart=NEVER))
        assert (await rig.until_state(State.FAILED)).reason.code == "oom_killed"


async def test_an_end_at_the_memory_limit_is_named_also_when_no_worker_saw_it(tmp_path):
    wait = f"import os, time\nwhile not os.path.exists('{tmp_path}/go'): time.sleep(0.01)\n"
    spec = make_spec(argv=python(wait + HOG), limits=LimitRules(memory_bytes=32 * MB), restart=NEVER)
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(spec)
        pid = await rig.until_pid()
    (tmp_path / "go").touch()
    await until_true(lambda: (row := procfs.read_row(pid)) is None or row.is_dead)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        assert (await rig.until_state(State.FAILED)).reason.code == "oom_killed"
        assert groups_of(tmp_path) == []


async def test_a_fork_bomb_stays_within_its_limit_and_is_killed_whole(tmp_path):
    bomb = "import os, time\nwhile time.monotonic() < {}:\n    try: os.fork()\n    except OSError: pass"
    bomb = bomb.format(time.monotonic() + 30)  # should nobody be left to kill it
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=python(bomb), limits=LimitRules(pids=30, cpu_percent=50), stop_now=True)
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        groups = [item.root / ID / "cgroup.procs" for item in find_hierarchies(tmp_path / "state")]
        await until_true(lambda: len(groups[0].read_text().split()) == 30)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert groups_of(tmp_path) == []


@pytest.mark.parametrize("limits", [LimitRules(pids=30), LimitRules()])
async def test_a_process_that_hides_is_found_by_its_group_also_after_a_new_worker(tmp_path, limits):
    """It leaves the session and wipes its environment: nothing but the group tells whose it is."""
    hide = f"{IN_GROUP}; setsid env -i {SH} -c 'echo $$ >{tmp_path}/hidden; exec sleep 1000' & wait; exec sleep 1000"
    spec = make_spec(argv=(SH, "-c", hide), limits=limits)
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(spec)
        await until_true(lambda: (tmp_path / "hidden").exists() and (tmp_path / "hidden").read_text().endswith("\n"))
    pid = int((tmp_path / "hidden").read_text())
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        row = procfs.read_row(pid)
        assert row is None or row.is_dead
    assert groups_of(tmp_path) == []


async def test_a_process_that_hides_is_in_care_also_when_all_that_was_noted_is_lost(tmp_path):
    hidden = tmp_path / "hidden"
    hide = f"{IN_GROUP}; setsid env -i {SH} -c 'echo $$ >{hidden}; exec sleep 1000'"
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", f"{hide} & wait; exec sleep 1000")))
        await until_true(lambda: hidden.exists() and hidden.read_text().endswith("\n"))
    os.kill(rig.latest[ID].pid, signal.SIGKILL)
    shutil.rmtree(tmp_path / "state")
    async with running_rig(tmp_path) as rig:
        await until_true(lambda: ID in rig.supervisor.unclaimed())
        spec = make_spec(restart=NEVER)
        await rig.supervisor.apply(spec)
        assert await rig.until_pid() == int(hidden.read_text())
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        row = procfs.read_row(int(hidden.read_text()))
        assert row is None or row.is_dead


async def test_cpu_time_is_throttled(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python("while True: pass"), limits=LimitRules(cpu_percent=10)))
        await rig.until_pid()
        root = next(item.root for item in find_hierarchies(tmp_path / "state") if "cpu" in item.controllers)

        def throttled():
            words = (root / ID / "cpu.stat").read_text().split()
            return int(words[words.index("nr_throttled") + 1])

        await until_true(lambda: throttled() > 0)


async def test_what_is_set_before_the_start_is_set(tmp_path):
    limits = LimitRules(nofile=123, nice=os.getpriority(os.PRIO_PROCESS, 0) + 3, umask=0o027, no_new_privs=True)
    async with running_rig(tmp_path) as rig:
        script = "ulimit -n; umask; nice; grep NoNewPrivs /proc/self/status; echo $$; exec sleep 1000"
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", script), limits=limits))
        pid = await rig.until_pid()
        await until_true(lambda: rig.log().count("\n") == 5)
        assert rig.log().split() == ["123", "0027", str(limits.nice), "NoNewPrivs:", "1", str(pid)]


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping rights needs them")
@pytest.mark.parametrize(("wanted", "told"), [(None, "1"), (True, "1"), (False, "0")])
async def test_a_user_dropped_to_gains_no_rights_unless_that_is_wanted(tmp_path, wanted, told):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest"):
            folder.chmod(0o755)
    async with running_rig(tmp_path) as rig:
        limits = LimitRules(no_new_privs=wanted, memory_bytes=100 * MB)
        argv = (SH, "-c", "grep NoNewPrivs /proc/self/status; exec sleep 1000")
        await rig.supervisor.apply(make_spec(argv=argv, user="nobody", limits=limits))
        await until_true(lambda: ID in rig.latest and rig.latest[ID].pid and rig.log().endswith("\n"))
        assert rig.log().split() == ["NoNewPrivs:", told]


async def test_a_user_that_does_not_exist_is_refused_before_anything_is_touched(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(user="no-such-user", limits=LimitRules(memory_bytes=32 * MB), restart=NEVER)
        await rig.supervisor.apply(spec)
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "spawn_refused"
        assert "no-such-user" in report.reason.message
        assert groups_of(tmp_path) == []
        assert not Path(tmp_path, "instances", ID, "logs", "stdout.log").exists()


async def test_a_limit_that_the_kernel_refuses_is_refused_before_anything_is_touched(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(limits=LimitRules(pids=-5), restart=NEVER))
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "spawn_refused"
        assert "limits.pids is refused" in report.reason.message
        assert groups_of(tmp_path) == []


async def test_an_end_for_the_memory_of_all_is_told_apart(tmp_path):
    """A group around the service, none of ours, stands for the machine."""
    mount = next(item.root.parent for item in find_hierarchies(tmp_path) if "memory" in item.controllers)
    around = mount / f"test-{os.getpid()}"
    around.mkdir()
    try:
        (around / "memory.limit_in_bytes").write_text(str(32 * MB))
        (around / "memory.memsw.limit_in_bytes").write_text(str(32 * MB))
        async with running_rig(tmp_path) as rig:
            argv = (SH, "-c", f"echo 0 >{around}/cgroup.procs; exec {PYTHON} -S -c '{HOG}'")
            await rig.supervisor.apply(make_spec(argv=argv, restart=NEVER))
            report = await rig.until_state(State.FAILED)
            assert (report.reason.code, report.exit_signal) == ("system_oom_killed", "SIGKILL")
    finally:
        around.rmdir()
