"""A regional client and its agents over HTTP, on the embedded store behind its gateway."""

import asyncio

import pytest
from msgspec.structs import replace

from ops_system.kv.client import Client
from ops_system.model.errors import NotFound
from ops_system.model.tasks import ApproveCall, TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import SPEC as WITH_WORKER
from tests.fakes.provision import a_task
from tests.fakes.region import FakeAgent, Refused, run_region
from tests.fakes.regionstore import run_store

IDC, SN = "dc1", "sn-001"
SPEC = replace(WITH_WORKER, enrol=False)


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
async def book(store):
    async with Client([store.url]) as client:
        yield AgentBook(client, SystemClock())


@pytest.fixture
async def region(tmp_path, store):
    async with run_region(tmp_path / "region", store.url) as region:
        yield region


@pytest.fixture
async def agent(region):
    async with FakeAgent(region.url) as agent:
        yield agent


async def approves(book, sn=SN, disks=("DISK1",)):
    def rule(task, machine):
        return approve(task, machine, ApproveCall(disks), RegionSettings(), by="bob", at=book.clock.now()), machine

    return await book.change_machine(IDC, sn, rule)


async def begins(book, agent, **facts):
    await book.create(a_task(agent.sn, **({"mac": agent.mac, "install": SPEC} | facts)))
    await agent.report()
    await approves(book, agent.sn)
    return await agent.next()


async def test_a_machine_is_reported_approved_installed_and_sent_to_its_disk(book, region, agent):
    await book.create(a_task(SN, install=SPEC))
    assert "ops.mode=install" in await agent.ask("GET", "/boot/00-1a-2b-3c-4d-5e.ipxe")
    assert (await book.get(IDC, SN)).status is TaskStatus.BOOTING

    told = await agent.report()
    assert told["is_known"] and told["status"] == "pending_approval"
    waiting = asyncio.ensure_future(agent.next())  # noqa: TID251 - an agent that waits while somebody approves
    await approves(book)
    assert (await waiting)["operation"] == "install"
    assert agent.fence == 1

    system = await agent.call("device/getOSInstallConfig")
    assert system["disks"] == ["DISK1"] and system["fence"] == 1
    await agent.begin("write", "DISK1")
    await agent.progress("write", 50.0, bytes_done=1, bytes_total=2, lines=["half"])
    await agent.complete("write")
    await agent.finish()

    task = await book.get(IDC, SN)
    assert task.status is TaskStatus.COMPLETED and task.logs == ("half",)
    assert task.intents[0].done_at is not None
    for page in ("/boot/00:1a:2b:3c:4d:5e.ipxe", "/grub/grub.cfg-00:1a:2b:3c:4d:5e", "/pxelinux/pxelinux.cfg/01-00-1a-2b-3c-4d-5e"):
        assert "starts from its disk" in await agent.ask("GET", page)
    assert (await agent.next())["operation"] == "reboot_local"
