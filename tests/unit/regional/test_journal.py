"""What agents said while the store was away."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Conflict, NotAllowed, SafetyRefusal, StorageFull, Unavailable
from ops_system.regional.journal import FILE, POSITION, REFUSED, Journal
from tests.fakes.clock import FakeClock
from tests.fakes.provision import a_task, begins, completes, ends, tells

CALLS = [begins(a_task()), tells(a_task(), lines=("one",)), completes(a_task()), ends(a_task())]
AT = FakeClock().now()


_open: list[Journal] = []


@pytest.fixture(autouse=True)
def _closing():
    yield
    while _open:
        _open.pop().close()


def opened(folder, **limits):
    journal = Journal(folder, **limits)
    journal.open()
    _open.append(journal)
    return journal


async def told_by(journal):
    told = []

    async def tell(entry):
        told.append(entry.read())

    await journal.replay(tell)
    return told


async def filled(folder, calls=CALLS):
    journal = opened(folder)
    for call in calls:
        await journal.append(call, AT)
    return journal


async def test_events_are_told_in_order_once_and_then_forgotten(tmp_path):
    journal = await filled(tmp_path)
    assert journal.has("sn-001")
    assert len(journal) == 4
    assert await told_by(journal) == CALLS
    assert not journal.has("sn-001")
    assert await told_by(journal) == []
    assert (tmp_path / FILE).read_bytes() == b""
    assert await told_by(opened(tmp_path)) == []


async def test_an_end_without_goodbye_loses_nothing(tmp_path):
    await filled(tmp_path)
    assert await told_by(opened(tmp_path)) == CALLS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(cut=st.integers(1, 60), kept=st.integers(0, 3))
async def test_a_torn_last_line_was_never_answered(tmp_path_factory, cut, kept):
    folder = tmp_path_factory.mktemp("journal")
    await filled(folder, CALLS[: kept + 1])
    lines = (folder / FILE).read_bytes().splitlines(keepends=True)
    (folder / FILE).write_bytes(b"".join(lines[:kept]) + lines[kept][: -min(cut, len(lines[kept]))])
    journal = opened(folder)
    await journal.append(CALLS[3], AT)
    assert await told_by(opened(folder)) == [*CALLS[:kept], CALLS[3]]


async def test_the_store_that_goes_away_again_stops_it_where_it_was(tmp_path):
    journal, told = await filled(tmp_path), []

    async def tell(entry):
        if len(told) == 2:
            raise Unavailable("away")
        told.append(entry.read())

    with pytest.raises(Unavailable):
        await journal.replay(tell)
    assert [*told, *await told_by(journal)] == CALLS


@pytest.mark.parametrize("error", [Conflict("stale", reason="stale_fence"), NotAllowed("cancelled")])
async def test_what_the_store_refuses_is_kept_apart_and_done(tmp_path, error):
    journal = await filled(tmp_path)

    async def tell(_entry):
        raise error

    await journal.replay(tell)
    assert journal.refused == 4
    assert len(journal) == 0
    assert len((tmp_path / REFUSED).read_bytes().splitlines()) == 4


async def test_a_step_told_twice_is_no_refusal(tmp_path):
    journal = await filled(tmp_path, CALLS[:1])

    async def tell(_entry):
        raise NotAllowed("done", reason="step_done")

    await journal.replay(tell)
    assert journal.refused == 0


async def test_a_full_journal_says_so_and_answers_nothing(tmp_path):
    journal = opened(tmp_path, max_bytes=100)
    with pytest.raises(StorageFull):
        await journal.append(CALLS[0], AT)
    assert len(journal) == 0


async def test_a_write_that_fails_leaves_no_half_line(tmp_path, monkeypatch):
    journal = await filled(tmp_path, CALLS[:1])

    def fails(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ops_system.regional.journal.os.fsync", fails)
        with pytest.raises(StorageFull):
            await journal.append(CALLS[1], AT)
    await journal.append(CALLS[2], AT)
    assert await told_by(opened(tmp_path)) == [CALLS[0], CALLS[2]]


async def test_an_old_position_never_skips_new_events(tmp_path):
    await filled(tmp_path)
    (tmp_path / POSITION).write_bytes(b"2")
    assert await told_by(opened(tmp_path)) == CALLS[2:]
    assert await told_by(await filled(tmp_path)) == CALLS


async def test_a_damaged_line_stops_the_start_and_is_named(tmp_path):
    await filled(tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().replace(b'"progress"', b'"progrEss"'))
    with pytest.raises(SafetyRefusal, match="line 2"):
        opened(tmp_path)


async def test_many_agents_at_once_share_a_flush_and_keep_their_order(tmp_path, monkeypatch):
    journal, flushes = opened(tmp_path), []
    flush = os.fsync
    monkeypatch.setattr("ops_system.regional.journal.os.fsync", lambda file: (flushes.append(file), flush(file)))
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(journal.append(tells(a_task(), percent=float(number)), AT))
    assert len(flushes) < 20
    assert [call.percent for call in await told_by(journal)] == [float(number) for number in range(200)]
