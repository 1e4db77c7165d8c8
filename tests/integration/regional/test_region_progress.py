"""What many machines tell goes to the store together, and none of it is lost."""

import asyncio

import pytest
from msgspec.structs import replace

from ops_system.kv.base import RangeRequest
from ops_system.kv.embedded import Embedded
from ops_system.kv.follow import list_all
from ops_system.model.errors import Conflict, NotAllowed, TimedOut, Unavailable
from ops_system.model.tasks import TaskStatus
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall
from ops_system.provision.agents import AgentBook
from ops_system.provision.keys import machines_prefix, region_key
from ops_system.regional import progress
from ops_system.regional.fenced import Fenced
from ops_system.regional.mirror import Mirror
from ops_system.regional.progress import CallBatches
from ops_system.regional.timely import Timely
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running
from tests.fakes.provision import a_task

IDC, COUNT = "dc1", 100
NAMES = [f"sn-{number:03d}" for number in range(COUNT)]


@pytest.fixture
async def store(tmp_path):
    engine = await Embedded.open(tmp_path / "store.db", SystemClock())
    async with running(engine.run(), "store"):
        yield engine
    await engine.close()


@pytest.fixture
async def book(store):
    book = AgentBook(store, SystemClock())
    for sn in NAMES:
        await book.create(replace(a_task(sn), status=TaskStatus.INSTALLING))
    return book


@pytest.fixture
async def mirror(store, book):
    mirror, listed = Mirror(IDC), await list_all(store, machines_prefix(IDC))
    mirror.replace_all(listed.revision, listed.kvs)
    return mirror


@pytest.fixture
async def together(store, book, mirror):
    together = CallBatches(store, mirror, SystemClock(), lambda call: alone(book, call))
    async with running(together.run(), "progress"):
        yield together


async def alone(book, call):
    calls = {BeginCall: book.begin, ProgressCall: book.progress, InstallCompleteCall: book.finish}
    await calls[type(call)](IDC, call)


def says(sn, percent, **changes):
    facts = {"sn": sn, "task_id": a_task(sn).task_id, "step": "write", "percent": percent, "fence": 0} | changes
    return ProgressCall(**facts)


async def all_say(together, percent):
    async with asyncio.TaskGroup() as group:
        for sn in NAMES:
            group.create_task(together.tell(says(sn, percent, lines=(f"at {percent:.0f}",))))


async def test_many_updates_need_few_transactions_and_all_are_there(book, together):
    for percent in (10.0, 20.0, 30.0):
        await all_say(together, percent)
    assert together.transactions <= 12
    tasks = await book.list_idc(IDC)
    assert [(task.progress[0].percent, task.logs) for task in tasks] == [(30.0, ("at 10", "at 20", "at 30"))] * COUNT


async def test_an_update_that_others_overtook_is_done_by_itself_and_spoils_no_other(book, together):
    await book.change(IDC, NAMES[7], lambda task: replace(task, is_cancel_asked=True))
    await all_say(together, 50.0)
    tasks = {task.sn: task for task in await book.list_idc(IDC)}
    assert tasks[NAMES[7]].is_cancel_asked
    assert all(task.progress[0].percent == 50.0 for task in tasks.values())


def steps_of(sn):
    yield BeginCall(sn, a_task(sn).task_id, 0, "write", (), is_destructive=True)
    yield says(sn, 100.0)
    yield CompleteCall(sn, "write", success=True, fence=0)
    yield InstallCompleteCall(sn, "completed", fence=0)


async def test_whole_installations_side_by_side_need_few_transactions(book, together):
    async def install(sn):
        for call in steps_of(sn):
            await together.tell(call)

    async with asyncio.TaskGroup() as group:
        for sn in NAMES:
            group.create_task(install(sn))
    assert together.transactions <= 16, "100 writes of one key, and 100 ends of three keys each"
    tasks = await book.list_idc(IDC)
    assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
    assert all([intent.done_at is not None for intent in task.intents] == [True] for task in tasks)
    assert {server.status for server in (await book.servers(IDC)).values()} == {TaskStatus.COMPLETED}


async def test_an_intent_that_is_said_again_is_answered_by_the_store(book, together):
    begin = next(steps_of(NAMES[0]))
    await together.tell(begin)
    await book.change(IDC, NAMES[0], lambda task: replace(task, is_cancel_asked=True))
    with pytest.raises(NotAllowed) as caught:
        await together.tell(begin)
    assert caught.value.details["reason"] == "cancel_asked"


async def test_a_stale_fence_is_refused_alone(book, together):
    async with asyncio.TaskGroup() as group:
        good = [group.create_task(together.tell(says(sn, 5.0))) for sn in NAMES[1:20]]
        with pytest.raises(Conflict) as caught:
            await together.tell(says(NAMES[0], 5.0, fence=9))
    assert caught.value.details["reason"] == "stale_fence"
    assert all(task.result() is None for task in good)
    assert (await book.get(IDC, NAMES[0])).progress == ()


async def test_who_does_not_lead_any_more_writes_nothing(store, book, mirror):
    fenced = Fenced(store, region_key(IDC, "active"), lambda: b"mine")
    together = CallBatches(
        fenced, mirror, SystemClock(), lambda call: AgentBook(fenced, SystemClock()).progress(IDC, call)
    )
    before = (await store.range(RangeRequest(machines_prefix(IDC)))).revision
    async with running(together.run(), "progress"):
        with pytest.raises(Unavailable) as caught:
            await together.tell(says(NAMES[0], 5.0))
    assert caught.value.details["reason"] == "not_active"
    assert (await store.range(RangeRequest(machines_prefix(IDC)))).revision == before


class Slow:
    """The store, each of whose transactions takes its time."""

    def __init__(self, store, takes_s):
        self._store, self.takes_s = store, takes_s
        self.asked = 0

    async def txn(self, request):
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        return await self._store.txn(request)


async def test_a_long_queue_is_no_store_that_is_away(store, book, mirror, monkeypatch):
    monkeypatch.setattr(progress, "MAX_TOGETHER", 5)
    slow = Slow(store, 0.1)
    together = CallBatches(Timely(slow, 0.5), mirror, SystemClock(), lambda call: alone(book, call))
    async with running(together.run(), "progress"):
        await all_say(together, 40.0)  # the last of them waits for two seconds
    assert slow.asked == COUNT // 5
    assert all(task.progress[0].percent == 40.0 for task in await book.list_idc(IDC))


async def test_who_waits_behind_a_store_that_is_away_is_told_at_once(store, book, mirror, monkeypatch):
    monkeypatch.setattr(progress, "MAX_TOGETHER", 5)
    slow = Slow(store, 1000.0)
    together = CallBatches(Timely(slow, 0.2), mirror, SystemClock(), lambda call: alone(book, call))
    async with running(together.run(), "progress"), asyncio.timeout(30), asyncio.TaskGroup() as group:
        asked = [group.create_task(is_away(together.tell(says(sn, 1.0)))) for sn in NAMES]
    assert all(task.result() for task in asked)
    assert slow.asked == progress.AT_ONCE


async def is_away(asked):
    try:
        await asked
    except TimedOut:
        return True
    return False
