import asyncio
import datetime as dt
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.crashes import Crash, CrashParent
from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.manifest import Limits
from ops_system.model.reasons import Reason
from ops_system.processes.crashes import read_own_chain
from ops_system.protocol.frames import MAX_FRAME_BYTES
from ops_system.protocol.logs import LogLine, LogLines
from ops_system.protocol.requests import ListCrashes
from ops_system.runtime.tasks import running
from ops_system.worker.crashes import MAX_LINES, CrashStore, last_lines
from tests.fakes.processes import until_true

ID = InstanceId("i1")


def crash(code: int, **changes) -> Crash:
    fields = {
        "at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
        "exit_code": code,
        "exit_signal": None,
        "reason": Reason("exited", f"exited with code {code}"),
        "oom_killed": False,
        "pid": 10,
        "started_at": None,
        "uptime_s": 1.5,
        "restarts": 0,
        "version": "1.0",
        "generation": 3,
        "limits": Limits(),
    }
    return Crash(**(fields | changes))


class Desk:
    """A store on a folder; its logs are what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = {"stdout": ["out"], "stderr": ["err"]}
        self.is_kept = True
        self.store = CrashStore(folder, self._read, lambda _id: self.is_kept)

    async def _read(self, body):
        if body.name not in self.logs:
            raise NotFound("no such log")
        return LogLines(tuple(LogLine(None, text, 0) for text in self.logs[body.name]), None)

    async def noted(self, *crashes):
        """Note one after the other, each once the one before is on the disk."""
        async with running(self.store.run(), "crashes"):
            for one in crashes:
                before = await self.codes()
                self.store.note(ID, one)
                async with asyncio.timeout(30):
                    while await self.codes() == before:  # noqa: ASYNC110 - written by a thread
                        await asyncio.sleep(0.005)

    async def codes(self):
        return [one.exit_code for one in (await self.store.list_crashes(ListCrashes(ID))).items]


async def test_the_last_five_are_kept_with_their_output_also_by_the_next_worker(tmp_path):
    await Desk(tmp_path).noted(*(crash(code) for code in range(1, 8)))
    kept = (await Desk(tmp_path).store.list_crashes(ListCrashes(ID))).items
    assert [one.exit_code for one in kept] == [7, 6, 5, 4, 3]
    assert [(line.stream, line.text) for line in kept[0].lines] == [("stdout", "out"), ("stderr", "err")]


async def test_ends_that_come_too_fast_are_counted_down_to_the_newest(tmp_path):
    desk = Desk(tmp_path)
    for code in range(100):
        desk.store.note(ID, crash(code))
    async with running(desk.store.run(), "crashes"):
        await until_true((tmp_path / f"{ID}.json").exists)
    assert await desk.codes() == [99, 98, 97, 96, 95]


async def test_a_removed_instance_leaves_nothing_and_logs_may_be_missing(tmp_path):
    desk = Desk(tmp_path)
    del desk.logs["stderr"]
    await desk.noted(crash(1))
    desk.store.forget(ID)
    desk.store.forget(ID)
    assert list(tmp_path.iterdir()) == []
    assert await desk.codes() == []


async def test_what_is_on_its_way_out_is_not_written_again(tmp_path):
    desk = Desk(tmp_path)
    desk.is_kept = False
    async with running(desk.store.run(), "crashes"):
        desk.store.note(ID, crash(1))
        await until_true(lambda: not desk.store._waiting)
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_file_and_names_from_outside_do_no_harm(tmp_path):
    (tmp_path / f"{ID}.json").write_text("{broken")
    desk = Desk(tmp_path)
    assert await desk.codes() == []
    await desk.noted(crash(2))
    assert await desk.codes() == [2]
    (tmp_path.parent / "x.json").write_text("[]")
    for name in ("../x", "..", "", "/etc/passwd", "a/b"):
        assert (await desk.store.list_crashes(ListCrashes(InstanceId(name)))).items == ()


async def test_the_chain_above_takes_the_place_of_the_bare_number(tmp_path):
    chain = read_own_chain()
    desk = Desk(tmp_path)
    await desk.noted(crash(1, parents=(CrashParent(5, "keeper"), CrashParent(chain[0].pid, ""))))
    await desk.noted(crash(2, parents=(CrashParent(5, "keeper"),)))
    adopted, started = (await desk.store.list_crashes(ListCrashes(ID))).items
    assert started.parents == (CrashParent(5, "keeper"), *chain)
    assert adopted.parents == (CrashParent(5, "keeper"),)


@given(st.lists(st.text(max_size=5000), max_size=300), st.lists(st.text(max_size=50), max_size=300))
def test_five_capsules_fit_one_frame_and_neither_stream_crowds_the_other_out(stdout, stderr):
    lines = last_lines(stdout, stderr)
    assert len(lines) <= MAX_LINES
    assert 5 * sum(len(line.text.encode(errors="replace")) + 30 for line in lines) < MAX_FRAME_BYTES
    assert [line.text for line in lines if line.stream == "stderr"] == stderr[-max(100, 200 - len(stdout)) :]
