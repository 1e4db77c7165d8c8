"""The supervision suite whose services are Python programs: it runs on Linux here and on Windows in the Wine lane."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from ops_system.model.instances import Desired, State
from ops_system.processes.base import INHERITED_ON_WINDOWS
from ops_system.processes.ports import is_free
from ops_system.processes.rotate import OutputLog, RotateRules
from ops_system.processes.spec import LimitRules, ProbeRules, RestartRules, StopRules
from tests.fakes import supervised
from tests.fakes.processes import ID, PYTHON, make_spec, rewish, start_stranger, until_true

IS_WINDOWS = sys.platform == "win32"
if IS_WINDOWS:
    from tests.fakes.windows import kill_marked, marked_pids, running_rig
else:
    from tests.fakes.processes import kill_marked, marked_pids, running_rig

QUICK = RestartRules(delay_s=0.01, max_delay_s=0.02)
ONCE = RestartRules(policy="never")
SLEEP = "import time; time.sleep(1000)"
UNTIL_END = "import os, time\nwhile not os.path.exists('end'): time.sleep(0.01)\nos._exit(42)"
DEAF = "import signal; signal.signal(getattr(signal, 'SIGBREAK', signal.SIGTERM), signal.SIG_IGN); "
TREE = f"""
import subprocess, sys
{DEAF}
if len(sys.argv) == 1:
    for _ in range(2):
        subprocess.Popen([sys.executable, '-Ic', open('tree.py').read(), 'child'])
elif sys.argv[1] == 'child':
    subprocess.Popen([sys.executable, '-Ic', open('tree.py').read(), 'grandchild'])
    raise SystemExit
open('up%d' % __import__('os').getpid(), 'w').close()
{SLEEP}
"""


def python(script, *arguments):
    return (PYTHON, "-Ic", script, *arguments)


def home(root, instance_id=ID):
    return root / "instances" / instance_id


def write_tree(root):
    home(root).mkdir(parents=True)
    (home(root) / "logs").mkdir()
    (home(root) / "tree.py").write_text(TREE)


def tree_pids(root):
    """Leader and grandchildren, by the files they made."""
    return {int(path.name.removeprefix("up")) for path in home(root).glob("up*")}


def is_tree_up(root):
    """True when the leader and both grandchildren, whose parents have left, are there, and only they."""
    pids = tree_pids(root)
    return len(pids) == 3 and pids == set(marked_pids(ID))


@contextlib.asynccontextmanager
async def killed_supervisor(root, specs, until=lambda: True):
    """Run a supervisor as a process of its own until its instances have pids and `until()`, kill it, give the pids."""
    file = root / "specs.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(specs))
    child = await asyncio.create_subprocess_exec(
        sys.executable, supervised.__file__, str(root), str(file), stdout=asyncio.subprocess.PIPE
    )
    pids = {}
    try:
        async with asyncio.timeout(60):
            while len(pids) < len(specs):
                instance_id, pid, state = (await child.stdout.readline()).decode().split()
                if pid != "None" and state == "starting":
                    pids[instance_id] = int(pid)
        await until_true(until, 60)
    finally:
        child.kill()
        await child.wait()
    try:
        yield pids
    finally:
        kill_marked(pids)


async def test_a_start_is_told_with_the_entrypoints_own_pid_and_proven(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python("import os; print(os.getpid(), flush=True); " + SLEEP)))
        pid = await rig.until_pid()
        report = await rig.until_state(State.RUNNING)
        assert report.pid == pid
        assert rig.log().split() == [str(pid)]
        assert rig.reasons() == ["starting", "started", "alive_proven"]


async def test_the_environment_is_what_was_given_and_little_else(tmp_path):
    inherited = {**os.environ, "SECRET": "no"}
    script = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
    async with running_rig(tmp_path, inherited_env=inherited) as rig:
        await rig.supervisor.apply(make_spec(argv=python(script), env={"MODE": "x"}, restart=ONCE))
        await rig.until_state(State.EXITED)
    env = json.loads((home(tmp_path) / "env.json").read_text())
    assert (env["MODE"], env["OPS_INSTANCE"]) == ("x", ID)
    allowed = {"MODE", "OPS_INSTANCE", "PATH", "HOME", "LANG", "TZ", "LC_CTYPE"}
    if IS_WINDOWS:
        allowed |= set(INHERITED_ON_WINDOWS) | {name for name in env if name.startswith(("WINE", "="))}
    assert set(env) <= allowed


async def test_a_stop_command_replaces_the_signal(tmp_path):
    stop = python("open('end', 'w').close()")
    async with running_rig(tmp_path) as rig:
        spec = make_spec(
            argv=python(f"{DEAF}\n{UNTIL_END}"),
            stop_entrypoint=stop[0],
            stop_args=stop[1:],
            stop=StopRules(timeout_s=30),
        )
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED, within_s=40)
        assert report.exit_code == 42
        await until_true(lambda: marked_pids(ID) == [])  # the command itself may take a moment more


async def test_a_stubborn_tree_is_killed_after_the_grace_with_those_whose_parents_left(tmp_path):
    write_tree(tmp_path)
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=python(TREE), stop=StopRules("SIGTERM", 0.1))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: is_tree_up(tmp_path), 30)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED)
        assert report.exit_signal == "SIGKILL"
        assert marked_pids(ID) == []


async def test_what_a_dead_entrypoint_left_is_killed_before_the_next_start(tmp_path):
    write_tree(tmp_path)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python(TREE), restart=ONCE))
        pid = await rig.until_pid()
        await until_true(lambda: is_tree_up(tmp_path), 30)
        psutil.Process(pid).kill()
        await rig.until_state(State.FAILED)
        assert marked_pids(ID) == []


async def test_a_killed_process_comes_back_with_another_pid(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python(SLEEP), restart=QUICK))
        pid = await rig.until_pid()
        psutil.Process(pid).kill()
        await rig.until_pid(unlike=pid)
        assert rig.latest[ID].restarts == 1


async def test_an_exit_at_once_backs_off_and_gives_up(tmp_path):
    rules = RestartRules(delay_s=0.001, max_delay_s=0.001, max_restarts=5)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python("raise SystemExit(7)"), restart=rules))
        await rig.until(lambda: "gave_up" in rig.reasons(), within_s=60)
        report = rig.latest[ID]
        assert (report.state, report.exit_code, report.restarts) == (State.FAILED, 7, 5)
        assert rig.reasons().count("exited") == 6


@pytest.mark.parametrize("code", [3, 259] if IS_WINDOWS else [3])
async def test_a_clean_end_is_not_restarted(tmp_path, code):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=python(f"import os; os._exit({code})"), restart=RestartRules(success_codes=(code,)))
        await rig.supervisor.apply(spec)
        report = await rig.until_state(State.EXITED)
        assert report.exit_code == code
        assert rig.reasons().count("starting") == 1


async def test_after_a_kill_of_the_worker_the_same_pids_go_on_and_their_exit_codes_are_known(tmp_path):
    specs = [make_spec(f"{ID}-{number}", argv=python(UNTIL_END), restart=ONCE) for number in range(3)]
    async with killed_supervisor(tmp_path, specs) as pids, running_rig(tmp_path) as rig:
        for spec in specs:
            await rig.supervisor.apply(spec)
        assert {instance_id: report.pid for instance_id, report in rig.latest.items()} == pids
        assert all(rig.reasons(instance_id)[0] == "readopted" for instance_id in pids)
        (home(tmp_path, f"{ID}-1") / "end").touch()
        report = await rig.until_state(State.FAILED, f"{ID}-1")
        assert report.exit_code == 42


async def test_an_end_while_nobody_watched_is_seen(tmp_path):
    spec = make_spec(argv=python(UNTIL_END), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec]):
        (home(tmp_path) / "end").touch()
        await until_true(lambda: marked_pids(ID) == [])
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            report = await rig.until_state(State.FAILED)
            assert report.exit_code == (None if IS_WINDOWS else 42)
            assert "starting" not in rig.reasons()


async def test_without_the_state_folder_processes_are_found_by_their_marker(tmp_path):
    spec = make_spec(argv=python(UNTIL_END), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec]) as pids:
        shutil.rmtree(tmp_path / "state")
        async with running_rig(tmp_path) as rig:
            await until_true(lambda: ID in rig.supervisor.unclaimed())
            await rig.supervisor.apply(spec)
            assert rig.latest[ID].pid == pids[ID]
            (home(tmp_path) / "end").touch()
            report = await rig.until_state(State.FAILED)
            assert report.exit_code == 42


async def test_the_tree_of_an_earlier_worker_is_emptied(tmp_path):
    write_tree(tmp_path)
    spec = make_spec(argv=python(TREE))
    async with killed_supervisor(tmp_path, [spec], lambda: is_tree_up(tmp_path)), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED, stop_now=True))
        await rig.until_state(State.STOPPED)
        assert marked_pids(ID) == []


async def test_what_an_ended_entrypoint_of_an_earlier_worker_left_is_emptied(tmp_path):
    write_tree(tmp_path)
    spec = make_spec(argv=python(TREE), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec], lambda: is_tree_up(tmp_path)) as pids:
        psutil.Process(pids[ID]).kill()
        await until_true(lambda: pids[ID] not in marked_pids(ID))
        assert len(marked_pids(ID)) == 2
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            await rig.until_state(State.FAILED)
            assert marked_pids(ID) == []


async def test_a_record_of_another_boot_starts_anew(tmp_path):
    spec = make_spec(argv=python(SLEEP))
    async with killed_supervisor(tmp_path, [spec]) as pids:
        kill_marked(pids)
        await until_true(lambda: marked_pids(ID) == [])
        record = tmp_path / f"state/run/{ID}/run.json"
        boot_id = json.loads(record.read_text().splitlines()[-1])["boot_id"]
        record.write_bytes(record.read_bytes().replace(boot_id.encode(), b"another-boot"))
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            await rig.until_pid()
            assert "readopted" not in rig.reasons()
            assert "exited" not in rig.reasons()


async def test_a_number_that_now_belongs_to_a_stranger_is_not_adopted(tmp_path):
    spec = make_spec(argv=python(SLEEP))
    async with killed_supervisor(tmp_path, [spec]) as pids:
        kill_marked(pids)
        await until_true(lambda: marked_pids(ID) == [])
        record = tmp_path / f"state/run/{ID}/run.json"
        text = record.read_text()
        stranger = await start_stranger(python(SLEEP), text)
        try:
            record.write_text(text.replace(f'"pid":{pids[ID]},', f'"pid":{stranger.pid},'))
            async with running_rig(tmp_path) as rig:
                await rig.supervisor.apply(rewish(spec, Desired.STOPPED, stop_now=True))
                await rig.until_state(State.STOPPED)
            assert stranger.returncode is None
        finally:
            stranger.kill()
            await stranger.wait()


async def test_a_taken_port_refuses_the_start_and_says_which(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(make_spec(argv=python(SLEEP), ports={"http": port}, restart=QUICK))
            report = await rig.until_state(State.FAILED)
            assert "port_taken" in rig.reasons()
            assert str(port) in report.reason.message


async def test_the_tcp_probe_gates_running_and_the_port_is_free_after_the_stop(tmp_path):
    with socket.socket() as picked:
        picked.bind(("127.0.0.1", 0))
        port = picked.getsockname()[1]
    script = f"import socket; listener = socket.create_server(('127.0.0.1', {port})); {SLEEP}"
    probe = ProbeRules("tcp", f"127.0.0.1:{port}", interval_s=0.02, timeout_s=1, failures=3, start_timeout_s=30)
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=python(script), probe=probe, stop=StopRules(timeout_s=0.1))
        await rig.supervisor.apply(spec)
        await rig.until_state(State.RUNNING, within_s=40)
        assert "probe_passed" in rig.reasons()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert is_free(port)


async def test_hooks_run_before_and_after_and_a_failing_one_fails_the_start(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(
            argv=python("print('run', flush=True); " + SLEEP),
            pre_start=python("print('before')"),
            post_stop=python("print('after')"),
            stop=StopRules(timeout_s=0.1),
        )
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: "run" in rig.log(), 30)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert rig.log().split() == ["before", "run", "after"]
        failing = make_spec(f"{ID}-2", argv=python(SLEEP), pre_start=python("raise SystemExit(9)"), restart=ONCE)
        await rig.supervisor.apply(failing)
        report = await rig.until_state(State.FAILED, f"{ID}-2")
        assert report.reason.params["exit_code"] == 9


async def test_absent_ends_removed(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=python(SLEEP), stop=StopRules(timeout_s=0.1))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.ABSENT))
        await rig.until(lambda: rig.latest[ID].removed)
        assert marked_pids(ID) == []
        assert rig.preparer.removed == [ID]


async def test_a_log_that_is_rotated_under_its_writer_goes_on_at_its_end(tmp_path):
    script = (
        "import os, time\n"
        "for n in range(50): print('x' * 99, flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "print('after', flush=True)\n"
        + SLEEP
    )  # fmt: skip
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python(script)))
        await rig.until_pid()
        await until_true(lambda: len(rig.log()) >= 5000, 30)
        log = OutputLog(home(tmp_path) / "logs/stdout.log")
        assert (
            log.rotate(RotateRules(max_size_bytes=4000, max_backups=2)).archived_bytes > 3900
        )  # a whole number of lines
        (home(tmp_path) / "go").touch()
        await until_true(lambda: "after" in rig.log(), 30)
        (start, end), *others = log.spans()
        assert others == []
        assert start == 0
        assert log.read(end - 20, 20).data.split()[-1] == b"after"
        assert log.read(0, 99).data == b"x" * 99


async def test_many_starts_and_stops(tmp_path):
    count = 20 if IS_WINDOWS else 60
    async with running_rig(tmp_path) as rig:
        specs = [make_spec(f"{ID}-{n}", argv=python(SLEEP), stop=StopRules(timeout_s=0.1)) for n in range(count)]
        for spec in specs:
            await rig.supervisor.apply(spec)
        await rig.until(lambda: sum(report.pid is not None for report in rig.latest.values()) == count, within_s=60)
        assert len({report.pid for report in rig.latest.values()}) == count
        for spec in specs:
            await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until(lambda: all(report.state is State.STOPPED for report in rig.latest.values()), within_s=60)


async def test_stopping_the_worker_leaves_the_services(tmp_path):
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(make_spec(argv=python(SLEEP)))
        pid = await rig.until_pid()
    assert pid in marked_pids(ID)
    kill_marked([ID])
    await until_true(lambda: marked_pids(ID) == [])


@pytest.mark.windows
@pytest.mark.skipif(not IS_WINDOWS, reason="batch files are Windows' own")
async def test_a_batch_file_runs_and_gets_no_argument_that_cmd_would_read(tmp_path):
    batch = Path(tmp_path, "run me.cmd")
    batch.write_text("@echo got %1\r\n@exit /b 6\r\n")
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(str(batch), "plain"), restart=ONCE))
        report = await rig.until_state(State.FAILED)
        assert (report.exit_code, rig.log().split()) == (6, ["got", "plain"])
        await rig.supervisor.apply(make_spec(f"{ID}-2", argv=(str(batch), "a&b"), restart=ONCE))
        report = await rig.until_state(State.FAILED, f"{ID}-2")
        assert report.reason.code == "spawn_refused"


@pytest.mark.windows
@pytest.mark.skipif(not IS_WINDOWS, reason="Linux enforces some of them")
async def test_limits_are_said_to_be_not_enforced(tmp_path):
    limits = LimitRules(memory_bytes=10_000_000, nofile=100, nice=5)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=python(SLEEP), limits=limits))
        await rig.until_pid()
        said = [
            event.reason.params for event in rig.events if event.reason and event.reason.code == "limit_not_enforced"
        ]
        assert said == [{"limits": "memory, nofile, nice"}]
