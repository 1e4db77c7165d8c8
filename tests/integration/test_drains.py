"""Draining a node and taking it back, on a real database; once with a real worker."""

import pytest

from ops_system.master.instances.rules import Action
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.nodes.rules import NodeChange
from ops_system.master.rollouts.rules import SystemAction
from ops_system.model.errors import NotAllowed
from ops_system.model.operations import OperationState
from tests.fakes.orchestration import ANN, driven, open_desk


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk, driven(desk):
        yield desk


async def begun(desk, operation_id, count=1):
    async def look():
        operation = await desk.operations.get(operation_id)
        running = [target for target in operation.targets if target.state is OperationState.RUNNING]
        return running if len(running) == count else None

    return await desk.until(look)


async def obey(desk, operation_id):
    (target,) = await begun(desk, operation_id)
    await desk.obey(target.node_id, target.id)
    return target.name


async def running_shop(desk):
    """`db`, `web` after it, and `extra`, which nobody wants to run, on one node."""
    node = desk.nodes.add("n1")
    await desk.link_up(node)
    await desk.upload("web")
    system = await desk.system()
    for order, name in enumerate(("db", "web")):
        await desk.module(system, name, package="web", start_order=order)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    assert [await obey(desk, operation.id) for _ in range(2)] == ["db", "web"]
    await desk.ended(operation.id)
    extra = await desk.module(system, "extra", package="web", start_order=5)
    made, _ = await desk.instances.create(extra, node, ANN)
    await desk.obey(node, made.id)
    await desk.instances.act(made.id, Action.STOP, ANN)
    await desk.obey(node, made.id)
    return node, system, made.id


async def by_name(desk):
    return {one.name: one for one in (await desk.instances.list_page(InstanceQuery())).items}


async def find_operation(desk, kind):
    async def look():
        return next((one for one in desk.operations.list_open() if one.kind == kind), None)

    return await desk.until(look)


async def test_a_drain_stops_backwards_and_an_undrain_starts_what_was_wished(desk):
    node, system, extra = await running_shop(desk)
    drain = await desk.drains.drain(node, ANN)
    assert (drain.kind, [target.name for target in drain.targets]) == ("node.drain", ["web", "db"])
    assert (await desk.drains.drain(node, ANN)).id == drain.id
    assert [await obey(desk, drain.id) for _ in range(2)] == ["web", "db"]
    assert (await desk.ended(drain.id)).state is OperationState.SUCCEEDED
    seen = await by_name(desk)
    assert (seen["web"].drained, seen["web"].reason.code, seen["web"].state) == (True, "node_drained", "stopped")
    assert (seen["extra"].drained, seen["extra"].reason) == (False, None)

    with pytest.raises(NotAllowed, match="draining"):
        await desk.instances.act(extra, Action.START, ANN)
    start = await desk.rollouts.act(system, SystemAction.START, ANN)
    assert (await desk.ended(start.id)).error.message == "node n1 takes no new starts: it is draining"

    undrain = await desk.drains.undrain(node, ANN)
    assert [await obey(desk, undrain.id) for _ in range(2)] == ["db", "web"]
    assert (await desk.ended(undrain.id)).state is OperationState.SUCCEEDED
    seen = await by_name(desk)
    assert {name: (one.desired, one.drained) for name, one in seen.items()} == {
        "db": ("running", False),
        "web": ("running", False),
        "extra": ("stopped", False),
    }
    assert not desk.nodes.get(node).draining


async def test_a_killed_master_goes_on_with_a_drain(tmp_path):
    async with open_desk(tmp_path) as desk:
        async with driven(desk):
            node, _, _ = await running_shop(desk)
            drain = await desk.drains.drain(node, ANN)
            assert await obey(desk, drain.id) == "web"
            await begun(desk, drain.id)
        fresh = desk.restart()
        async with driven(fresh):
            await fresh.link_up(
                node, *[await fresh.picture(one.id, "running") for one in (await by_name(desk)).values()]
            )
            assert await obey(fresh, drain.id) == "db"
            assert (await fresh.ended(drain.id)).state is OperationState.SUCCEEDED


async def test_a_drain_that_was_only_marked_when_the_master_died_is_begun(tmp_path):
    async with open_desk(tmp_path) as desk:
        async with driven(desk):
            node, _, _ = await running_shop(desk)
        desk.nodes.set(node, draining=True)
        fresh = desk.restart()
        async with driven(fresh):
            drain = await find_operation(fresh, "node.drain")
            assert [target.name for target in drain.targets] == ["web", "db"]
            assert drain.created_by == "master"


async def test_a_cancelled_drain_is_taken_back(desk):
    node, _, _ = await running_shop(desk)
    drain = await desk.drains.drain(node, ANN)
    assert await obey(desk, drain.id) == "web"
    await begun(desk, drain.id)
    await desk.operations.cancel(drain.id, ANN)
    undrain = await find_operation(desk, "node.undrain")
    assert [target.name for target in undrain.targets] == ["db", "web"]
    assert (await desk.ended(drain.id)).state is OperationState.CANCELLED
    assert [await obey(desk, undrain.id) for _ in range(2)] == ["db", "web"]
    assert (await desk.ended(undrain.id)).state is OperationState.SUCCEEDED
    assert not desk.nodes.get(node).draining


async def test_a_cancelled_undrain_keeps_the_wishes_for_the_next_one(desk):
    node, _, _ = await running_shop(desk)
    drain = await desk.drains.drain(node, ANN)
    for _ in range(2):
        await obey(desk, drain.id)
    undrain = await desk.drains.undrain(node, ANN)
    await begun(desk, undrain.id)
    await desk.operations.cancel(undrain.id, ANN)
    assert {name for name, one in (await by_name(desk)).items() if one.drained} == {"db", "web"}
    again = await desk.operations.retry(undrain.id, ANN)
    assert [target.name for target in again.targets] == ["db", "web"]


async def test_a_stop_of_a_person_ends_the_wish_that_was_kept(desk):
    node, _, _ = await running_shop(desk)
    drain = await desk.drains.drain(node, ANN)
    for _ in range(2):
        await obey(desk, drain.id)
    await desk.instances.act((await by_name(desk))["web"].id, Action.STOP, ANN)
    undrain = await desk.drains.undrain(node, ANN)
    assert [target.name for target in undrain.targets] == ["db"]


async def test_to_patch_a_node_is_the_same_drain(desk):
    node, _, _ = await running_shop(desk)
    await desk.nodes.change(node, NodeChange(draining=True), ANN)
    drain = await find_operation(desk, "node.drain")
    assert drain.created_by == "ann"
    for _ in range(2):
        await obey(desk, drain.id)
    await desk.nodes.change(node, NodeChange(draining=False), ANN)
    assert len((await find_operation(desk, "node.undrain")).targets) == 2


async def test_an_empty_node_is_drained_at_once(desk):
    node = desk.nodes.add("n1")
    drain = await desk.drains.drain(node, ANN)
    assert (drain.state, drain.targets) == (OperationState.SUCCEEDED, ())
    assert desk.nodes.get(node).draining


@pytest.mark.parametrize("action", [Action.START, Action.RESTART, Action.DEPLOY])
async def test_nothing_new_starts_on_a_paused_node_and_what_runs_may_be_stopped(desk, action):
    node, _, extra = await running_shop(desk)
    desk.nodes.set(node, paused=True)
    with pytest.raises(NotAllowed, match="node n1 takes no new starts: it is paused"):
        await desk.instances.act(extra, action, ANN)
    web = (await by_name(desk))["web"]
    assert (web.desired, web.state) == ("running", "running")
    await desk.instances.act(web.id, Action.STOP, ANN)
