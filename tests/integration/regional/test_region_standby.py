"""Where the regional clients of a data centre are, as machines and agents are told: who serves, and who stands by."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ops_system.kv.base import RangeRequest
from ops_system.kv.client import Client
from ops_system.kv.ranges import prefix_end
from ops_system.provision.agents import AgentBook
from ops_system.provision.keys import region_key
from ops_system.regional.leadership import Standing
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import a_task
from tests.fakes.region import FakeAgent, run_region
from tests.fakes.regionstore import run_store

SN, CLIENTS, SOON_S = "sn-001", region_key("dc1", "clients/"), 20.0


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    async with asyncio.timeout(SOON_S):
        while await ask() != wanted:  # noqa: ASYNC110 - what another client says of itself sends no event here
            await asyncio.sleep(0.02)


async def test_agents_hear_of_each_client_that_comes_and_goes(tmp_path, store):
    async with Client([store.url]) as client, run_region(tmp_path / "one", store.url) as one:
        await AgentBook(client, SystemClock()).create(a_task(SN))
        async with FakeAgent(one.url) as agent:

            async def told() -> list[str]:
                return (await agent.ask("POST", "/api/v1/lease", {"sn": SN}))["regions"]

            async def boot_line() -> bool:
                return "ops.standby=" in await agent.ask("GET", f"/boot/none.ipxe?serial={SN}")

            assert (await agent.report())["regions"] == [one.url]
            assert not await boot_line()
            async with run_region(tmp_path / "two", store.url, standing=Standing.STANDBY) as two:
                await until(told, [one.url, two.url])
                script = await agent.ask("GET", f"/boot/none.ipxe?serial={SN}")
                assert f" ops.regional={one.url} " in script
                assert f" ops.standby={two.url} " in script
            await until(told, [one.url])
            assert not await boot_line()
    async with Client([store.url]) as client:
        assert (await client.range(RangeRequest(CLIENTS, prefix_end(CLIENTS)))).kvs == ()


async def test_a_client_says_where_it_is_again_when_its_lease_was_ended(tmp_path, store, monkeypatch):
    monkeypatch.setattr("ops_system.regional.presence.SAID_EVERY_S", 0.05)

    async with Client([store.url]) as client, run_region(tmp_path / "one", store.url):

        async def there() -> int:
            return len((await client.range(RangeRequest(CLIENTS, prefix_end(CLIENTS)))).kvs)

        await until(there, 1)
        (kv,) = (await client.range(RangeRequest(CLIENTS, prefix_end(CLIENTS)))).kvs
        await client.revoke(kv.lease)
        await until(there, 1)
