"""Taking over real daemons that fork twice: found, watched, restarted, stopped, let go; a worker that dies meanwhile."""

import os
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from ops_system.model.instances import Desired, State
from ops_system.model.takeover import Takeover
from ops_system.processes import procfs
from ops_system.processes.adopt import learn
from ops_system.processes.adopt_facts import read_facts
from ops_system.processes.spec import PreparedInstance, ProbeRules, RestartRules, StopRules
from tests.fakes.daemons import Daemon
from tests.fakes.processes import ID, make_spec, rewish, running_rig, until_true

QUICK = RestartRules(policy="on-failure", delay_s=0.0)
WELL = ProbeRules(type="command", target="true", interval_s=1.0)


class TakeoverPreparer:
    """As the worker's: the start command is the argv, or there is none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.removed: list[str] = []

    async def prepare(self, spec, progress):
        logs = self.root / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        takeover = spec.takeover
        return PreparedInstance("/", takeover.start_command, {}, str(logs), takeover.stop_command)

    async def remove(self, spec):
        self.removed.append(spec.instance_id)


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path / "daemon", f"d{os.getpid()}")
    yield daemon
    daemon.kill_all()


@pytest.fixture
def rig(tmp_path):
    def start(*, leave=True):
        return running_rig(tmp_path / "rig", leave=leave)

    return start


def by_pid_file(daemon, **fields):
    fields = {"start_command": daemon.command, **fields}
    return Takeover(strategy="pidfile", pid_file=str(daemon.pid_file), **fields)


def wish(takeover, **rules):
    restart = RestartRules(policy="never") if takeover.is_watched_only else QUICK
    return make_spec(
        takeover=takeover, **{"restart": restart, "stop": StopRules(timeout_s=5.0), "probe": WELL, **rules}
    )


async def take(one, takeover, **rules):
    one.supervisor._preparer = one.preparer = TakeoverPreparer(one.root)
    spec = wish(takeover, **rules)
    await one.supervisor.apply(spec)
    return spec


def is_alive(pid):
    row = procfs.read_row(pid)
    return row is not None and not row.is_dead


async def test_a_daemon_is_taken_over_by_its_pid_file_and_nothing_is_started(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        await take(one, by_pid_file(daemon))
        report = await one.until_state(State.RUNNING)
        assert report.pid == pid
        assert report.started_at is not None
        assert "taken_over" in one.reasons()
        assert set(one.supervisor.guard().in_care) == set(daemon.processes())
        counters = one.supervisor.read_counters()[ID]
        assert {key[0] for key in counters} == set(daemon.processes())
    assert daemon.starts == [pid]


async def test_one_that_is_killed_is_started_again_by_its_command_and_its_orphans_are_not_left(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        await take(one, by_pid_file(daemon))
        await one.until_state(State.RUNNING)
        old = daemon.processes()
        os.kill(pid, signal.SIGKILL)
        await one.until(lambda: one.latest[ID].state is State.RUNNING and one.latest[ID].pid not in {None, pid})
        assert one.latest[ID].pid == daemon.pid
        assert "exit_unknown" in one.reasons()
        assert one.latest[ID].restarts == 1
        assert not any(is_alive(one_pid) for one_pid in old)
    assert len(daemon.starts) == 2


async def test_what_is_only_watched_is_not_started_and_is_seen_when_others_start_it(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        await take(one, by_pid_file(daemon, start_command=()))
        await one.until_state(State.RUNNING)
        child = next(child for child in daemon.processes() if child != pid)
        os.kill(pid, signal.SIGKILL)
        report = await one.until_state(State.FAILED)
        assert report.reason.code == "exit_unknown"
        assert is_alive(child)
        again = daemon.start()
        report = await one.until_state(State.RUNNING)
        assert report.pid == again
    assert daemon.starts == [pid, again]


async def test_what_is_only_watched_is_not_stopped_for_being_ill(daemon, rig):
    pid = daemon.start()
    ill = ProbeRules(type="command", target="false", interval_s=0.02, timeout_s=1.0, failures=2, start_timeout_s=0.3)
    async with rig() as one:
        await take(one, by_pid_file(daemon, start_command=()), probe=ill)
        await one.until(lambda: ID in one.latest and one.latest[ID].health.value == "unhealthy")
        await one.until(lambda: one.latest[ID].reason.code == "probe_failed")
        assert one.latest[ID].state is State.RUNNING
        assert is_alive(pid)


async def test_a_stop_ends_the_whole_tree_and_a_start_runs_the_command(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        spec = await take(one, by_pid_file(daemon))
        await one.until_state(State.RUNNING)
        stopped = rewish(spec, Desired.STOPPED)
        await one.supervisor.apply(stopped)
        await one.until_state(State.STOPPED)
        assert daemon.processes() == []
        await one.supervisor.apply(rewish(stopped, Desired.RUNNING))
        await one.until_state(State.RUNNING)
        assert daemon.starts == [pid, one.latest[ID].pid]


async def test_the_stop_command_is_used_instead_of_a_signal(daemon, rig, tmp_path):
    daemon.start()
    stop = ("/bin/sh", "-c", f'touch "$0"; kill -TERM $(cat {daemon.pid_file})', str(tmp_path / "told"))
    async with rig() as one:
        spec = await take(one, by_pid_file(daemon, stop_command=stop))
        await one.until_state(State.RUNNING)
        await one.supervisor.apply(rewish(spec, Desired.STOPPED))
        await one.until_state(State.STOPPED)
    assert (tmp_path / "told").exists()
    assert daemon.processes() == []


async def test_a_restart_by_command_keeps_the_instance_and_finds_the_new_process(daemon, rig):
    pid = daemon.start()
    command = " ".join(daemon.command)
    restart = ("/bin/sh", "-c", f"kill -9 {' '.join(map(str, daemon.processes()))}; rm {daemon.pid_file}; {command}")
    async with rig() as one:
        spec = await take(one, by_pid_file(daemon, start_command=(), restart_command=restart))
        await one.until_state(State.RUNNING)
        await one.supervisor.apply(rewish(spec, restart_seq=1))
        await one.until(lambda: one.latest[ID].pid not in {None, pid} and one.latest[ID].state is State.RUNNING)
        assert one.latest[ID].pid == daemon.pid
        assert "restarted" in one.reasons()
        assert "exit_unknown" not in one.reasons()
    assert len(daemon.starts) == 2


async def test_a_restart_command_that_fails_becomes_a_stop_and_a_start(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        spec = await take(one, by_pid_file(daemon, restart_command=("/bin/false",)))
        await one.until_state(State.RUNNING)
        await one.supervisor.apply(rewish(spec, restart_seq=1))
        await one.until(lambda: one.latest[ID].pid not in {None, pid} and one.latest[ID].state is State.RUNNING)
        assert "hook_failed" in one.reasons()
    assert len(daemon.starts) == 2


async def test_letting_go_sends_no_signal(daemon, rig):
    pid = daemon.start()
    before = daemon.processes()
    async with rig() as one:
        spec = await take(one, by_pid_file(daemon))
        await one.until_state(State.RUNNING)
        await one.supervisor.apply(rewish(spec, Desired.ABSENT, lets_go=True))
        await one.until(lambda: one.latest[ID].removed)
        assert one.reasons()[-1] == "released"
        assert one.supervisor.guard().in_care == {}
        assert one.preparer.removed == [ID]
    assert daemon.processes() == before
    assert daemon.starts == [pid]


async def test_another_supervisor_finds_it_again_with_and_without_its_notes(daemon, rig, tmp_path):
    pid = daemon.start()
    facts = read_facts(pid)
    learned = learn(facts, procfs.read_boot_id())
    takeover = by_pid_file(daemon, learned=learned)
    async with rig() as one:
        await take(one, takeover)
        await one.until_state(State.RUNNING)
    async with rig() as two:
        await take(two, takeover)
        report = await two.until_state(State.RUNNING)
        assert report.pid == pid
        assert "readopted" in two.reasons()
    for note in (tmp_path / "rig" / "state" / "run").glob("*/run.json"):
        note.unlink()
    daemon.pid_file.unlink()
    async with rig() as three:
        await take(three, takeover)
        report = await three.until_state(State.RUNNING)
        assert report.pid == pid
    assert daemon.starts == [pid]


async def test_what_looks_just_like_it_is_taken_rather_than_started_a_second_time(daemon, rig):
    """Somebody started it anew, and its PID file is gone."""
    pid = daemon.start()
    takeover = by_pid_file(daemon, learned=learn(read_facts(pid), procfs.read_boot_id()))
    daemon.kill_all()
    again = daemon.start()
    daemon.pid_file.unlink()
    async with rig() as one:
        await take(one, takeover)
        report = await one.until_state(State.RUNNING)
        assert report.pid == again
    assert daemon.starts == [pid, again]


async def test_after_a_reboot_it_is_looked_for_before_anything_is_started(daemon, rig, monkeypatch):
    """Its own init has started it already, or nobody has: then the command runs, once."""
    pid = daemon.start()
    takeover = by_pid_file(daemon, learned=learn(read_facts(pid), procfs.read_boot_id()))
    async with rig() as one:
        await take(one, takeover)
        await one.until_state(State.RUNNING)
    monkeypatch.setattr(procfs, "read_boot_id", lambda: "the boot after")
    async with rig() as two:
        await take(two, takeover)
        report = await two.until_state(State.RUNNING)
        assert report.pid == pid
        assert "readopted" not in two.reasons()
    daemon.kill_all()
    monkeypatch.setattr(procfs, "read_boot_id", lambda: "one more boot")
    async with rig() as three:
        await take(three, takeover)
        await three.until_state(State.RUNNING)
    assert daemon.starts == [pid, daemon.pid]


async def test_one_that_ended_while_nobody_looked_is_started_once(daemon, rig):
    pid = daemon.start()
    async with rig() as one:
        await take(one, by_pid_file(daemon))
        await one.until_state(State.RUNNING)
    os.kill(pid, signal.SIGKILL)
    await until_true(lambda: not is_alive(pid))
    async with rig() as two:
        await take(two, by_pid_file(daemon))
        await two.until(lambda: ID in two.latest and two.latest[ID].state is State.RUNNING)
        assert two.latest[ID].pid == daemon.pid
    assert len(daemon.starts) == 2


async def test_a_start_command_under_way_is_not_run_a_second_time(daemon, rig, tmp_path):
    """The worker dies while the daemon is coming up: whatever carries our mark is waited for."""
    slow = ("/bin/sh", "-c", f'echo x >>"$0"; sleep 1; exec {" ".join(daemon.command)}', str(tmp_path / "runs"))
    async with rig() as one:
        await take(one, by_pid_file(daemon, start_command=slow))
        await until_true((tmp_path / "runs").exists)
    async with rig() as two:
        await take(two, by_pid_file(daemon, start_command=slow))
        await two.until_state(State.RUNNING)
    assert (tmp_path / "runs").read_text() == "x\n"
    assert len(daemon.starts) == 1


async def test_in_doubt_nothing_is_started(daemon, rig):
    one_pid, other_pid = daemon.start(), daemon.start()
    name = f"{Path(daemon.command[0]).name} -S -E {daemon.script}"
    takeover = Takeover(strategy="match", process_name=name, start_command=daemon.command)
    async with rig() as one:
        await take(one, takeover, restart=RestartRules(policy="never"))
        report = await one.until_state(State.FAILED)
        assert report.reason.code == "ambiguous"
    assert is_alive(one_pid)
    assert is_alive(other_pid)
    assert len(daemon.starts) == 2


async def test_a_start_command_that_fails_says_so(daemon, rig):
    async with rig() as one:
        failing = ("/bin/sh", "-c", "echo no such port; exit 3")
        await take(one, by_pid_file(daemon, start_command=failing), restart=RestartRules(policy="never"))
        report = await one.until_state(State.FAILED)
        assert report.reason.code == "start_command_failed"
        assert report.reason.params["exit_code"] == 3
        assert "no such port" in (one.root / "logs" / "stdout.log").read_text()


async def test_a_command_that_stays_is_found_and_its_exit_code_is_known(daemon, rig, tmp_path):
    name = f"sleep 9{os.getpid()}"
    takeover = Takeover(strategy="match", process_name=name, start_command=("/bin/sh", "-c", f"{name}; exit 7"))
    async with rig() as one:
        await take(one, replace(takeover, start_command=tuple(name.split())), restart=RestartRules(policy="never"))
        await one.until_state(State.RUNNING)
        os.kill(one.latest[ID].pid, signal.SIGTERM)
        report = await one.until_state(State.FAILED)
        assert report.reason.code == "killed_by_signal"
