import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec

from ops_system.model.instances import Desired, State
from ops_system.processes import procfs
from ops_system.processes.spec import RestartRules
from tests.fakes import supervised
from tests.fakes.processes import (
    ID,
    PYTHON,
    SH,
    kill_marked,
    make_spec,
    marked_pids,
    rewish,
    running_rig,
    start_stranger,
    until_true,
)

ONCE = RestartRules(policy="never")
COUNTED = "echo start >>starts; while [ ! -e end ]; do sleep 0.01; done; exit 42"


@contextlib.asynccontextmanager
async def killed_supervisor(root, specs, state="starting"):
    """Run a supervisor as a process of its own until every instance has a pid in `state`, kill it, give the pids."""
    file = root / "specs.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(specs))
    child = await asyncio.create_subprocess_exec(
        sys.executable, supervised.__file__, str(root), str(file), stdout=asyncio.subprocess.PIPE
    )
    pids = {}
    try:
        async with asyncio.timeout(30):
            while len(pids) < len(specs):
                instance_id, pid, seen = (await child.stdout.readline()).decode().split()
                if pid != "None" and seen == state:
                    pids[instance_id] = int(pid)
        await until_true(lambda: all((root / f"state/run/{key}/run.json").exists() for key in pids))
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    try:
        yield pids
    finally:
        kill_marked(pids)


def home(root, instance_id=ID):
    return root / "instances" / instance_id


async def test_after_kill_9_the_same_pids_go_on_and_are_in_care(tmp_path):
    specs = [make_spec(f"{ID}-{number}", restart=ONCE) for number in range(5)]
    async with killed_supervisor(tmp_path, specs) as pids, running_rig(tmp_path) as rig:
        for spec in specs:
            await rig.supervisor.apply(spec)
        assert {instance_id: report.pid for instance_id, report in rig.latest.items()} == pids
        assert all(reasons[0] == "readopted" for reasons in map(rig.reasons, pids))
        os.kill(pids[f"{ID}-3"], signal.SIGTERM)
        report = await rig.until_state(State.FAILED, f"{ID}-3")
        assert report.exit_signal == "SIGTERM"


async def test_an_exit_code_while_nobody_watched_is_known(tmp_path):
    spec = make_spec(argv=(SH, "-c", COUNTED), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec]) as pids:
        await until_true((home(tmp_path) / "starts").exists)
        (home(tmp_path) / "end").touch()
        await until_true(lambda: marked_pids(ID) == [])
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            report = await rig.until_state(State.FAILED)
            assert report.exit_code == 42
            assert rig.reasons() == ["exited", "exited"]
    assert pids
    assert (home(tmp_path) / "starts").read_text() == "start\n"


async def test_an_end_under_the_new_supervisor_is_known_too(tmp_path):
    spec = make_spec(argv=(SH, "-c", COUNTED), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec]), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        (home(tmp_path) / "end").touch()
        report = await rig.until_state(State.FAILED)
        assert report.exit_code == 42


async def test_without_the_state_folder_processes_are_found_by_their_marker(tmp_path):
    spec = make_spec(argv=(SH, "-c", COUNTED), restart=ONCE)
    async with killed_supervisor(tmp_path, [spec]) as pids:
        await until_true((home(tmp_path) / "starts").exists)
        shutil.rmtree(tmp_path / "state")
        async with running_rig(tmp_path) as rig:
            assert rig.supervisor.reports() == ()
            await until_true(lambda: ID in rig.supervisor.unclaimed())
            await rig.supervisor.apply(spec)
            assert rig.latest[ID].pid == pids[ID]
            (home(tmp_path) / "end").touch()
            report = await rig.until_state(State.FAILED)
            assert report.exit_code == 42
    assert (home(tmp_path) / "starts").read_text() == "start\n"


async def test_a_damaged_record_is_put_aside_and_the_process_found(tmp_path):
    spec = make_spec()
    async with killed_supervisor(tmp_path, [spec]) as pids:
        record = tmp_path / f"state/run/{ID}/run.json"
        record.write_bytes(record.read_bytes()[:50])
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            assert rig.latest[ID].pid == pids[ID]
            assert record.with_name("run.json.damaged").exists()


async def test_notes_on_the_disk_are_taken_up_and_stay_there_until_a_boot(tmp_path):
    spec = make_spec(argv=(SH, "-c", COUNTED), restart=ONCE)
    async with running_rig(tmp_path, memory=(), leave=True) as rig:
        await rig.supervisor.apply(spec)
        pid = await rig.until_pid()
    async with running_rig(tmp_path) as rig:
        assert not (tmp_path / "state/run").is_symlink()
        await rig.supervisor.apply(spec)
        assert rig.latest[ID].pid == pid
        (home(tmp_path) / "end").touch()
        assert (await rig.until_state(State.FAILED)).exit_code == 42
    assert (home(tmp_path) / "starts").read_text() == "start\n"


async def test_a_wish_to_stop_that_came_meanwhile_is_carried_out(tmp_path):
    spec = make_spec()
    async with killed_supervisor(tmp_path, [spec]), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
        assert marked_pids(ID) == []
        assert "starting" not in rig.reasons()


async def test_a_stubborn_tree_of_an_earlier_supervisor_is_emptied(tmp_path):
    script = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "open('up%d' % os.getpid(), 'w').close()\n"
        "time.sleep(1000)\n"
    )
    spec = make_spec(argv=(PYTHON, "-Ic", script))
    async with killed_supervisor(tmp_path, [spec]):
        await until_true(lambda: len(list(home(tmp_path).glob("up*"))) == 2)
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(rewish(spec, Desired.STOPPED, stop_now=True))
            await rig.until_state(State.STOPPED)
            assert marked_pids(ID) == []


async def test_a_start_that_was_not_recorded_any_more_is_taken_over_alive(tmp_path):
    spec = make_spec()
    async with killed_supervisor(tmp_path, [spec]) as pids:
        record = tmp_path / f"state/run/{ID}/run.json"
        text = record.read_text()
        stale = msgspec.json.decode(text.splitlines()[-1])
        for identity in (stale["keeper"], stale["leader"]):
            text = text.replace(f'"start_time":{identity["start_time"]}', '"start_time":1')
        record.write_text(text)
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            assert rig.latest[ID].pid == pids[ID]
            assert rig.reasons() == ["readopted"]
            os.kill(pids[ID], signal.SIGUSR2)
            await rig.until(lambda: "killed_by_signal" in rig.reasons())


async def test_a_stopped_one_is_not_told_again(tmp_path):
    spec = make_spec()
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        await rig.until_pid()
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        await rig.until_state(State.STOPPED)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(rewish(spec, Desired.STOPPED))
        assert rig.latest[ID].state is State.STOPPED
        assert rig.events == []


async def test_a_record_of_another_boot_starts_anew(tmp_path):
    spec = make_spec()
    async with killed_supervisor(tmp_path, [spec]) as pids:
        kill_marked(pids)
        await until_true(lambda: marked_pids(ID) == [])
        record = tmp_path / f"state/run/{ID}/run.json"
        record.write_bytes(record.read_bytes().replace(procfs.read_boot_id().encode(), b"another-boot"))
        async with running_rig(tmp_path) as rig:
            await rig.supervisor.apply(spec)
            assert await rig.until_pid() != pids[ID]
            assert "readopted" not in rig.reasons()


async def test_a_number_that_now_belongs_to_a_stranger_is_not_adopted(tmp_path):
    spec = make_spec()
    async with killed_supervisor(tmp_path, [spec]) as pids:
        kill_marked(pids)
        await until_true(lambda: marked_pids(ID) == [])
        record = tmp_path / f"state/run/{ID}/run.json"
        text = record.read_text()
        stranger = await start_stranger(("/bin/sleep", "1000"), text)
        try:
            keeper = msgspec.json.decode(text.splitlines()[-1])["keeper"]["pid"]
            for pid in (pids[ID], keeper):
                text = text.replace(f'"pid":{pid},', f'"pid":{stranger.pid},')
            record.write_text(text)
            async with running_rig(tmp_path) as rig:
                await rig.supervisor.apply(rewish(spec, Desired.STOPPED, stop_now=True))
                await rig.until_state(State.STOPPED)
            assert stranger.returncode is None
            assert Path(f"/proc/{stranger.pid}").exists()
        finally:
            stranger.kill()
            await stranger.wait()


async def test_what_had_finished_stays_finished(tmp_path):
    spec = make_spec(argv=(SH, "-c", "exit 0"))
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        await rig.until_state(State.EXITED)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        assert rig.latest[ID].state is State.EXITED
        assert rig.events == []
        await rig.supervisor.apply(rewish(spec))
        await rig.until(lambda: "starting" in rig.reasons())


async def test_a_spec_that_changed_while_it_was_being_replaced_is_not_taken_for_running(tmp_path):
    old = make_spec(argv=(SH, "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"))
    new = make_spec(argv=(SH, "-c", "exec sleep 3000"), generation=2)
    async with running_rig(tmp_path, leave=True) as rig:
        await rig.supervisor.apply(old)
        pid = await rig.until_pid()
        await until_true(lambda: "up" in rig.log())
        await rig.supervisor.apply(new)
        await rig.until_state(State.STOPPING)
    async with running_rig(tmp_path) as rig:
        await rig.supervisor.apply(msgspec.structs.replace(new, stop=new.stop))
        os.kill(pid, signal.SIGKILL)
        again = await rig.until_pid(unlike=pid)
        await until_true(lambda: b"3000" in Path(f"/proc/{again}/cmdline").read_bytes())
