"""A worker that is killed in the very moment of a start: what was started and ended unheard is not started again."""

import asyncio
import contextlib
import importlib.util
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from ops_system.model.instances import State
from ops_system.processes.notes import read_note
from ops_system.processes.spec import RestartRules
from tests.fakes import supervised
from tests.fakes.processes import ID, SH, kill_marked, make_spec, marked_pids, rewish, running_rig, until_true

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody notes an end there while no worker lives")

ENDS_WELL_AFTER = "echo start >>starts; [ $(wc -l <starts) -gt %d ] && exit 0; exit 3"
AT_ONCE = RestartRules(delay_s=0, max_delay_s=0)


def make_ending(failures):
    """A service that fails so often and then ends well."""
    return make_spec(argv=(SH, "-c", ENDS_WELL_AFTER % failures), restart=AT_ONCE)


def starts(root):
    path = root / "instances" / ID / "starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def has_noted_the_good_end(root):
    return read_note(root / f"state/run/{ID}/exit", 0) == 0


@contextlib.asynccontextmanager
async def deaf_supervisor(root, spec, heard, until):
    """Run a supervisor that hears of so many starts only, and kill it when `until()` is true."""
    file = root / "specs.json"
    file.write_bytes(msgspec.json.encode([spec]))
    child = await asyncio.create_subprocess_exec(sys.executable, supervised.__file__, str(root), str(file), str(heard))
    try:
        await until_true(until, 30)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    try:
        yield
    finally:
        kill_marked([ID])


@pytest.mark.parametrize("heard", [0, 1])
async def test_what_ended_unheard_is_judged_and_not_started_again(tmp_path, heard):
    spec, until = make_ending(failures=heard), lambda: has_noted_the_good_end(tmp_path)
    async with deaf_supervisor(tmp_path, spec, heard, until), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        report = await rig.until_state(State.EXITED)
        assert report.exit_code == 0
        assert rig.reasons() == ["exited", "exited"]
    assert starts(tmp_path) == heard + 1


async def test_a_wish_that_came_after_it_starts_it_again(tmp_path):
    spec, until = make_ending(failures=0), lambda: has_noted_the_good_end(tmp_path)
    async with deaf_supervisor(tmp_path, spec, 0, until), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(rewish(spec))
        await rig.until(lambda: "starting" in rig.reasons())
        await rig.until_state(State.EXITED)
    assert starts(tmp_path) == 2


async def test_what_was_never_asked_for_is_started(tmp_path):
    spec, until = make_ending(failures=0), (tmp_path / f"state/run/{ID}/run.json").exists
    async with deaf_supervisor(tmp_path, spec, -1, until), running_rig(tmp_path) as rig:
        await rig.supervisor.apply(spec)
        await rig.until_state(State.EXITED)
    assert starts(tmp_path) == 1


async def test_an_end_unheard_that_was_none_to_ask_for_leaves_a_capsule_without_made_up_numbers(tmp_path):
    spec, crashes = make_ending(failures=1000), []
    note = tmp_path / f"state/run/{ID}/exit"
    async with (
        deaf_supervisor(tmp_path, spec, 0, lambda: read_note(note, 0) is not None),
        running_rig(tmp_path, on_crash=lambda _id, crash: crashes.append(crash)) as rig,
    ):
        await rig.supervisor.apply(spec)
        await rig.until(lambda: crashes)
    assert (crashes[0].exit_code, crashes[0].pid, crashes[0].parents) == (3, None, ())


async def test_make_stop_ends_what_nobody_heard_of_politely(tmp_path):
    spec = importlib.util.spec_from_file_location("stop_local", ROOT / "packaging/stop_local.py")
    stop_local = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stop_local)
    service = make_spec(argv=(SH, "-c", "trap 'touch polite; exit' TERM; touch up; while :; do sleep 0.01; done"))
    home = tmp_path / "instances" / ID
    async with deaf_supervisor(tmp_path, service, 0, (home / "up").exists):
        journal = tmp_path / "w" / stop_local.JOURNAL
        journal.parent.mkdir(parents=True)
        (tmp_path / "state").rename(journal)
        await stop_local.end_all(tmp_path / "w")
        assert marked_pids(ID) == []
        assert (home / "polite").exists()
