"""The long poll of an agent that goes away while it waits: what is approved then is left to who comes after it."""

import asyncio
from types import SimpleNamespace

from msgspec.structs import replace

from ops_system.model.machines import AgentLease
from ops_system.model.tasks import TaskStatus
from ops_system.regional.mirror import Seat
from ops_system.regional.polling import Polling
from tests.fakes.provision import SPEC, a_task

WITHIN_S = 30.0


class Desk:
    """Holds one task; lets an agent at it when asked."""

    def __init__(self, task):
        self.task, self.news, self.taken = task, asyncio.Event(), 0
        self.mirror = SimpleNamespace(
            task=lambda _sn: self.task, machine=lambda _sn: None, news_of=lambda _sn: self.news, seat=lambda _sn: None
        )

    async def take_fence(self, _sn, _seat):
        self.taken += 1
        return replace(self.task, fence=1, status=TaskStatus.INSTALLING)


async def poll(is_gone):
    waiting = replace(a_task("sn-1", install=replace(SPEC, enrol=False)), status=TaskStatus.PENDING_APPROVAL)
    desk, seat = Desk(waiting), Seat(AgentLease("b1", ""), 1)
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        asked = group.create_task(Polling(desk, poll_s=WITHIN_S).next_operation("sn-1", seat, is_gone.is_set))
        await asyncio.sleep(0)
        desk.task = replace(waiting, status=TaskStatus.APPROVED)
        desk.news.set()
    return asked.result().operation, desk.taken


async def test_one_that_waits_gets_what_is_approved():
    assert await poll(asyncio.Event()) == ("install", 1)


async def test_one_that_is_gone_when_it_is_approved_takes_nothing():
    gone = asyncio.Event()
    asyncio.get_running_loop().call_soon(gone.set)
    assert await poll(gone) == ("wait", 0)
