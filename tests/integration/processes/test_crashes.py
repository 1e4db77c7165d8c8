"""What is remembered when a service ends unasked."""

import os
import sys
from pathlib import Path

from ops_system.model.instances import Desired, State
from ops_system.model.manifest import Limits, Manifest
from ops_system.processes.crashes import read_own_chain
from ops_system.processes.spec import ProbeRules, RestartRules
from tests.fakes.processes import ID, SH, make_spec, replace, rewish, running_rig

ONCE = RestartRules(policy="never")


def with_limits(spec):
    service = Manifest(name="test", version="1.0", limits=Limits(memory="64MiB"))
    return replace(spec, source=replace(spec.source, service=service))


async def test_an_unasked_end_is_remembered_with_all_that_explains_it(tmp_path):
    crashes = []
    async with running_rig(tmp_path, on_crash=lambda _id, crash: crashes.append(crash)) as rig:
        spec = with_limits(make_spec(argv=(SH, "-c", "sleep 0.2; exit 7"), restart=ONCE, env={"SECRET": "s3cret"}))
        await rig.supervisor.apply(spec)
        pid = await rig.until_pid()
        await rig.until_state(State.FAILED)
    (crash,) = crashes
    assert (crash.exit_code, crash.exit_signal, crash.pid) == (7, None, pid)
    assert (crash.reason.code, crash.version, crash.generation) == ("exited", "1.0", 1)
    assert 0.15 < crash.uptime_s < 10
    assert crash.limits.memory == "64MiB"
    assert {"SECRET", "PATH", "OPS_INSTANCE"} <= set(crash.env_names)
    assert "s3cret" not in repr(crash)
    assert [parent.pid for parent in crash.parents][1:] == [os.getpid()]
    assert not crash.oom_killed


async def test_every_end_of_a_crash_loop_is_told(tmp_path):
    crashes = []
    async with running_rig(tmp_path, on_crash=lambda _id, crash: crashes.append(crash)) as rig:
        rules = RestartRules(policy="always", delay_s=0, max_restarts=3)
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "exit 3"), restart=rules))
        await rig.until_state(State.FAILED)
    assert [crash.restarts for crash in crashes] == [0, 1, 2, 3]


async def test_a_service_that_never_answers_is_remembered_too(tmp_path):
    crashes = []
    async with running_rig(tmp_path, on_crash=lambda _id, crash: crashes.append(crash)) as rig:
        probe = ProbeRules("tcp", "127.0.0.1:1", start_timeout_s=1)
        await rig.supervisor.apply(make_spec(restart=ONCE, probe=probe))
        await rig.until_state(State.FAILED)
    assert [(crash.reason.code, crash.exit_signal) for crash in crashes] == [("start_timeout", "SIGKILL")]


async def test_an_end_that_was_asked_for_is_none(tmp_path):
    crashes = []
    async with running_rig(tmp_path, on_crash=lambda _id, crash: crashes.append(crash)) as rig:
        spec = make_spec()
        await rig.supervisor.apply(spec)
        await rig.until_state(State.RUNNING)
        spec = rewish(spec, restart_seq=1)
        await rig.supervisor.apply(spec)
        await rig.until(lambda: rig.latest[ID].restart_seq == 1 and rig.latest[ID].state is State.RUNNING)
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
    assert crashes == []


async def test_the_next_try_is_told_while_it_backs_off(tmp_path):
    async with running_rig(tmp_path) as rig:
        rules = RestartRules(policy="always", delay_s=20)
        await rig.supervisor.apply(make_spec(argv=(SH, "-c", "exit 3"), restart=rules))
        report = await rig.until_state(State.BACKOFF)
    wait_s = (report.next_try_at - report.at).total_seconds()
    assert 14 <= wait_s <= 26
    assert report.restarts_in_window == 1


def test_the_chain_above_begins_with_this_process():
    chain = read_own_chain()
    assert chain[0].pid == os.getpid()
    assert Path(sys.executable).name in " ".join(chain[0].cmdline)
    assert chain[1].pid == os.getppid()
