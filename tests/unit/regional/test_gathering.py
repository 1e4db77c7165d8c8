"""Calls gather for a moment and are served together."""

import asyncio

import pytest

from ops_system.model.errors import Conflict
from ops_system.regional.gathering import Gathering
from ops_system.runtime.tasks import running

GATHER_S = 0.05


class Counter:
    """Answers each call with the number of the batch it was in; remembers when each batch came."""

    def __init__(self):
        self.batches, self.at_s = [], []

    async def serve(self, batch):
        self.batches.append([asked.question for asked in batch])
        self.at_s.append(asyncio.get_running_loop().time())
        for asked in batch:
            asked.tell(len(self.batches))


async def test_a_call_alone_goes_at_once_and_those_soon_after_it_go_together():
    counter = Counter()
    gathering = Gathering(counter.serve, GATHER_S, 100)
    async with running(gathering.run(), "gathering"), asyncio.timeout(20):
        assert await gathering.ask("first") == 1
        later = []
        for name in "abc":
            later.append(gathering.ask(name))
            await asyncio.sleep(0)
        assert [await answer for answer in later] == [2, 2, 2]
    assert counter.batches == [["first"], ["a", "b", "c"]]
    assert counter.at_s[1] - counter.at_s[0] >= GATHER_S * 0.9


async def test_what_does_not_fit_into_a_batch_does_not_wait_again():
    counter = Counter()
    gathering = Gathering(counter.serve, 1000.0, 2)
    asked = [gathering.ask(number) for number in range(5)]
    async with running(gathering.run(), "gathering"), asyncio.timeout(20):
        assert [await answer for answer in asked] == [1, 1, 2, 2, 3]


async def test_a_refusal_is_told_to_its_batch_alone_and_one_who_does_not_listen_disturbs_nobody(caplog):
    async def serve(batch):
        if batch[0].question == "bad":
            raise Conflict("no")
        for asked in batch:
            asked.tell(asked.question)

    gathering = Gathering(serve, 0.0, 1)
    async with running(gathering.run(), "gathering"), asyncio.timeout(20):
        gathering.ask("bad")
        refused, good = gathering.ask("bad"), gathering.ask("good")
        assert await good == "good"
        with pytest.raises(Conflict):
            await refused
    assert "never retrieved" not in caplog.text


async def test_while_one_batch_is_served_the_next_goes_too_but_no_more_than_so_many():
    begun, two_begun, may_end = [], asyncio.Event(), asyncio.Event()

    async def serve(batch):
        begun.append(batch[0].question)
        if len(begun) == 2:
            two_begun.set()
        await may_end.wait()
        for asked in batch:
            asked.tell(asked.question)

    gathering = Gathering(serve, 0.0, 1, at_once=2)
    asked = [gathering.ask(number) for number in range(3)]
    async with running(gathering.run(), "gathering"), asyncio.timeout(20):
        await two_begun.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == [0, 1]
        may_end.set()
        assert [await answer for answer in asked] == [0, 1, 2]
