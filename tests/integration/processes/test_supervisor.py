import asyncio
import errno
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from ops_system.model.instances import Desired, HealthState, State
from ops_system.model.reasons import Reason
from ops_system.processes.ports import is_free
from ops_system.processes.spec import LimitRules, PrepareFailed, ProbeRules, RestartRules, StopRules
from tests.fakes.ports import free_port
from tests.fakes.processes import (
    ID,
    PYTHON,
    SH,
    keepers_of,
    make_spec,
    marked_pids,
    rewish,
    running_rig,
    until_true,
    zombies_of,
)

QUICK = RestartRules(delay_s=0.01, max_delay_s=0.02)

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setpgid(0, 0)
        break
print('up', flush=True)
while True:
    time.sleep(1000)
"""
DAEMON = """
import os, socket, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
open('daemon.pid', 'w').write(str(os.getpid()))
while True:
    time.sleep(1000)
"""


async def test_a_start_is_told_with_the_entrypoints_own_pid_and_proven_after_three_seconds(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "echo $$ hello; exec sleep 1000")))
        pid = await rig.until_pid()
        report = await rig.until_state(State.RUNNING)
        assert report.pid == pid
        assert report.health is HealthState.HEALTHY
        assert rig.log() == f"{pid} hello\n"
        assert Path(f"/proc/{pid}/cwd").readlink() == tmp_path / "instances" / ID
        assert rig.reasons() == ["starting", "started", "alive_proven"]
        assert os.getsid(pid) != os.getsid(0)


async def test_the_environment_is_what_was_given_and_little_else(tmp_path):
    inherited = {"PATH": "/usr/bin:/bin", "HOME": "/root", "TZ": "UTC", "SECRET": "no"}
    async with running_rig(tmp_path, inherited_env=inherited) as rig:
        script = "import json,os,sys; json.dump(dict(os.environ), open('env.json', 'w'))"
        spec = make_spec(argv=(PYTHON, "-Ic", script), env={"MODE": "x"}, restart=RestartRules(policy="never"))
        await rig.supervisor.apply(spec)
        await rig.until_state(State.EXITED)
        env = json.loads((tmp_path / "instances" / ID / "env.json").read_text())
    given = {"PATH": "/usr/bin:/bin", "HOME": "/root", "TZ": "UTC", "MODE": "x", "OPS_INSTANCE": ID}
    extra = {
        name: value
        for name, value in env.items()
        if name not in given and name not in {"PWD", "OLDPWD", "LC_CTYPE", "_", "SHLVL"}
    }
    assert {name: env[name] for name in given} == given
    assert extra == {}


async def test_stop_signals_the_leader_and_leaves_nothing(tmp_path):
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(SH, "-c", script))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: "up" in rig.log())
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED)
        assert (report.exit_code, report.exit_signal, report.pid) == (0, None, None)
        assert rig.log() == "up\nbye\n"
        assert marked_pids(ID) == []
        assert rig.reasons()[-3:] == ["stop_requested", "exited", "stopped"]


@pytest.mark.parametrize("stop_signal", ["SIGINT", "SIGQUIT", "SIGUSR1"])
async def test_signals_a_shell_would_ignore_for_background_jobs_arrive(tmp_path, stop_signal):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=("/bin/sleep", "1000"), stop=StopRules(stop_signal, 10))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED)
        assert report.exit_signal == stop_signal


async def test_a_stubborn_tree_is_killed_after_the_grace(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(PYTHON, "-Ic", STUBBORN), stop=StopRules("SIGTERM", 0.1))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: rig.log().count("up") == 4)
        assert len(marked_pids(ID)) == 4
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED)
        assert report.exit_signal == "SIGKILL"
        assert marked_pids(ID) == []


async def test_stop_now_skips_the_grace(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(PYTHON, "-Ic", STUBBORN), stop=StopRules("SIGTERM", 1000))
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: rig.log().count("up") == 4)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPING)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED, generation=3, stop_now=True))
        await rig.until_state(State.STOPPED)


async def test_an_exit_at_once_backs_off_and_gives_up_without_zombies(tmp_path):
    async with running_rig(tmp_path) as rig:
        rules = RestartRules(delay_s=0.001, max_delay_s=0.001, max_restarts=50)
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "exit 7"), restart=rules))
        await rig.until(lambda: rig.latest[ID].reason is not None and rig.latest[ID].reason.code == "exited")
        report = await rig.until_state(State.FAILED, within_s=60)
        assert report.reason.code == "gave_up"
        assert (report.exit_code, report.restarts) == (7, 50)
        assert rig.reasons().count("exited") == 51
        await until_true(lambda: zombies_of(os.getpid()) == [])
        fds = len(list(Path("/proc/self/fd").iterdir()))
        again = make_spec(argv=(SH, "-c", "exit 7"), restart=rules, generation=2)
        await rig.supervisor.apply(again)
        await rig.until(lambda: rig.reasons().count("gave_up") == 2, within_s=60)
        assert len(list(Path("/proc/self/fd").iterdir())) == fds


async def test_a_clean_end_is_not_restarted(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(SH, "-c", "exit 3"), restart=RestartRules(success_codes=(3,)))
        await rig.supervisor.apply(spec)
        report = await rig.until_state(State.EXITED)
        assert report.exit_code == 3
        await rig.supervisor.apply(spec)
        assert rig.reasons().count("starting") == 1


async def test_a_killed_process_comes_back_with_another_pid(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(restart=QUICK))
        pid = await rig.until_pid()
        os.kill(pid, signal.SIGKILL)
        again = await rig.until_pid(unlike=pid)
        assert again != pid
        assert "killed_by_signal" in rig.reasons()
        assert rig.latest[ID].restarts == 1


async def test_a_restart_wish_restarts_once(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec()
        await rig.supervisor.apply(spec)
        pid = await rig.until_pid()
        wish = rewish(spec, restart_seq=1)
        await rig.supervisor.apply(wish)
        again = await rig.until_pid(unlike=pid)
        await rig.supervisor.apply(wish)
        assert rig.latest[ID].pid == again
        assert rig.reasons().count("restart_requested") == 1
        assert rig.latest[ID].restarts == 0


async def test_a_new_spec_is_prepared_and_started_anew_and_a_mere_generation_is_not(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec()
        await rig.supervisor.apply(spec)
        pid = await rig.until_pid()
        await rig.supervisor.apply(rewish(spec))
        assert rig.latest[ID].generation == 2
        assert rig.latest[ID].pid == pid
        changed = make_spec(argv=(SH, "-c", "exec sleep 2000"), generation=3)
        await rig.supervisor.apply(changed)
        await rig.until_pid(unlike=pid)
        assert rig.preparer.prepared == [ID, ID]


async def test_a_daemon_that_left_its_parent_is_found_and_its_port_is_free_afterwards(tmp_path):
    port = free_port()
    async with running_rig(tmp_path) as rig:
        argv = (PYTHON, "-Ic", DAEMON, str(port))
        spec = make_spec(argv=argv, restart=RestartRules(policy="never"))
        await rig.supervisor.apply(spec)
        report = await rig.until_state(State.EXITED)
        assert report.exit_code == 0
        assert marked_pids(ID) == []
        assert is_free(port)
        await until_true(lambda: zombies_of(os.getpid()) == [])


async def test_a_daemon_with_a_foreground_parent_is_killed_on_stop(tmp_path):
    port = free_port()
    script = f"exec {PYTHON} -Ic '{DAEMON.replace(chr(39), chr(34))}' {port} & wait; exec sleep 1000"
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(SH, "-c", script), ports={"http": port})
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: (tmp_path / f"instances/{ID}/daemon.pid").exists() and not is_free(port))
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert is_free(port)
        assert marked_pids(ID) == []


async def test_a_taken_port_refuses_the_start_and_says_which(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(make_spec(ports={"http": port}, restart=QUICK))
            report = await rig.until_state(State.FAILED)
            assert "port_taken" in rig.reasons()
            assert str(port) in report.reason.message
            assert "started" not in rig.reasons()


async def test_limits_that_are_not_enforced_are_said_and_nofile_is_set(tmp_path, monkeypatch):
    monkeypatch.setattr("ops_system.processes.posix.find_hierarchies", lambda _state_dir: ())
    limits = LimitRules(memory_bytes=10_000_000, nofile=123)
    async with running_rig(tmp_path) as rig:
        spec = make_spec(argv=(SH, "-c", "ulimit -n; exec sleep 1000"), limits=limits)
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: rig.log() == "123\n")
        said = [
            event.reason.params for event in rig.events if event.reason and event.reason.code == "limit_not_enforced"
        ]
        assert said == [{"limits": "memory"}]


async def test_a_note_stands_in_the_timeline_and_changes_nothing_else(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec())
        await rig.until_pid()
        before = rig.latest[ID]
        rig.supervisor.note(ID, Reason("log_dropped", "7 bytes were dropped", {"bytes": 7}))
        rig.supervisor.note("i-unknown", Reason("log_dropped", "nobody's"))
        assert rig.reasons()[-1] == "log_dropped"
        assert rig.latest[ID] == before


async def test_a_missing_entrypoint_is_said(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=("/no/such/program",), restart=RestartRules(policy="never")))
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "entrypoint_missing"


async def test_a_user_that_does_not_exist_is_refused(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(user="no-such-user", restart=RestartRules(policy="never")))
        report = await rig.until_state(State.FAILED)
        assert "no-such-user" in report.reason.message


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping rights needs them")
async def test_a_user_is_dropped_to_and_the_pid_stays_the_entrypoints(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest"):
            folder.chmod(0o755)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "id -un; echo $$; exec sleep 1000"), user="nobody"))
        pid = await rig.until_pid()
        await until_true(lambda: rig.log() == f"nobody\n{pid}\n")


async def test_prepare_that_may_be_retried_is_and_a_final_failure_is_final(tmp_path):
    async with running_rig(tmp_path) as rig:
        away = PrepareFailed(Reason("download_failed", "the master is away"), retry=True)
        bad = PrepareFailed(Reason("verify_failed", "the package is damaged"))
        rig.preparer.failures = [away, bad]
        await rig.supervisor.apply(make_spec(restart=RestartRules(delay_s=1, max_delay_s=1)))
        report = await rig.until_state(State.BACKOFF)
        assert report.reason.code == "download_failed"
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "verify_failed"


async def test_a_full_disk_or_too_many_open_files_are_waited_out_and_a_forbidden_folder_is_not(tmp_path):
    async with running_rig(tmp_path) as rig:
        rig.preparer.failures = [OSError(errno.ENOSPC, "no space"), OSError(errno.EMFILE, "too many")]
        await rig.supervisor.apply(make_spec(restart=RestartRules(delay_s=1, max_delay_s=1)))
        report = await rig.until_state(State.BACKOFF)
        assert report.reason.code == "prepare_failed"
        await rig.until_state(State.RUNNING)
        rig.preparer.failures = [PermissionError(errno.EACCES, "no")]
        await rig.supervisor.apply(make_spec(restart=RestartRules(delay_s=1, max_delay_s=1), instance_id="two"))
        await rig.until_state(State.FAILED, "two")


async def test_the_tcp_probe_gates_running_and_a_dead_listener_restarts(tmp_path):
    port = free_port()
    script = (
        "import os, socket, sys, time\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "while not os.path.exists('deaf'): time.sleep(0.005)\n"
        "os.unlink('deaf'); listener.close(); time.sleep(1000)\n"
    )
    probe = ProbeRules("tcp", f"127.0.0.1:{port}", interval_s=0.02, timeout_s=1, failures=3, start_timeout_s=30)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(PYTHON, "-Ic", script), probe=probe, restart=QUICK))
        report = await rig.until_state(State.RUNNING)
        assert "probe_passed" in rig.reasons()
        Path(tmp_path / f"instances/{ID}/deaf").touch()
        await rig.until(lambda: "probe_failed" in rig.reasons())
        await rig.until(lambda: rig.latest[ID].state is State.RUNNING and rig.latest[ID].pid != report.pid)


async def test_what_never_passes_its_probe_fails_the_start(tmp_path):
    probe = ProbeRules("command", "sh -c 'echo not yet; exit 4'", interval_s=0.02, timeout_s=5, start_timeout_s=2)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(probe=probe, restart=RestartRules(policy="never")))
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "start_timeout"
        assert "not yet" in report.reason.message
        assert marked_pids(ID) == []


async def test_hooks_run_before_and_after(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec(
            argv=(SH, "-c", "echo run; exec sleep 1000"),
            pre_start=(SH, "-c", "echo before"),
            post_stop=(SH, "-c", "echo after"),
        )
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await until_true(lambda: "run" in rig.log())
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert rig.log() == "before\nrun\nafter\n"


async def test_a_failing_hook_fails_the_start(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(pre_start=(SH, "-c", "exit 9"), restart=RestartRules(policy="never")))
        report = await rig.until_state(State.FAILED)
        assert report.reason.code == "hook_failed"
        assert report.reason.params["exit_code"] == 9


async def test_a_stop_command_replaces_the_signal(tmp_path):
    async with running_rig(tmp_path) as rig:
        script = "trap '' TERM; while [ ! -e stop ]; do sleep 0.01; done; exit 5"
        spec = make_spec(
            argv=(SH, "-c", script), stop_entrypoint="/usr/bin/touch", stop_args=("stop",), stop=StopRules(timeout_s=20)
        )
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        report = await rig.until_state(State.STOPPED)
        assert report.exit_code == 5


async def test_absent_ends_removed_and_is_forgotten(tmp_path):
    async with running_rig(tmp_path) as rig:
        spec = make_spec()
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.ABSENT))
        await rig.until(lambda: rig.latest[ID].removed)
        assert marked_pids(ID) == []
        assert rig.preparer.removed == [ID]
        assert not (tmp_path / f"state/run/{ID}").exists()
        await rig.supervisor.apply(spec)
        assert rig.latest[ID].removed
        await rig.supervisor.forget(spec.instance_id)
        assert rig.supervisor.reports() == ()


async def test_stopped_from_the_start_prepares_nothing(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(desired=Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert rig.preparer.prepared == []


async def test_a_service_that_signals_its_whole_group_still_tells_its_exit_code(tmp_path):
    async with running_rig(tmp_path) as rig:
        script = "trap 'exit 6' TERM; kill -TERM 0; sleep 1000"
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", script), restart=RestartRules(policy="never")))
        report = await rig.until_state(State.FAILED)
        assert report.exit_code == 6


async def test_without_its_keeper_a_service_stays_in_care(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(restart=RestartRules(policy="never")))
        pid = await rig.until_pid()
        (keeper,) = keepers_of(os.getpid())
        os.kill(keeper, signal.SIGKILL)
        await until_true(lambda: not Path(f"/proc/{keeper}").exists())
        assert rig.latest[ID].pid == pid
        os.kill(pid, signal.SIGUSR1)
        report = await rig.until_state(State.FAILED)
        assert report.exit_signal == "SIGUSR1"


async def test_two_hundred_starts_and_stops(tmp_path):
    async with running_rig(tmp_path) as rig:
        specs = [make_spec(f"{ID}-{number}", argv=("/bin/sleep", "1000")) for number in range(200)]
        for spec in specs:
            await rig.supervisor.apply(spec)
        await rig.until(lambda: sum(report.pid is not None for report in rig.latest.values()) == 200, within_s=60)
        assert len({report.pid for report in rig.latest.values()}) == 200
        for spec in specs:
            await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until(lambda: all(report.state is State.STOPPED for report in rig.latest.values()), within_s=60)
        await until_true(lambda: zombies_of(os.getpid()) == [])


async def test_events_are_numbered_and_acknowledged_ones_go(tmp_path):
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "exit 0")))
        await rig.until_state(State.EXITED)
        seqs = [event.seq for event in rig.supervisor.pending_events()]
        assert seqs == list(range(1, len(rig.events) + 1))
        rig.supervisor.ack_events(2)
        assert [event.seq for event in rig.supervisor.pending_events()] == seqs[2:]
        last = rig.supervisor.last_event_seq
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec(desired=Desired.STOPPED, generation=2))
        await rig.until_state(State.STOPPED)
        assert rig.events[0].seq == last + 1
        assert rig.supervisor.pending_events()[0].seq == 3


async def test_stopping_the_supervisor_leaves_the_services(tmp_path):
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(make_spec())
        pid = await rig.until_pid()
    await asyncio.sleep(0)
    assert Path(f"/proc/{pid}").exists()
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(make_spec())
        assert await rig.until_pid() == pid
        assert rig.reasons() == ["readopted"]
