import os
import shutil

import pytest

from ops_system.model.errors import Invalid
from ops_system.model.instances import HealthState, InstanceEvent, State
from ops_system.model.stamps import from_ms
from ops_system.processes import journal as journal_module
from ops_system.processes.base import Identity
from ops_system.processes.journal import TRIM_RECORD_BYTES, EventJournal, RunRecord, RunStore
from tests.fakes.processes import make_spec


def event(instance_id="i1"):
    return InstanceEvent(0, instance_id, 1, from_ms(0), "state", State.RUNNING, HealthState.HEALTHY)


def seqs(journal, **options):
    return [item.seq for item in journal.pending(**options)]


def test_numbers_rise_across_restarts_and_acknowledged_events_stay_gone(tmp_path):
    journal = EventJournal(tmp_path, "boot")
    assert [journal.append(event()).seq for _ in range(3)] == [1, 2, 3]
    journal.ack(2)
    journal.close()
    journal = EventJournal(tmp_path, "boot")
    assert seqs(journal) == [3]
    assert journal.append(event()).seq == 4
    assert seqs(journal, after_seq=3) == [4]
    assert seqs(journal, limit=1) == [3]
    journal.close()


def test_dying_without_closing_loses_nothing(tmp_path):
    journal = EventJournal(tmp_path, "boot")
    journal.append(event())
    assert seqs(EventJournal(tmp_path, "boot")) == [1]


def test_after_a_power_cut_no_number_is_used_twice(tmp_path):
    journal = EventJournal(tmp_path, "boot")
    for _ in range(3):
        journal.append(event())
    (tmp_path / "events.jsonl").write_bytes((tmp_path / "events.jsonl").read_bytes()[:-20])
    journal = EventJournal(tmp_path, "another boot")
    assert seqs(journal) == [1, 2]
    assert journal.append(event()).seq > 3


def test_the_file_is_trimmed(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "TRIM_BYTES", 1000)
    journal = EventJournal(tmp_path, "boot")
    for _ in range(50):
        journal.append(event())
    large = (tmp_path / "events.jsonl").stat().st_size
    journal.ack(49)
    assert (tmp_path / "events.jsonl").stat().st_size < large / 10
    assert journal.append(event()).seq == 51
    assert seqs(EventJournal(tmp_path, "boot")) == [50, 51]


def test_too_many_are_dropped_oldest_first_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_EVENTS", 3)
    journal = EventJournal(tmp_path, "boot")
    for _ in range(5):
        journal.append(event())
    assert seqs(journal) == [3, 4, 5]
    assert journal.dropped == 2


def test_records_come_back_and_a_torn_one_is_put_aside(tmp_path):
    store = RunStore(tmp_path)
    record = RunRecord(make_spec("i1"), "boot", 3, Identity("boot", 10, 99), state=State.RUNNING)
    store.save(record)
    store.save(RunRecord(make_spec("i2"), "boot"))
    torn = tmp_path / "run/i2/run.json"
    torn.write_bytes(torn.read_bytes()[:30])
    assert store.load_all() == {"i1": record}
    assert torn.with_name("run.json.damaged").exists()
    store.remove("i1")
    assert store.load_all() == {}


def test_a_record_cut_by_a_full_disk_leaves_the_old_one_and_harms_no_later_one(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    record = RunRecord(make_spec("i1"), "boot")
    store.save(record)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr("os.write", lambda fd, data: write(fd, data[: len(data) // 2]))
        with pytest.raises(OSError, match="No space"):
            store.save(RunRecord(make_spec("i1"), "another"))
    assert store.load_all() == {"i1": record}
    store.save(RunRecord(make_spec("i1"), "third"))
    assert store.load_all()["i1"].boot_id == "third"


def test_records_do_not_pile_up_and_a_removed_folder_comes_back(tmp_path):
    store = RunStore(tmp_path)
    path = tmp_path / "run/i1/run.json"
    for number in range(400):
        store.save(RunRecord(make_spec("i1"), "boot", number))
        assert path.stat().st_size < TRIM_RECORD_BYTES + 4096
    assert store.load_all()["i1"].number == 399
    shutil.rmtree(tmp_path / "run")
    store.save(RunRecord(make_spec("i1"), "boot", 400))
    assert store.load_all()["i1"].number == 400


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\\b"])
def test_an_id_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(Invalid):
        RunStore(tmp_path).run_dir(name)
