"""Many played machines at one real regional client: all end, none is lost."""

import asyncio

from msgspec.structs import replace

from ops_system.kv.client import Client
from ops_system.model.tasks import ApproveCall, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running
from tests.fakes.machines_sim import mac, play, serial
from tests.fakes.provision import SPEC, a_task
from tests.fakes.region import run_region
from tests.fakes.regionstore import run_store

COUNT = 15


async def test_a_crowd_of_machines_installs(tmp_path):
    async with (
        run_store(tmp_path / "store.db") as store,
        Client([store.url]) as client,
        run_region(tmp_path / "region", store.url) as region,
    ):
        book = AgentBook(client, SystemClock())
        names = [serial("m", number) for number in range(1, COUNT + 1)]
        for number, sn in enumerate(names, 1):
            await book.create(a_task(sn, mac=mac(number), install=replace(SPEC, enrol=False)))
        async with running(play(region.url, COUNT, updates=3, interval_s=0.05, ramp_s=0.1), "machines") as machines:
            for sn in names:
                await approves(book, sn)
            numbers = await machines
        assert numbers.ended == {"completed": COUNT}
        assert len(numbers.progress_s) == 3 * COUNT
        for sn in names:
            task = await book.get("dc1", sn)
            assert task.status is TaskStatus.COMPLETED
            assert len(task.logs) == 3


async def approves(book, sn: str) -> None:
    async with asyncio.timeout(30):
        while (await book.get("dc1", sn)).status is not TaskStatus.PENDING_APPROVAL:  # noqa: ASYNC110 - the store is asked
            await asyncio.sleep(0.02)

    def rule(task, machine):
        call = ApproveCall((f"DISK-{sn}",))
        return approve(task, machine, call, RegionSettings(), by="bob", at=book.clock.now()), machine

    await book.change_machine("dc1", sn, rule)
