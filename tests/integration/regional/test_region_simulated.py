"""The install agent itself, with a disk out of a file, against a real regional client whose store goes away midway."""

import asyncio
import hashlib
import random

import pytest
from msgspec.structs import replace

from ops_system.installer.agent import Agent
from ops_system.installer.region import Region
from ops_system.installer.simulate import SimulatedHands
from ops_system.model.tasks import ApproveCall, ImageRef, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.regional.leadership import Standing
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import SPEC, a_task
from tests.fakes.region import run_region
from tests.fakes.regionstore import run_store

IDC, SN, MAC = "dc1", "sn-001", "02:00:00:00:00:01"
CONTENT = random.Random(3).randbytes(24 * 1024 * 1024)
DISK_BYTES = 64 * 1024 * 1024


async def until(region, check):
    async with asyncio.timeout(40):
        while not ((task := region.app.mirror.task(SN)) and check(task)):
            await region.app.mirror.changed()
    return task


@pytest.mark.parametrize("is_away", [False, True], ids=["store there", "store away"])
async def test_the_agent_installs_by_way_of_the_region(tmp_path, is_away):
    digest = hashlib.sha256(CONTENT).hexdigest()
    image = ImageRef("debian", "12", digest, len(CONTENT), digest, len(CONTENT), "raw")
    images = tmp_path / "region" / "images"
    images.mkdir(parents=True)
    (images / digest).write_bytes(CONTENT)
    hands = SimulatedHands(SN, tmp_path / "machine", mac=MAC, disk_bytes=DISK_BYTES)
    async with (
        run_store(tmp_path / "store.db") as store,
        run_region(tmp_path / "region", store.url, lead_ttl_s=1.0) as region,
        asyncio.TaskGroup() as group,
    ):
        book = AgentBook(store.engine, SystemClock())
        await book.create(a_task(SN, mac=MAC, install=replace(SPEC, image=image, enrol=False)))
        agent = Agent(Region(region.url), hands, tmp_path / "machine/scratch", report_interval_s=0.05)
        work = group.create_task(asyncio.to_thread(agent.run))
        waiting = await until(region, lambda task: task.status is TaskStatus.PENDING_APPROVAL)
        machine = await book.machine(IDC, SN)
        call = ApproveCall((machine.hardware.disks[0].id,))
        allowed = approve(waiting, machine, call, RegionSettings(), by="bob", at=book.clock.now())
        await book.change(IDC, SN, lambda _task: allowed)
        await until(region, lambda task: task.intents)
        if is_away:
            await store.go_away()
        assert await work == 0
        if is_away:
            await store.come()
        await region.wait_for(Standing.ACTIVE)
        task = await until(region, lambda task: task.status is TaskStatus.COMPLETED)
        assert all(intent.done_at for intent in task.intents)
    with hands.device("/dev/sda").open("rb") as disk:
        assert hashlib.sha256(disk.read(len(CONTENT))).hexdigest() == digest
