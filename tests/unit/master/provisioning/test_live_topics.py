"""What viewers of installations are told at first, and who sees which of it."""

import pytest
from msgspec.structs import replace

from ops_system.master.bus import Bus
from ops_system.master.live.hub import Hub
from ops_system.master.provisioning.shapes import TaskOrder
from ops_system.master.topics import register_provisioning
from ops_system.model.errors import NotFound
from ops_system.runtime.clock import SystemClock
from tests.fakes.agents import PlayedAgent
from tests.fakes.control import ALICE, control_rig
from tests.fakes.provision import IDC

HERE = replace(ALICE, scope={"idc": IDC})
ELSEWHERE = replace(ALICE, scope={"idc": "dc2"})
ONE = replace(ALICE, scope={"sn": "sn-1"})


@pytest.fixture
async def hub(tmp_path):
    async with control_rig(tmp_path) as rig:
        for number in (1, 2):
            await rig.tasks.create(TaskOrder(IDC, f"sn-{number}", "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
        await rig.tasks.create(TaskOrder("dc2", "sn-1", "00:1a:2b:3c:4d:5e", "Debian 12"), ALICE)
        await PlayedAgent(rig.agents, "sn-1").report()
        await rig.mirror.reach(rig.store.revision)
        hub = Hub(Bus(), SystemClock())
        register_provisioning(hub, rig.mirror)
        yield hub


async def shown(hub, name: str, principal) -> dict[str, object]:
    return dict(await hub.find(name, principal).snapshot(name, principal))


async def test_one_task_and_one_machine_are_told_alone(hub):
    task = await shown(hub, f"task:{IDC}/sn-1", HERE)
    assert [(key, row.status) for key, row in task.items()] == [(f"{IDC}/sn-1", "pending_approval")]
    machine = await shown(hub, f"machine:{IDC}/sn-1", HERE)
    assert [view.sn for view in machine.values()] == ["sn-1"]
    assert await shown(hub, f"machine:{IDC}/sn-2", HERE) == {} == await shown(hub, f"task:{IDC}/none", HERE)


async def test_nobody_is_told_beyond_the_scope(hub):
    for name in (f"task:{IDC}/sn-1", f"machine:{IDC}/sn-1"):
        assert await shown(hub, name, ELSEWHERE) == {}
        sees = hub.find(name, ELSEWHERE).is_visible
        assert not sees(ELSEWHERE, name, f"{IDC}/sn-1")
        assert sees(HERE, name, f"{IDC}/sn-1")
        assert sees(ONE, name, f"{IDC}/sn-1")
    assert list(await shown(hub, f"task:{IDC}/sn-2", ONE)) == []


async def test_counts_are_told_of_data_centres_that_are_seen_as_a_whole(hub):
    everywhere = await shown(hub, "stats", ALICE)
    assert {idc: (one.total, one.machines) for idc, one in everywhere.items()} == {IDC: (2, 1), "dc2": (1, 0)}
    assert (everywhere[IDC].pending, everywhere[IDC].pending_approval) == (1, 1)
    assert list(await shown(hub, "stats", HERE)) == [IDC]
    assert await shown(hub, "stats", ONE) == {}
    assert not hub.find("stats", ONE).is_visible(ONE, "stats", IDC)


async def test_a_family_alone_is_no_topic(hub):
    with pytest.raises(NotFound):
        hub.find("task:", ALICE)
