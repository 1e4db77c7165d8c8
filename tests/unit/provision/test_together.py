"""What is written together: everybody's wish once, in order, each with its own outcome, whoever goes away."""

import asyncio

import pytest

from ops_system.provision.together import Together


class Pad:
    """Writes when it is let; knows what came in one write."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_begun = asyncio.Event()

    async def write(self, _key: str, wishes):
        self.has_begun.set()
        await self.gate.wait()
        self.batches.append(list(wishes))
        return [ValueError(wish) if wish < 0 else wish * 10 for wish in wishes]


async def test_what_gathers_meanwhile_is_written_at_once():
    pad = Pad()
    pad.gate.clear()
    together: Together[str, int, int] = Together(pad.write, lambda _wish: 1, 30)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(together.ask("a", number)) for number in range(1, 51)]
        await pad.has_begun.wait()
        pad.gate.set()
    assert [task.result() for task in asked] == [10 * number for number in range(1, 51)]
    assert pad.batches == [[1], list(range(2, 32)), list(range(32, 51))]


async def test_one_that_may_not_be_does_not_harm_the_others():
    pad = Pad()
    together: Together[str, int, int] = Together(pad.write, lambda _wish: 1, 30)
    answers = []
    async with asyncio.TaskGroup() as group:

        async def ask(number: int) -> None:
            try:
                answers.append(await together.ask("a", number))
            except ValueError as error:
                answers.append(str(error))

        for number in (1, -2, 3):
            group.create_task(ask(number))
    assert answers == [10, "-2", 30]


async def test_a_writer_that_goes_away_leaves_the_work_to_the_next():
    pad = Pad()
    pad.gate.clear()
    together: Together[str, int, int] = Together(pad.write, lambda _wish: 1, 30)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(together.ask("a", 1))
        await pad.has_begun.wait()
        second = group.create_task(together.ask("a", 2))
        await asyncio.sleep(0)
        first.cancel()
        pad.gate.set()
    assert second.result() == 20
    assert pad.batches == [[2]], "nobody waits for the first one's any more"
    assert not together._waiting


async def test_who_goes_away_while_others_are_written_takes_its_wish_back():
    pad = Pad()
    pad.gate.clear()
    together: Together[str, int, int] = Together(pad.write, lambda _wish: 1, 30)
    async with asyncio.TaskGroup() as group:
        group.create_task(together.ask("a", 1))
        await pad.has_begun.wait()
        second = group.create_task(together.ask("a", 2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        pad.gate.set()
    assert pad.batches == [[1]]
    assert not together._waiting


async def test_a_failed_write_is_told_to_each_and_not_tried_again():
    async def fail(_key: str, _wishes):
        raise OSError("no")

    together: Together[str, int, int] = Together(fail, lambda _wish: 1, 30)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            await together.ask("a", 1)
