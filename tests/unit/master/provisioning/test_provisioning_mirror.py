"""The copy of the store that lists and counts come from: the same whether it saw every change or only the end."""

import asyncio

import msgspec
import pytest

from ops_system.kv.base import PutRequest
from ops_system.kv.errors import Denied
from ops_system.master.bus import Bus, Changed
from ops_system.master.provisioning import mirror as mirrors
from ops_system.master.provisioning.mirror import Mirror
from ops_system.master.provisioning.shapes import NewApprovalRule, SettingsPatch, TaskOrder, WhyBody
from ops_system.model.errors import Unavailable
from ops_system.model.tasks import ApproveCall
from ops_system.provision.keys import MachineKeys, region_key
from ops_system.provision.regions import RegionInfo
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running
from tests.fakes.agents import PlayedAgent, a_region
from tests.fakes.control import ALICE, control_rig
from tests.fakes.provision import IDC, SN

KEPT = ("tasks", "machines", "unmatched", "queue", "agents", "unsealed", "infos", "settings", "rules")


@pytest.fixture
async def rig(tmp_path):
    async with control_rig(tmp_path) as control:
        yield control


async def life(rig) -> None:
    """Let a bit of everything happen."""
    await rig.approvals.create_rule(NewApprovalRule("none", 1, "dc9"), ALICE, "r1")
    await rig.approvals.create_rule(NewApprovalRule("gone", 1, "dc9"), ALICE, "r2")
    await rig.approvals.delete_rule("r2", ALICE)
    await rig.sites.change_settings("dc3", SettingsPatch(name="Three"), ALICE)
    for number in range(6):
        sn = f"sn-{number}"
        agent = PlayedAgent(rig.agents, sn, boot=f"boot-{number}")
        if number:
            await rig.tasks.create(TaskOrder(IDC, sn, "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
        if number < 5:
            await agent.report()
        if number in {2, 3, 4}:
            await rig.tasks.approve((IDC, sn), ApproveCall(("DISK1",)), ALICE)
        if number == 3:
            await agent.write(await agent.begin())
            await agent.leave()
        if number == 4:
            await rig.tasks.cancel((IDC, sn), WhyBody(), ALICE)
            await rig.tasks.delete((IDC, sn), ALICE)


async def test_it_is_the_same_however_it_came_to_be(rig):
    async with a_region(rig.store):
        await life(rig)
        await rig.mirror.reach(rig.store.revision)
        fresh = Mirror(rig.store, Bus(), SystemClock())
        async with running(fresh.run(), "fresh"):
            await fresh.reach(1)
            for name in KEPT:
                assert getattr(rig.mirror, name) == getattr(fresh, name), name
            assert {idc: +counts for idc, counts in rig.mirror.counts.items()} == dict(fresh.counts)
            assert set(fresh.heard) == set(rig.mirror.heard) == {IDC}
            assert fresh.gauges() == rig.mirror.gauges()
            told = {name: value for name, value in fresh.gauges().items() if value}
            assert told == {
                'ops_installations{status="pending"}': 1.0,
                'ops_installations{status="pending_approval"}': 1.0,
                'ops_installations{status="approved"}': 1.0,
                'ops_installations{status="installing"}': 1.0,
                'ops_region_up{idc="dc1"}': 1.0,
                "ops_machines": 4.0,
                "ops_machines_unmatched": 1.0,
                "ops_install_agents": 4.0,
            }


async def test_a_listing_after_a_gap_brings_what_was_missed(rig):
    told = []
    bus = Bus()
    bus.subscribe(Changed, told.append)
    late = Mirror(rig.store, bus, SystemClock())
    await rig.tasks.create(TaskOrder(IDC, SN, "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
    async with running(late.run(), "late"):
        await late.reach(1)
    await rig.tasks.delete((IDC, SN), ALICE)
    await life(rig)
    async with running(late.run(), "late"):
        async with asyncio.timeout(30):
            while late.revision < rig.store.revision:
                await late._moved.wait()
    assert (IDC, SN) not in late.tasks
    assert late.tasks.keys() == rig.mirror.tasks.keys()
    assert any(change.key == f"{IDC}/{SN}" and change.data is None for change in told), (
        "who watches hears that it is gone"
    )


async def test_a_data_centre_that_had_a_client_is_known_when_that_falls_silent(rig):
    info = RegionInfo(
        IDC, "client-1", "host", "1", "http://127.0.0.1:8081", "off", tftp=False, started_at=rig.clock.now()
    )
    await rig.sites.change_settings("dc3", SettingsPatch(name="Three"), ALICE)  # no client was ever there
    async with a_region(rig.store) as region:
        await rig.store.put(PutRequest(region_key(IDC, "info"), msgspec.json.encode(info)))
        await rig.mirror.reach(rig.store.revision)
        assert rig.mirror.clients() == {IDC: True}
        await region.fall_silent()
        await rig.mirror.reach(rig.store.revision)
        assert rig.mirror.clients() == {IDC: False}


async def test_what_cannot_be_read_is_left_out_and_harms_nothing_else(rig):
    await rig.store.put(PutRequest(MachineKeys(IDC, "broken").task, b"{nonsense"))
    await rig.store.put(PutRequest(b"/os/dc1/stranger/x/y/z", b"1"))
    await rig.tasks.create(TaskOrder(IDC, SN, "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
    await rig.mirror.reach(rig.store.revision)
    assert list(rig.mirror.tasks) == [(IDC, SN)]


async def test_logs_are_not_copied(rig):
    agent = PlayedAgent(rig.agents)
    await rig.tasks.create(TaskOrder(IDC, SN, "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
    await agent.report()
    await rig.store.put(PutRequest(MachineKeys(IDC, SN).log_chunk("t", 0), msgspec.json.encode(["x"])))
    fresh = Mirror(rig.store, Bus(), SystemClock())
    async with running(fresh.run(), "fresh"):
        await fresh.reach(1)
        assert not [key for key in fresh._known if b"/logs/" in key]
        assert (IDC, SN) in fresh.machines, "what stands behind the logs is read"


class Refusing:
    """A store whose password was changed."""

    async def range(self, _request):
        raise Denied


async def test_a_store_that_was_never_read_gives_no_empty_list(monkeypatch):
    monkeypatch.setattr(mirrors, "REACH_WITHIN_S", 0.05)
    mirror = Mirror(Refusing(), Bus(), SystemClock())
    async with running(mirror.run(), "mirror") as run:
        with pytest.raises(Unavailable):
            await mirror.reach(0)
        assert not run.done()
