"""Leases of agents that ask at about one time are renewed in one call, each for who asked."""

import asyncio

import pytest

from ops_system.model.errors import Unavailable
from ops_system.regional.renewals import MAX_TOGETHER, Renewals
from ops_system.runtime.tasks import running


class Leases:
    """Renews even numbers; away when it is told so."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.is_away = False

    async def keepalive_many(self, lease_ids):
        self.calls.append(list(lease_ids))
        if self.is_away:
            raise Unavailable("away")
        return tuple(30 if lease_id % 2 == 0 else 0 for lease_id in lease_ids)


@pytest.fixture
def leases():
    return Leases()


@pytest.fixture
async def renewals(leases):
    made = Renewals(leases)
    async with running(made.run(), "renewals"):
        yield made


async def test_who_asks_at_once_is_renewed_in_one_call(leases, renewals):
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        asked = [group.create_task(renew(renewals, number)) for number in range(1, 101)]
    assert [task.result() for task in asked] == [0, 30] * 50
    assert leases.calls == [list(range(1, 101))]


async def test_a_store_that_is_away_is_told_to_all_and_asked_again_later(leases, renewals):
    leases.is_away = True
    async with asyncio.timeout(30):
        asked = [renewals.ask(2), renewals.ask(4)]
        for each in asked:
            with pytest.raises(Unavailable):
                await each
        leases.is_away = False
        assert await renewals.ask(2) == 30


async def test_who_waits_behind_a_store_that_is_away_is_told_too_and_so_is_who_waits_at_the_end(leases, renewals):
    leases.is_away = True
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        asked = [group.create_task(outcome(renew(renewals, number))) for number in range(3 * MAX_TOGETHER)]
    assert {task.result() for task in asked} == {"unavailable"}
    assert len(leases.calls) == 1, "one call of the store is enough to know"
    other = Renewals(leases)
    async with running(outcome(renew(other, 2)), "waiting") as waiting:
        async with running(other.run(), "renewals"):
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await waiting == "unavailable"


async def renew(renewals, lease_id):
    return await renewals.ask(lease_id)


async def outcome(asked):
    try:
        return await asked
    except Unavailable as error:
        return error.code


async def test_who_has_gone_is_not_renewed(leases, renewals):
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        gone = group.create_task(renew(renewals, 2))
        there = group.create_task(renew(renewals, 4))
        await asyncio.sleep(0)
        gone.cancel()
    assert there.result() == 30
    assert leases.calls == [[4]]
