"""One deadline for many waits: a silent peer ends the block, a slow handler does not."""

import asyncio

import pytest

from ops_system.runtime.silence import Silence

DEADLINE_S = 0.05


async def test_a_single_wait_past_the_deadline_ends_the_block():
    async def wait_for_nothing():
        async with Silence(DEADLINE_S) as silence:
            silence.listen()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait_for_nothing()


async def test_many_short_waits_go_on_past_the_deadline():
    loop = asyncio.get_running_loop()
    async with Silence(4 * DEADLINE_S) as silence:
        started_s = loop.time()
        while loop.time() - started_s < 8 * DEADLINE_S:
            silence.listen()
            await asyncio.sleep(DEADLINE_S / 10)
            silence.hear()


async def test_a_peer_that_is_heard_otherwise_is_not_silent():
    loop = asyncio.get_running_loop()
    async with Silence(4 * DEADLINE_S) as silence:
        started_s = loop.time()
        silence.listen()
        while loop.time() - started_s < 8 * DEADLINE_S:
            await asyncio.sleep(DEADLINE_S / 10)
            assert silence.touch() >= started_s


async def test_being_heard_begins_no_wait():
    async with Silence(DEADLINE_S) as silence:
        silence.touch()
        await asyncio.sleep(3 * DEADLINE_S)


async def test_time_between_waits_does_not_count():
    async with Silence(DEADLINE_S) as silence:
        silence.listen()
        silence.hear()
        await asyncio.sleep(3 * DEADLINE_S)


async def test_nothing_is_left_behind():
    loop = asyncio.get_running_loop()
    async with Silence(DEADLINE_S) as silence:
        silence.listen()
    assert silence._timer.cancelled()
    assert loop.is_running()
