"""The keeper as a process: what it tells, what it survives, and that it neither loses nor doubles a start."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from ops_system.model.instances import Desired, State
from ops_system.processes import posix, procfs
from ops_system.processes.spec import RestartRules, StopRules
from tests.fakes import supervised
from tests.fakes.processes import (
    ID,
    PYTHON,
    SH,
    keepers_of,
    kill_marked,
    make_spec,
    marked_pids,
    reap_keepers,
    rewish,
    running_rig,
    until_true,
    zombies_of,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ONCE = RestartRules(policy="never")
AT_ONCE = RestartRules(policy="always", delay_s=0, max_delay_s=0, max_restarts=10_000)
TRACE = 'echo "$OPS_INSTANCE" >>../../trace; exec sleep 1000'


def open_fds(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def starts_in(root):
    trace = root / "trace"
    return sorted(trace.read_text().split()) if trace.exists() else []


async def supervised_process(root, specs):
    file = root / "specs.json"
    file.write_bytes(msgspec.json.encode(specs))
    return await asyncio.create_subprocess_exec(
        sys.executable, supervised.__file__, str(root), str(file), stdout=asyncio.subprocess.PIPE
    )


@pytest.mark.parametrize("code", [7, 126, 127, 137, 143, 255])
async def test_an_exit_code_is_never_taken_for_a_signal(tmp_path, code):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", f"exit {code}"), restart=ONCE))
        report = await rig.until_state(State.FAILED)
        assert (report.exit_code, report.exit_signal) == (code, None)


async def test_a_script_without_an_interpreter_line_is_run_by_a_shell(tmp_path):
    script = tmp_path / "script"
    script.write_text("exit 9\n")
    script.chmod(0o755)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(str(script),), restart=ONCE))
        assert (await rig.until_state(State.FAILED)).exit_code == 9


async def test_what_cannot_be_executed_ends_as_in_a_shell_and_says_so_in_its_log(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(str(script),), restart=ONCE))
        assert (await rig.until_state(State.FAILED)).exit_code == 127
        assert rig.log(name="stderr.log") == f"cannot execute {script}: No such file or directory\n"


async def test_five_hundred_exits_at_once_leave_no_zombie_and_no_descriptor(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=("/bin/true",), restart=RestartRules("always", 0, 0, 20))
        await rig.supervisor.apply(spec)
        await rig.until_state(State.FAILED)
        (keeper,) = keepers_of(os.getpid())
        before = (open_fds(os.getpid()), open_fds(keeper))
        again = rewish(spec)
        await rig.supervisor.apply(msgspec.structs.replace(again, restart=RestartRules("always", 0, 0, 500)))
        await rig.until(lambda: rig.latest[ID].restarts == 500 and rig.latest[ID].state is State.FAILED, 60)
        assert (open_fds(os.getpid()), open_fds(keeper)) == before
        assert zombies_of(os.getpid()) == zombies_of(keeper) == []


async def test_five_hundred_grandchildren_are_killed_and_reaped(tmp_path):
    script = (
        "import os, time\n"
        "for _ in range(500):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork(): os._exit(0)\n"
        "        os.setsid(); time.sleep(1000); os._exit(0)\n"
        "    os.wait()\n"
        "print('up', flush=True)\n"
        "time.sleep(1000)\n"
    )
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(PYTHON, "-Ic", script), stop=StopRules("SIGTERM", 5))
        await rig.supervisor.apply(spec)
        await until_true(lambda: (tmp_path / f"instances/{ID}/logs/stdout.log").exists() and "up" in rig.log(), 60)
        assert len(marked_pids(ID)) == 501
        (keeper,) = keepers_of(os.getpid())
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED, within_s=60)
        assert marked_pids(ID) == []
        await until_true(lambda: zombies_of(keeper) == [])


async def test_while_the_worker_is_stopped_ends_are_noted_and_then_judged_in_order(tmp_path):
    specs = [make_spec(f"{ID}-{number}", argv=(SH, "-c", TRACE), restart=AT_ONCE) for number in range(3)]
    worker = await supervised_process(tmp_path, specs)
    try:
        await until_true(lambda: len(list((tmp_path / "state/run").glob("*/run.json"))) == 3, 30)
        await until_true(lambda: len(starts_in(tmp_path)) == 3, 30)
        (keeper,) = keepers_of(worker.pid)
        worker.send_signal(signal.SIGSTOP)
        for spec in specs:
            for pid in marked_pids(spec.instance_id):
                os.kill(pid, signal.SIGKILL)
        await until_true(lambda: all((tmp_path / f"state/run/{spec.instance_id}/exit").exists() for spec in specs))
        assert zombies_of(keeper) == []
        worker.send_signal(signal.SIGCONT)
        await until_true(lambda: len(starts_in(tmp_path)) == 6, 30)
        assert starts_in(tmp_path) == sorted([spec.instance_id for spec in specs] * 2)
    finally:
        worker.kill()
        await worker.wait()
        kill_marked([spec.instance_id for spec in specs])


@pytest.mark.parametrize("moment", ["the keeper is being made", "the first service runs"])
async def test_a_worker_killed_amid_its_starts_leaves_none_undone_and_none_twice(tmp_path, moment):
    specs = [make_spec(f"{ID}-{number}", argv=(SH, "-c", TRACE), restart=ONCE) for number in range(60)]
    worker = await supervised_process(tmp_path, specs)
    is_early = moment == "the keeper is being made"
    await until_true(lambda: keepers_of(worker.pid) if is_early else starts_in(tmp_path), 30)
    worker.kill()
    await worker.wait()
    async with running_rig(tmp_path) as rig:
        for spec in specs:
            await rig.supervisor.apply(spec)
        await rig.until(lambda: len(rig.latest) == 60 and all(report.pid for report in rig.latest.values()), 60)
        await until_true(lambda: len(starts_in(tmp_path)) >= 60)
        assert starts_in(tmp_path) == sorted(spec.instance_id for spec in specs)


async def test_with_another_keeper_after_the_first_was_killed_services_are_restarted_and_started(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(restart=AT_ONCE))
        pid = await rig.until_pid()
        (keeper,) = keepers_of(os.getpid())
        os.kill(keeper, signal.SIGKILL)
        await until_true(lambda: not Path(f"/proc/{keeper}").exists())
        os.kill(pid, signal.SIGUSR1)
        again = await rig.until_pid(unlike=pid)
        assert "killed_by_signal" in rig.reasons()
        (second,) = keepers_of(os.getpid())
        assert procfs.read_row(again).ppid == second != keeper


async def test_a_keeper_that_hangs_hides_no_end(tmp_path, monkeypatch):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(restart=ONCE))
        pid = await rig.until_pid()
        monkeypatch.setattr(posix, "KEEPER_ANSWER_S", 2.0)
        (keeper,) = keepers_of(os.getpid())
        os.kill(keeper, signal.SIGSTOP)
        os.kill(pid, signal.SIGUSR2)
        report = await rig.until_state(State.FAILED)
        assert report.exit_signal == "SIGUSR2"
        await until_true(lambda: not Path(f"/proc/{keeper}").exists())


async def test_a_keeper_that_hangs_at_a_start_is_replaced_and_the_start_made_once(tmp_path, monkeypatch):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(f"{ID}-a"))
        await rig.until_pid(f"{ID}-a")
        monkeypatch.setattr(posix, "KEEPER_ANSWER_S", 2.0)
        (keeper,) = keepers_of(os.getpid())
        os.kill(keeper, signal.SIGSTOP)
        await rig.supervisor.apply(make_spec(f"{ID}-b", argv=(SH, "-c", TRACE), restart=AT_ONCE))
        await rig.until_pid(f"{ID}-b")
        await until_true(lambda: starts_in(tmp_path) != [])
        assert starts_in(tmp_path) == [f"{ID}-b"]


async def test_a_keeper_ends_with_its_last_child_when_no_worker_is_left(tmp_path):
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(make_spec())
        pid = await rig.until_pid()
        (keeper,) = keepers_of(os.getpid())
    assert Path(f"/proc/{keeper}/exe").exists()
    os.kill(pid, signal.SIGKILL)
    await until_true(lambda: keeper in zombies_of(os.getpid()))
    reap_keepers()


async def test_an_end_that_could_not_be_noted_is_told_to_the_next_worker(tmp_path):
    spec = make_spec(argv=(SH, "-c", "while [ ! -e end ]; do sleep 0.01; done; exit 42"), restart=ONCE)
    keep = make_spec(f"{ID}-other")
    async with running_rig(tmp_path, leave=True) as rig:
        for one in (spec, keep):
            await rig.supervisor.apply(one)
            await rig.until_pid(one.instance_id)
        (tmp_path / f"state/run/{ID}/exit").mkdir(parents=True)
    (tmp_path / f"instances/{ID}/end").touch()
    await until_true(lambda: marked_pids(ID) == [])
    async with running_rig(tmp_path) as rig:
        for one in (spec, keep):
            await rig.supervisor.apply(one)
        assert (await rig.until_state(State.FAILED)).exit_code == 42


async def test_the_tree_of_an_instance_holds_children_and_orphans_and_no_stranger(tmp_path):
    script = "(setsid sleep 1001 &) ; sleep 1002 & echo up; wait"
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", script)))
        await rig.supervisor.apply(make_spec(f"{ID}-other"))
        await rig.until(lambda: sum(report.pid is not None for report in rig.latest.values()) == 2)
        # Between fork and exec there is for an instant one more, and in the instant of an exec a marker cannot be read.
        await until_true(lambda: [procfs.read_argv(pid)[:1] for pid in marked_pids(ID)].count(("sleep",)) == 2)
        trees = rig.supervisor.read_counters()
        assert len(trees[ID]) == 3
        assert {pid for pid, _ in trees[ID]} == set(marked_pids(ID))
        assert {pid for pid, _ in trees[f"{ID}-other"]} == {rig.latest[f"{ID}-other"].pid}
