"""A data centre cut off from its store: it finishes what was approved, begins nothing, loses nothing (P4, P12)."""

import asyncio

import pytest
from msgspec.structs import replace

from ops_system.model.errors import Unavailable
from ops_system.model.tasks import ApproveCall, TaskStatus
from ops_system.protocol.agent import BeginCall, CompleteCall
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.regional.leadership import Standing
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import SPEC, a_task
from tests.fakes.region import FakeAgent, Refused, run_region
from tests.fakes.regionstore import run_store

IDC, SN, TTL_S = "dc1", "sn-001", 1.0


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
async def book(store):
    """What the control plane sees: it is beside the store, and not away."""
    return AgentBook(store.engine, SystemClock())


async def begins(book, agent):
    await book.create(a_task(agent.sn, mac=agent.mac, install=replace(SPEC, enrol=False)))
    await agent.report()

    def rule(task, machine):
        return approve(task, machine, ApproveCall(("DISK1",)), RegionSettings(), by="bob", at=book.clock.now()), machine

    await book.change_machine(IDC, agent.sn, rule)
    assert (await agent.next())["operation"] == "install"


async def until(book, check, sn=SN):
    async with asyncio.timeout(20):
        while not check(task := await book.get(IDC, sn)):  # noqa: ASYNC110 - the store's own watch is under test
            await asyncio.sleep(0.02)
    return task


async def works_to_the_end(agent, steps=("partition", "write")):
    for step in steps:
        await agent.begin(step, "DISK1")
        for percent in (10.0, 60.0):
            await agent.progress(step, percent, lines=[f"{step} {percent:.0f}"])
        await agent.complete(step)


async def test_an_installation_ends_while_the_store_is_away_and_the_store_hears_it_in_order(tmp_path, store, book):
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=TTL_S) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        await agent.begin("wipe", "DISK1")
        await store.go_away()
        await agent.complete("wipe")
        await region.wait_for(Standing.CUT_OFF)

        await works_to_the_end(agent)
        assert (await agent.call("lease"))["fence"] == agent.fence
        await agent.finish()
        assert "starts from its disk" in await agent.ask("GET", "/boot/00-1a-2b-3c-4d-5e.ipxe")
        assert (await book.get(IDC, SN)).status is TaskStatus.INSTALLING
        health = await agent.ask("GET", "/health")
        assert health["status"] == "degraded"
        assert health["journal_entries"] == 10

        async with FakeAgent(region.url, "sn-002", "00:1a:2b:3c:4d:02") as other:
            with pytest.raises(Refused) as caught:
                await other.report()
            assert caught.value.status == 503
            assert caught.value.reason == "cut_off"

        await store.come()
        task = await until(book, lambda task: task.status is TaskStatus.COMPLETED)
        await region.wait_for(Standing.ACTIVE)
        assert [intent.step for intent in task.intents] == ["wipe", "partition", "write"]
        assert all(intent.done_at and intent.begun_at < intent.done_at for intent in task.intents)
        assert task.logs == ("partition 10", "partition 60", "write 10", "write 60")
        assert len(region.app.journal) == 0
        assert region.app.journal.refused == 0


async def test_what_is_noted_while_the_journal_ends_is_told_too(tmp_path, store, book, monkeypatch):
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=TTL_S) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        await agent.begin("wipe", "DISK1")
        desk, last = region.app.desk, [CompleteCall(SN, "wipe", success=True, fence=agent.fence)]
        honest = desk.journal._clear

        async def clear():
            if last:
                await desk._do_here(last.pop())
            await honest()

        monkeypatch.setattr(desk.journal, "_clear", clear)
        desk._has_entries.set()
        task = await until(book, lambda task: task.intents[0].done_at)
        assert not last
        assert [intent.step for intent in task.intents] == ["wipe"]


async def test_a_region_killed_while_it_is_cut_off_goes_on_and_loses_nothing(tmp_path, store, book):
    folder = tmp_path / "region"
    async with run_region(folder, store.url, lead_ttl_s=TTL_S) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        await region.app.watcher.keep()
        await store.go_away()
        await agent.begin("write", "DISK1")
        region.is_to_crash = True

    async with (
        run_region(folder, store.url, lead_ttl_s=TTL_S, standing=Standing.CUT_OFF) as region,
        FakeAgent(region.url) as again,
    ):
        again.boot_id, again.token, again.task_id, again.fence = agent.boot_id, agent.token, agent.task_id, agent.fence
        with pytest.raises(Refused) as caught:
            await again.begin("other", "DISK1")
        assert caught.value.status == 503  # by the picture alone nobody is refused for good
        await again.complete("write")
        await again.finish()
        await store.come()
        task = await until(book, lambda task: task.status is TaskStatus.COMPLETED)
        assert [intent.step for intent in task.intents] == ["write"]


async def test_an_agent_that_is_alive_has_its_lease_before_the_region_is_heard_again(tmp_path, store, book):
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=TTL_S) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        held = region.app.mirror.seat(SN)
        await store.go_away()
        await region.wait_for(Standing.CUT_OFF)
        await store.engine.revoke(held.lease_id)
        await agent.call("lease")
        await store.come()
        await region.wait_for(Standing.ACTIVE)
        assert (await book.agent(IDC, SN)).session_sha256 == held.lease.session_sha256
        await agent.begin("write", "DISK1")


async def test_what_an_operator_decided_meanwhile_counts(tmp_path, store, book):
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=TTL_S) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        await store.go_away()
        await region.wait_for(Standing.CUT_OFF)
        await book.change(IDC, SN, lambda task: replace(task, status=TaskStatus.CANCELLED))
        await agent.begin("write", "DISK1")
        await store.come()
        await region.wait_for(Standing.ACTIVE)
        assert region.app.journal.refused == 1
        assert not region.app.journal.has(SN)
        assert (await agent.next())["operation"] == "reboot_local"


async def test_a_standby_takes_over_and_the_former_leader_answers_no_agent(tmp_path, store, book):
    async with run_region(tmp_path / "a", store.url, lead_ttl_s=TTL_S) as first, FakeAgent(first.url) as agent:
        await begins(book, agent)
        standing_by = run_region(tmp_path / "b", store.url, lead_ttl_s=TTL_S, standing=Standing.STANDBY)
        async with standing_by as second, FakeAgent(second.url) as moved:
            moved.boot_id, moved.token, moved.task_id, moved.fence = (
                agent.boot_id, agent.token, agent.task_id, agent.fence,
            )  # fmt: skip
            with pytest.raises(Refused) as caught:
                await moved.begin("write", "DISK1")
            assert caught.value.reason == "not_active"
            await store.engine.revoke(first.app.lead._lease_id)
            await second.wait_for(Standing.ACTIVE)
            assert second.app.lead.epoch == first.app.lead.epoch + 1
            with pytest.raises(Unavailable):
                await first.app.desk.book.begin(IDC, intent(agent))
            await first.wait_for(Standing.STANDBY)
            with pytest.raises(Refused) as caught:
                await agent.begin("write", "DISK1")
            assert caught.value.reason == "not_active"
            await moved.begin("write", "DISK1")
            await moved.complete("write")
            await moved.finish()
    assert (await book.get(IDC, SN)).status is TaskStatus.COMPLETED


def intent(agent):
    return BeginCall(SN, agent.task_id, agent.fence, "write", ("DISK1",), is_destructive=True)


async def test_a_stop_gives_the_lead_back_at_once(tmp_path, store):
    async with run_region(tmp_path / "a", store.url, lead_ttl_s=60.0) as first:
        assert first.app.lead.epoch == 1
    async with asyncio.timeout(30), run_region(tmp_path / "b", store.url, lead_ttl_s=60.0) as second:
        assert second.app.lead.epoch == 2


@pytest.mark.long
async def test_a_minute_without_the_store_is_longer_than_every_lease_and_ends_well(tmp_path, store, book):
    async with run_region(tmp_path / "region", store.url) as region, FakeAgent(region.url) as agent:
        await begins(book, agent)
        await store.go_away()
        for number in range(12):
            await agent.begin(f"step-{number}", "DISK1")
            await agent.call("lease")
            await asyncio.sleep(5.0)
            await agent.complete(f"step-{number}")
        assert await book.agent(IDC, SN) is None
        await store.come()
        await region.wait_for(Standing.ACTIVE)
        task = await until(book, lambda task: not region.app.journal.has(task.sn))
        assert [intent.step for intent in task.intents] == [f"step-{number}" for number in range(12)]
        assert (await book.agent(IDC, SN)).boot_id == agent.boot_id
        await agent.finish()
    assert (await book.get(IDC, SN)).status is TaskStatus.COMPLETED
