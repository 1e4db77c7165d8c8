"""Files of history: what comes back after a restart, where tiers meet, what damage and full disks do."""

import asyncio
import errno
import math
import os
import random
import struct
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.bus import Bus
from ops_system.master.metrics import service as service_module
from ops_system.master.metrics import store as store_module
from ops_system.master.metrics.history import History
from ops_system.master.metrics.rules import MetricsQuery
from ops_system.master.metrics.segments import (
    Damaged,
    encode_header,
    encode_names,
    encode_rows,
    expand,
    scan,
    squeeze,
)
from ops_system.master.metrics.service import PIECE, MetricsBook
from ops_system.master.metrics.store import SegmentStore
from ops_system.master.metrics.tiers import COARSE, FINE, WIDE, Batch, Group, group_names, read_rows, roll_up
from ops_system.master.nodes.events import NodeRemoved
from ops_system.model.errors import StorageFull
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.protocol.frames import Sample
from ops_system.runtime.tasks import running
from tests.fakes.clock import FakeClock

NODE, WEB = NodeId("n1"), InstanceId("i1")
START = 1_769_860_800  # the fake clock's first second; a whole two hours
VALUES = st.floats(-1e6, 1e6, width=32)
NAN = float("nan")


class Rig:
    """A book on files; `restart` makes a new one on the same files."""

    def __init__(self, root: Path, budget_bytes=10**9) -> None:
        self.root, self.budget_bytes = root, budget_bytes
        self.clock, self.book = FakeClock(), None
        self.restart()

    def restart(self, *, is_killed=False) -> None:
        if self.book is not None and not is_killed:
            self.book.save_rest()
        self.bus = Bus()
        self.history = History(self.root, budget_bytes=self.budget_bytes)
        self.book = MetricsBook(self.bus, self.clock, budget_bytes=10**8, history=self.history)

    async def live(self, seconds, value=lambda at: float(at % 60), step_s=1):
        """Let a node send for so long, with one turn of the book each minute."""
        for at in range(0, seconds, step_s):
            now_s = self.clock.now().timestamp()
            row = (value(int(now_s)), *[1.0] * (len(NODE_SERIES) - 1))
            self.book.ingest(NODE, Sample(now_s, row, {"disk:/:used_percent": 5.0}, {WEB: (2.0, 3.0, 4.0)}))
            self.clock.advance(step_s)
            if (at + step_s) % 60 == 0:
                await self.turn()

    async def turn(self):
        for _ in range(3):
            await self.book._tend(0.0)

    async def points(self, series="cpu_percent", *, subject="node:n1", back_s=0, length_s, step_s):
        to_s = self.clock.now().timestamp() - back_s
        return await self.book.history(subject, series, to_s - length_s, to_s, step_s)

    def files(self, subject="node-n1"):
        return sorted(path.name for path in (self.root / subject).iterdir())


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path / "metrics")


# --- codec ----------------------------------------------------------------------------------------------------------
def segment(*, rows=6, names=("a", "b"), step_s=10):
    columns = array("f", range(2 * rows * len(names)))
    return encode_header(step_s, 0) + encode_names(0, names) + encode_rows(0, (len(names), 0), columns)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=20),
        min_size=1,
        unique=True,
    ),
    st.integers(1, 30),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.data(),
)
def test_what_is_written_is_read(names, rows, first, is_squeezed, data):
    size = 2 * rows * len(names)
    columns = array("f", data.draw(st.lists(VALUES, min_size=size, max_size=size)))
    raw = encode_header(10, 0) + encode_names(3, names)
    raw += encode_rows(3, (len(names), first), columns, is_squeezed=is_squeezed)
    found = scan(raw, 10)
    [block] = found.blocks
    assert (found.good_bytes, found.is_damaged) == (len(raw), False)
    assert (block.names, block.first, block.rows) == (tuple(names), first, rows)
    values = block.values()
    assert values == columns if not is_squeezed else list(values) == pytest.approx(list(columns), rel=2**-15)


@given(st.integers(0, 500))
def test_a_cut_segment_is_torn_and_never_damaged(cut):
    raw = segment()
    found = scan(raw[: max(0, len(raw) - cut)], 10)
    assert not found.is_damaged
    assert len(found.blocks) == (1 if cut == 0 else 0)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(noise):
    for raw in (noise, encode_header(10, 0) + noise, segment() + noise):
        try:
            scan(raw, 10)
        except Damaged:
            continue


@given(st.integers(16, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_found(place, change):
    raw = bytearray(segment() + segment()[16:])
    place = 16 + place % (len(raw) - 16)
    raw[place] ^= change
    found = scan(bytes(raw), 10)
    assert found.good_bytes < len(raw)
    assert len(found.blocks) < 2


def test_a_row_of_zeros_at_the_end_is_a_write_that_did_not_reach_the_disk():
    found = scan(segment() + bytes(4096), 10)
    assert (len(found.blocks), found.is_damaged, found.good_bytes) == (1, False, len(segment()))


def test_another_step_or_version_is_no_segment_of_ours():
    with pytest.raises(Damaged):
        scan(segment(step_s=60), 10)
    with pytest.raises(Damaged):
        scan(struct.pack("<4sHHq", b"OPSM", 2, 10, 0), 10)


def test_a_bomb_is_not_unpacked():
    with pytest.raises(Damaged, match="holds"):
        expand(squeeze(array("f", [0.0]) * 1_000_000), 10)
    with pytest.raises(Damaged, match="unpacked"):
        expand(b"nonsense", 10)


# --- rows -----------------------------------------------------------------------------------------------------------
@given(st.lists(st.one_of(VALUES, st.just(NAN)), min_size=12, max_size=120))
def test_minutes_are_means_and_largest_of_their_ten_seconds(values):
    values = values[: len(values) // 6 * 6]
    columns = array("f", values + values)
    raw = encode_header(10, 0) + encode_names(0, ["a"]) + encode_rows(0, (1, 0), columns)
    batch = dict(roll_up(scan(raw, 10).blocks, 0))[COARSE]
    assert batch.groups[0].names == ("a",)
    minutes = batch.groups[0].columns
    assert len(minutes) == 2 * 120
    for minute in range(len(values) // 6):
        known = [one for one in columns[minute * 6 : minute * 6 + 6] if not math.isnan(one)]
        assert minutes[minute] == pytest.approx(
            sum(known) / len(known) if known else NAN, rel=1e-5, abs=1e-2, nan_ok=True
        )
        assert minutes[120 + minute] == pytest.approx(max(known, default=NAN), nan_ok=True)


def test_a_later_block_wins_and_the_names_may_change():
    raw = encode_header(10, 0) + encode_names(0, ["a"]) + encode_rows(0, (1, 0), array("f", [1, 2, 1, 2]))
    raw += encode_names(0, ["b", "a"]) + encode_rows(0, (2, 1), array("f", [7, 8, 7, 8, 5, 6, 5, 6]))
    rows = read_rows(scan(raw, 10).blocks, ["a", "b", "c"], 10, 0, 4)
    assert [str(one) for one in rows["a"].means] == ["1.0", "5.0", "6.0", "nan"]
    assert [str(one) for one in rows["b"].tops] == ["nan", "7.0", "8.0", "nan"]
    assert "c" not in rows


def test_series_are_packed_by_group():
    extra = [f"net:eth{number:03}:rx_bytes_per_s" for number in range(70)]
    groups = group_names([*extra, "load1", "cpu_percent"])
    assert groups[0] == ("cpu_percent", "load1")
    assert [len(group) for group in groups] == [2, 32, 32, 6]


# --- the book on files ----------------------------------------------------------------------------------------------
async def test_a_restart_keeps_history_and_a_gap_stays_a_gap(rig):
    await rig.live(1800)
    rig.restart()
    rig.clock.advance(600)
    await rig.live(300)
    points = await rig.points(length_s=2700, step_s=60)
    starts = [at for at, _, _ in points]
    gap = range(START + 1800, START + 2400)
    assert starts == [at for at in range(START, START + 2700, 60) if at not in gap]
    for at, mean, top in points:
        assert (mean, top) == (29.5, 59.0), at
    assert await rig.points("disk:/:used_percent", length_s=2700, step_s=600)
    assert await rig.points("mem_bytes", subject="instance:i1", length_s=2700, step_s=600)
    assert not await rig.points("processes", subject="instance:i1", back_s=400, length_s=2000, step_s=600)


async def test_a_silent_node_is_drawn_from_files_alone(rig):
    await rig.live(120)
    rig.restart()
    found = await rig.book.ask_node(NODE, MetricsQuery(series="cpu_percent,disk:*"))
    assert set(found.series) == {"cpu_percent", "disk:/:used_percent"}
    assert [at for at, _, _ in found.series["cpu_percent"]] == list(range(START, START + 120, 10))
    assert "disk:/:used_percent" in found.names
    nobody = await rig.book.ask_node(NodeId("n2"), MetricsQuery())
    assert not any(nobody.series.values())
    assert nobody.names == []


async def test_days_are_kept_in_minutes_and_hours_in_ten_seconds(rig):
    for _ in range(26):
        await rig.live(3600, step_s=10)
    now = START + 26 * 3600
    assert sum(name.startswith("10s") for name in rig.files()) == FINE.keep
    day = await rig.points(length_s=26 * 3600, step_s=60)
    assert len(day) == 26 * 60
    assert {round(mean, 2) for _, mean, _ in day} == {25.0}
    for step_s in (900, 3600):
        wide = await rig.points(length_s=26 * 3600, step_s=step_s)
        assert [at for at, _, _ in wide] == list(range(START, START + 26 * 3600, step_s))
        assert {(round(mean, 2), top) for _, mean, top in wide} == {(25.0, 50.0)}
    (rig.root / "node-n1" / f"15m-{START // WIDE.segment_s * WIDE.segment_s}.seg").read_bytes()
    fine = await rig.points(length_s=26 * 3600, step_s=10)
    in_ten = [at for at, _, _ in fine if at % 60]
    assert min(in_ten) <= now - 6 * 3600
    assert [at for at, _, _ in fine] == sorted({at for at, _, _ in fine})
    assert min(at for at, _, _ in fine) == START
    rig.restart()
    assert len(await rig.points(length_s=26 * 3600, step_s=60)) == 26 * 60


async def test_old_days_go_by_number_and_the_budget_takes_the_oldest(rig):
    store = SegmentStore(rig.root)
    for day in range(12):
        group = Group(0, ("cpu_percent",), array("f", [1.0] * 1440))
        store._append("node:n1", COARSE, Batch((START + day * 86_400) // 60, [group]))
    days = sorted(int(name[3:-4]) for name in rig.files())
    assert len(days) == COARSE.keep
    assert max(days) == (START + 11 * 86_400) // 86_400 * 86_400
    used = store.trim(10**9, lambda _subject: True)
    left = store.trim(used // 2, lambda _subject: True)
    assert 0 < left <= used // 2
    assert sorted(int(name[3:-4]) for name in rig.files()) == days[-len(rig.files()) :]
    assert store.trim(10**9, lambda _subject: False) == 0
    assert not (rig.root / "node-n1").exists()


async def test_a_removed_node_takes_its_files_and_its_instances_with_it(rig):
    await rig.live(120)
    assert rig.files()
    assert rig.files("instance-i1")
    rig.bus.publish(NodeRemoved(NODE))
    await rig.turn()
    assert list(rig.root.iterdir()) == []


async def test_a_large_fleet_is_written_in_small_pieces(rig, monkeypatch):
    monkeypatch.setattr(service_module, "SWEEP_TURNS", 1)
    sizes, save = [], rig.history.save

    async def count(cuts):
        sizes.append(len(cuts))
        return await save(cuts)

    monkeypatch.setattr(rig.history, "save", count)
    for _ in range(11):
        for number in range(25):
            rig.book.ingest(NodeId(f"m{number}"), Sample(rig.clock.now().timestamp(), (1.0,) * len(NODE_SERIES)))
        rig.clock.advance(1)
    await rig.book._tend(0.0)
    assert sizes == [PIECE, PIECE, 25 - 2 * PIECE]
    assert len(list(rig.root.iterdir())) == 25


async def test_the_end_of_the_process_writes_what_is_left(rig):
    await rig.live(50)
    async with running(rig.book.run(), "metrics"):
        await asyncio.sleep(0)
    rig.restart(is_killed=True)
    assert len(await rig.points(length_s=50, step_s=10)) == 5


# --- trouble --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cut", [1, 30, 200])
async def test_a_torn_end_is_cut_and_writing_goes_on(rig, cut):
    await rig.live(300)
    rig.book.save_rest()
    [path] = (rig.root / "node-n1").iterdir()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    rig.restart(is_killed=True)
    await rig.live(300)
    rig.restart()
    starts = {at for at, _, _ in await rig.points(length_s=600, step_s=10)}
    lost = set(range(START, START + 600, 10)) - starts
    assert lost <= set(range(START + 220, START + 300, 10))
    assert bool(lost) is (cut == 200)
    assert rig.history.damaged_files == 0


async def test_a_file_that_somebody_cut_while_the_master_ran_is_gone_on_with(rig):
    await rig.live(120)
    [path] = (rig.root / "node-n1").iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    await rig.live(60)
    path.unlink()
    await rig.live(60)
    rig.restart()
    assert [at for at, _, _ in await rig.points(length_s=240, step_s=60)] == [START + 120, START + 180]


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64], ids=["header", "block"])
async def test_a_damaged_file_is_set_aside_and_its_sound_part_kept(rig, damage, caplog):
    await rig.live(300)
    [path] = (rig.root / "node-n1").iterdir()
    raw = bytearray(path.read_bytes())
    if damage:
        raw[len(raw) // 2 : len(raw) // 2 + len(damage)] = damage
    else:
        raw[:4] = b"ELSE"
    path.write_bytes(raw)
    rig.restart(is_killed=True)
    before = await rig.points(length_s=300, step_s=60)
    assert len(before) == (2 if damage else 0)
    await rig.live(60)
    assert path.with_name(path.name + ".damaged").read_bytes() == raw
    assert path.name in caplog.text
    assert rig.history.damaged_files == 1
    after = await rig.points(length_s=360, step_s=60)
    assert [at for at, _, _ in after] == [at for at, _, _ in before] + [START + 300]


async def test_a_full_disk_stops_history_and_nothing_else(rig, monkeypatch):
    await rig.live(120)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write_whole", fail_half)
        await rig.live(300)
        with pytest.raises(StorageFull, match="No space left"):
            await rig.history.check()
        assert len(await rig.points(length_s=420, step_s=60)) == 7
    await rig.live(60)
    await rig.history.check()
    rig.restart()
    assert len(await rig.points(length_s=480, step_s=60)) == 8


def fail_half(descriptor, data):
    os.write(descriptor, data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_minutes_that_found_no_room_are_written_later(rig, monkeypatch):
    await rig.live(3600, step_s=10)
    rig.clock.advance(3600)
    real = SegmentStore._roll_up

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SegmentStore, "_roll_up", fail)
    await rig.live(60, step_s=10)
    assert rig.history.problem
    monkeypatch.setattr(SegmentStore, "_roll_up", real)
    await rig.live(60, step_s=10)
    assert not rig.history.problem
    assert any(name.startswith("1m") for name in rig.files())


@pytest.mark.parametrize("jump_s", [3 * 86_400, -3 * 86_400])
async def test_a_clock_that_jumps_and_comes_back_loses_no_history(rig, jump_s):
    await rig.live(3600, step_s=10)
    rig.clock.jump(jump_s)
    await rig.live(600, step_s=10)
    assert len(await rig.points(length_s=600, step_s=60)) == 10
    rig.clock.jump(-jump_s)
    await rig.live(3600, step_s=10)
    rig.restart()
    points = await rig.points(length_s=7800, step_s=60)
    starts = {at for at, _, _ in points}
    assert set(range(START, START + 3600, 60)) <= starts
    assert set(range(START + 4200, START + 7800, 60)) <= starts


async def test_ids_that_name_no_folder_are_not_kept(rig):
    rig.book.ingest(NodeId("../evil"), Sample(rig.clock.now().timestamp(), (1.0,)))
    rig.clock.advance(30)
    rig.book.ingest(NodeId("../evil"), Sample(rig.clock.now().timestamp(), (1.0,)))
    await rig.turn()
    assert not rig.root.exists()
    assert await rig.points(subject="node:../evil", length_s=10**9, step_s=60) is not None


async def test_a_hundred_years_are_asked_for_at_no_cost(rig):
    await rig.live(120)
    found = await rig.book.ask_node(NODE, MetricsQuery(from_s=0, to_s=3_200_000_000))
    assert found.step_s == 86_400
    assert len(found.series["cpu_percent"]) == 1


def test_a_reader_beside_the_writer_never_sees_damage(tmp_path):
    store = SegmentStore(tmp_path)
    dice = random.Random(1)
    for tick in range(50):
        values = array("f", [dice.random() for _ in range(32)])
        store.append("node:n1", Batch(START // 10 + tick, [Group(0, tuple("abcdefghijklmnop"), values)]))
        [found] = store.segments("node:n1", FINE)
        raw = found.path.read_bytes()
        for cut in range(max(16, len(raw) - 180), len(raw)):
            assert not scan(raw[:cut], 10).is_damaged


def test_a_clock_set_back_writes_beside_newer_files_and_keeps_its_own(tmp_path):
    store = SegmentStore(tmp_path)
    for back_s in (0, -7200, -14_400, -21_600, 3 * 86_400):
        group = Group(0, ("cpu_percent",), array("f", [1.0, 1.0]))
        store.append("node:n1", Batch((START - back_s) // 10, [group]))
    starts = [segment.start_s for segment in store.segments("node:n1", FINE)]
    assert starts[0] == START - 3 * 86_400
    assert len(starts) == FINE.keep + 1


def test_what_found_no_room_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    store = SegmentStore(tmp_path)
    group = Group(0, ("cpu_percent",), array("f", [1.0, 1.0]))
    store.append("node:n1", Batch(START // 10, [group]))
    [found] = store.segments("node:n1", FINE)
    before = found.path.read_bytes()
    monkeypatch.setattr(store_module, "_write_whole", fail_half)
    with pytest.raises(OSError, match="No space left"):
        store.append("node:n1", Batch(START // 10 + 1, [group]))
    assert found.path.read_bytes() == before
