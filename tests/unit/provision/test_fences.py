"""Agents that want to install at once are judged together: each once, no more than may, in few transactions."""

import asyncio

import pytest
from msgspec.structs import replace

from ops_system.kv.base import TxnRequest
from ops_system.kv.embedded import Embedded
from ops_system.kv.follow import list_all
from ops_system.model.errors import OpsError
from ops_system.model.tasks import ApproveCall, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.keys import installing_prefix
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.tasks import running
from tests.fakes.clock import FakeClock
from tests.fakes.provision import IDC, SPEC, a_report, a_task, session

COUNT = 60
NAMES = [f"sn-{number:03d}" for number in range(COUNT)]


class Counted:
    """The store, and how many transactions it was asked for."""

    def __init__(self, store) -> None:
        self._store, self.transactions = store, 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def txn(self, request: TxnRequest):
        self.transactions += 1
        return await self._store.txn(request)


@pytest.fixture
async def book(tmp_path):
    clock = FakeClock()
    engine = await Embedded.open(tmp_path / "store.db", clock)
    async with running(engine.run(), "store"):
        yield AgentBook(Counted(engine), clock)
    await engine.close()


async def wait_for_their_turn(book, **spec):
    install = replace(SPEC, **spec)
    for sn in NAMES:
        await book.create(a_task(sn, install=install))
        lease = await book.store.grant(30)
        await book.report(IDC, a_report(sn, boot=f"boot-{sn}"), session(sn), lease.id)

        def allow(task, machine):
            call, at = ApproveCall(("DISK1",)), book.clock.now()
            return approve(task, machine, call, RegionSettings(), by="bob", at=at), machine

        await book.change_machine(IDC, sn, allow)
    book.store.transactions = 0


async def begin_all(book, max_installs: int = COUNT, boots: dict[str, str] | None = None):
    told = {}

    async def begin(sn: str) -> None:
        try:
            told[sn] = await book.take_fence(IDC, sn, (boots or {}).get(sn, f"boot-{sn}"), max_installs)
        except OpsError as error:
            told[sn] = error.details["reason"]

    async with asyncio.TaskGroup() as group:
        for sn in NAMES:
            group.create_task(begin(sn))
    return told


async def installing(book) -> int:
    return len((await list_all(book.store, installing_prefix(IDC))).kvs)


async def test_all_who_ask_at_once_begin_in_few_transactions(book):
    await wait_for_their_turn(book)
    told = await begin_all(book)
    assert {(task.status, task.fence) for task in told.values()} == {(TaskStatus.INSTALLING, 1)}
    assert await installing(book) == COUNT
    assert {(await book.agent(IDC, sn)).fence for sn in NAMES} == {1}
    assert book.store.transactions <= 8, "a look and a write for thirty; one alone comes first"


async def test_no_more_begin_than_may_and_a_stranger_harms_nobody(book):
    await wait_for_their_turn(book)
    told = await begin_all(book, 40, boots={NAMES[3]: "another-boot"})
    assert told.pop(NAMES[3]) == "lease_lost"
    assert sum(one == "max_installs" for one in told.values()) == COUNT - 41
    assert await installing(book) == 40


async def test_what_is_too_large_together_goes_in_parts(book):
    await wait_for_their_turn(book, template="x" * 100_000)
    told = await begin_all(book)
    assert {task.status for task in told.values()} == {TaskStatus.INSTALLING}
    assert await installing(book) == COUNT


async def test_one_machine_that_is_asked_for_twice_has_the_newer_fence(book):
    await wait_for_their_turn(book)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(book.take_fence(IDC, NAMES[0], f"boot-{NAMES[0]}", 1)) for _ in range(3)]
    assert sorted(task.result().fence for task in asked) == [1, 2, 3]
    assert (await book.agent(IDC, NAMES[0])).fence == 3
    assert await installing(book) == 1


async def test_a_try_whose_answer_got_lost_is_answered_with_what_it_did(book):
    await wait_for_their_turn(book)
    sn, boot = NAMES[0], f"boot-{NAMES[0]}"
    assert (await book.take_fence(IDC, sn, boot, 1, known_fence=0)).fence == 1
    assert (await book.take_fence(IDC, sn, boot, 1, known_fence=0)).fence == 1, "the agent may be at work under it"
    assert (await book.take_fence(IDC, sn, boot, 1, known_fence=1)).fence == 2
