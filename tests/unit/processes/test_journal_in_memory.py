import asyncio
import contextlib
import sys

import pytest

from ops_system.model.instances import HealthState, InstanceEvent, State
from ops_system.model.stamps import from_ms
from ops_system.processes import journal as journal_module
from ops_system.processes.early import EarlyLines
from ops_system.processes.journal import TRIM_IN_MEMORY_BYTES, EventJournal, RunRecord, RunStore
from ops_system.runtime.tasks import running
from tests.fakes.processes import make_spec, until_true

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="only Linux keeps notes in memory")


@pytest.fixture
def memory(tmp_path):
    folder = tmp_path / "memory"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(journal_module, "FLUSH_AFTER_S", 0)
    monkeypatch.setattr(journal_module, "RETRY_AFTER_S", 0)


class FullDisk:
    """Refuses what the journal writes to the disk, for as long as `is_full`."""

    def __init__(self, monkeypatch) -> None:
        self.is_full = True
        monkeypatch.setattr(journal_module, "write_atomic", self._guard(journal_module.write_atomic))
        monkeypatch.setattr(EventJournal, "_append_lines", self._refuse_lines(EventJournal._append_lines))

    def _guard(self, real):
        def write_atomic(path, data):
            if self.is_full:
                raise OSError(28, "No space left on device")
            real(path, data)

        return write_atomic

    def _refuse_lines(self, real):
        return lambda journal, lines: not self.is_full and real(journal, lines)


def make(tmp_path, memory, boot_id="boot"):
    return EventJournal(tmp_path / "state", boot_id, EarlyLines(memory))


def event():
    return InstanceEvent(0, "i1", 1, from_ms(0), "state", State.RUNNING, HealthState.HEALTHY)


def on_disk(tmp_path):
    return (tmp_path / "state/events.jsonl").read_text().count("\n")


def in_memory(memory):
    return sum((memory / f"events.{number}").stat().st_size for number in range(2))


def seqs(journal):
    return [item.seq for item in journal.pending()]


def test_dying_before_anything_is_on_the_disk_loses_nothing(tmp_path, memory):
    journal = make(tmp_path, memory)
    for _ in range(3):
        journal.append(event())
    assert on_disk(tmp_path) == 0
    again = make(tmp_path, memory)
    assert seqs(again) == [1, 2, 3]
    assert on_disk(tmp_path) == 3
    assert in_memory(memory) == 0


async def test_events_reach_the_disk_and_leave_memory(tmp_path, memory):
    journal = make(tmp_path, memory)
    async with running(journal.run(), "journal"):
        for number in range(1, 4):
            journal.append(event())
            await until_true(lambda number=number: on_disk(tmp_path) == number)
        await until_true(lambda: in_memory(memory) == 0)
    journal.close()
    assert seqs(make(tmp_path, memory)) == [1, 2, 3]


def test_closing_brings_everything_to_the_disk(tmp_path, memory):
    journal = make(tmp_path, memory)
    journal.append(event())
    journal.close()
    assert (on_disk(tmp_path), in_memory(memory)) == (1, 0)


async def test_dying_between_the_disk_and_memory_tells_nothing_twice(tmp_path, memory):
    journal = make(tmp_path, memory)
    journal.append(event())
    journal.append(event())
    kept = (memory / "events.0").read_bytes()
    journal.close()
    (memory / "events.0").write_bytes(kept)
    assert seqs(make(tmp_path, memory)) == [1, 2]


async def test_a_full_disk_keeps_events_in_memory_and_is_tried_again(tmp_path, memory, monkeypatch, caplog):
    journal = make(tmp_path, memory)
    disk = FullDisk(monkeypatch)
    async with running(journal.run(), "journal"):
        journal.append(event())
        await until_true(lambda: "free disk space" in caplog.text)
        assert in_memory(memory) > 0
        disk.is_full = False
        await until_true(lambda: on_disk(tmp_path) == 1)
        await until_true(lambda: in_memory(memory) == 0)
    journal.close()


@pytest.mark.parametrize("is_running", [True, False])
async def test_no_number_is_told_that_a_power_cut_could_give_again(tmp_path, memory, is_running):
    journal = make(tmp_path, memory)
    async with contextlib.AsyncExitStack() as stack:
        if is_running:
            await stack.enter_async_context(running(journal.run(), "journal"))
        for _ in range(1500):
            last = journal.append(event())
            await asyncio.sleep(0)
    for number in range(2):
        (memory / f"events.{number}").write_bytes(b"")
    (tmp_path / "state/events.jsonl").write_bytes(b"")
    assert make(tmp_path, memory, "another boot").append(event()).seq > last.seq


async def test_the_file_is_trimmed_once_the_master_has_its_events(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(journal_module, "TRIM_BYTES", 1000)
    journal = make(tmp_path, memory)
    async with running(journal.run(), "journal"):
        for _ in range(50):
            journal.append(event())
        await until_true(lambda: on_disk(tmp_path) == 50)
        journal.ack(49)
        await until_true(lambda: on_disk(tmp_path) == 1)
    journal.close()
    assert seqs(make(tmp_path, memory)) == [50]


def test_records_in_memory_are_trimmed_early(tmp_path):
    store = RunStore(tmp_path, is_in_memory=True)
    for number in range(200):
        store.save(RunRecord(make_spec("i1"), "boot", number))
    assert (tmp_path / "run/i1/run.json").stat().st_size <= TRIM_IN_MEMORY_BYTES
    assert store.load_all()["i1"].number == 199


def test_a_folder_is_of_this_boot_when_a_record_is_or_cannot_be_read(tmp_path):
    store = RunStore(tmp_path)
    assert not store.is_of_boot("boot")
    store.save(RunRecord(make_spec("i1"), "another boot"))
    assert not store.is_of_boot("boot")
    store.save(RunRecord(make_spec("i2"), "boot"))
    assert store.is_of_boot("boot")
    assert RunStore(tmp_path).is_of_boot("another boot")
    store.run_dir("i2").joinpath("run.json").write_bytes(b"torn")
    assert store.is_of_boot("boot")
