import pytest

from ops_system.master.instances.rules import Action
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.rollouts.rules import SystemAction
from ops_system.master.systems.rules import ModulePatch
from ops_system.model.errors import Conflict, NotAllowed
from ops_system.model.nodes import NodeStatus
from ops_system.model.operations import OperationState
from ops_system.model.reasons import Reason
from tests.fakes.orchestration import ANN, driven, open_desk


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk, driven(desk):
        yield desk


async def shop(desk, nodes=("n1", "n2")):
    """A system of `db` and, after it, `web`, on nodes that have reported."""
    node_ids = [desk.nodes.add(name) for name in nodes]
    for node_id in node_ids:
        await desk.link_up(node_id)
    await desk.upload("web")
    system = await desk.system()
    await desk.module(system, "db", package="web", start_order=1)
    await desk.module(system, "web", start_order=2)
    return system, node_ids


async def begun(desk, operation_id, count):
    """Wait until `count` targets are under way; return them."""

    async def look():
        operation = await desk.operations.get(operation_id)
        running = [target for target in operation.targets if target.state is OperationState.RUNNING]
        return running if len(running) == count else None

    return await desk.until(look)


async def obey_wave(desk, operation_id, count=2):
    targets = await begun(desk, operation_id, count)
    for target in targets:
        await desk.obey(target.node_id, target.id)
    return [target.name for target in targets]


async def deployed(desk):
    system, nodes = await shop(desk)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    await obey_wave(desk, operation.id)
    await obey_wave(desk, operation.id)
    assert (await desk.ended(operation.id)).state is OperationState.SUCCEEDED
    return system, nodes


async def test_a_system_is_deployed_in_waves_and_destroyed_backwards(desk):
    system, _ = await shop(desk)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    assert [target.name for target in operation.targets] == ["db", "db", "web", "web"]
    assert await obey_wave(desk, operation.id) == ["db", "db"]
    assert await obey_wave(desk, operation.id) == ["web", "web"]
    assert (await desk.ended(operation.id)).state is OperationState.SUCCEEDED

    removal = await desk.rollouts.act(system, SystemAction.DESTROY, ANN)
    assert await obey_wave(desk, removal.id) == ["web", "web"]
    assert await obey_wave(desk, removal.id) == ["db", "db"]
    assert (await desk.ended(removal.id)).state is OperationState.SUCCEEDED
    assert (await desk.instances.list_page(InstanceQuery())).total == 0
    with pytest.raises(NotAllowed, match="deploy"):
        await desk.rollouts.act(system, SystemAction.START, ANN)


async def test_a_failure_in_the_first_wave_leaves_the_second_alone(desk):
    system, _ = await shop(desk, ["n1"])
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    (db,) = await begun(desk, operation.id, 1)
    why = Reason("exited", "exited with code 7")
    await desk.report(db.node_id, db.id, "backoff", reason=why)
    failed = await desk.ended(operation.id)
    assert failed.state is OperationState.FAILED
    assert failed.error == why
    web = failed.targets[1]
    assert (web.state, web.reason.code) == (OperationState.CANCELLED, "earlier_wave_failed")
    assert desk.links.wishes(web.id) == []

    again = await desk.operations.retry(operation.id, ANN)
    assert await obey_wave(desk, again.id, 1) == ["db"]
    assert await obey_wave(desk, again.id, 1) == ["web"]
    assert (await desk.ended(again.id)).state is OperationState.SUCCEEDED


async def test_an_edit_after_a_halted_deploy_comes_with_the_retry(desk):
    system, _ = await shop(desk, ["n1"])
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    (db,) = await begun(desk, operation.id, 1)
    await desk.report(db.node_id, db.id, "failed", reason=Reason("exited", "no"))
    halted = await desk.ended(operation.id)
    web = halted.targets[1].id
    await desk.upload("web", "2.0")
    module_id = (await desk.instances.get(web)).module_id
    await desk.systems.patch_module(module_id, ModulePatch(version="2.0", env={"MODE": "new"}), ANN)
    again = await desk.operations.retry(operation.id, ANN)
    await obey_wave(desk, again.id, 1)
    await begun(desk, again.id, 1)
    wish = desk.links.wishes(web)[-1]
    assert (wish.package.version, wish.service.env["MODE"]) == ("2.0", "new")


async def test_a_master_killed_between_waves_goes_on(desk, tmp_path):
    system, _ = await shop(desk)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    wave = await begun(desk, operation.id, 2)
    again = desk.restart()
    async with driven(again):
        for target in wave:
            await again.link_up(target.node_id, await again.picture(target.id, "running"))
        assert await obey_wave(again, operation.id) == ["web", "web"]
        assert (await again.ended(operation.id)).state is OperationState.SUCCEEDED


async def between_waves(tmp_path, again_after):
    """A deploy whose first wave ended while no driver ran, and a master started anew on it."""
    async with open_desk(tmp_path) as desk:
        async with driven(desk):
            system, _ = await shop(desk)
            operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
            wave = await begun(desk, operation.id, 2)
        for target in wave:
            await desk.obey(target.node_id, target.id)
        again = desk.restart()
        async with driven(again):
            await again_after(again, operation.id, wave)


async def test_a_new_master_waits_for_its_nodes_before_the_next_wave(tmp_path, monkeypatch):
    monkeypatch.setattr("ops_system.master.operations.rounds.RETRY_S", 0.01)

    async def nodes_come_back(again, operation_id, wave):
        for target in wave:
            await again.link_up(target.node_id, await again.picture(target.id, "running"))
        assert await obey_wave(again, operation_id) == ["web", "web"]
        assert (await again.ended(operation_id)).state is OperationState.SUCCEEDED

    await between_waves(tmp_path, nodes_come_back)


async def test_nodes_that_do_not_come_back_fail_their_targets(tmp_path, monkeypatch):
    monkeypatch.setattr("ops_system.master.operations.rounds.RETRY_S", 0.01)

    async def time_passes(again, operation_id, wave):
        again.clock.advance(61)
        ended = await again.ended(operation_id)
        assert ended.state is OperationState.FAILED
        assert [target.reason.code for target in ended.targets[2:]] == ["node_offline"] * 2

    await between_waves(tmp_path, time_passes)


async def test_a_silent_node_fails_its_targets_and_does_not_hold_up_a_stop(desk):
    system, nodes = await deployed(desk)
    desk.nodes.set(nodes[0], status=NodeStatus.OFFLINE)
    desk.clock.advance(61)
    operation = await desk.rollouts.act(system, SystemAction.STOP, ANN)
    assert await obey_wave(desk, operation.id, 1) == ["web"]
    assert await obey_wave(desk, operation.id, 1) == ["db"]
    ended = await desk.ended(operation.id)
    assert ended.state is OperationState.FAILED
    assert {target.reason.code for target in ended.targets if target.reason} == {"node_offline"}


async def test_one_action_of_a_system_at_a_time_but_a_stop_overrules(desk):
    system, _ = await shop(desk, ["n1"])
    deploy = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    await begun(desk, deploy.id, 1)
    with pytest.raises(Conflict, match="under way"):
        await desk.rollouts.act(system, SystemAction.RESTART, ANN)
    stop = await desk.rollouts.act(system, SystemAction.STOP, ANN)
    assert await obey_wave(desk, stop.id, 1) == ["web"]
    assert await obey_wave(desk, stop.id, 1) == ["db"]
    assert (await desk.ended(stop.id)).state is OperationState.SUCCEEDED
    old = await desk.ended(deploy.id)
    assert old.state is OperationState.CANCELLED


async def test_a_cancelled_deploy_begins_nothing_more(desk):
    system, _ = await shop(desk, ["n1"])
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    (db,) = await begun(desk, operation.id, 1)
    cancelled = await desk.operations.cancel(operation.id, ANN)
    assert cancelled.state is OperationState.CANCELLED
    assert desk.links.wishes(db.id)[-1].desired == "stopped"
    assert len([frame for frame in desk.links.sent if "Apply" in type(frame[1]).__name__]) == 2


async def test_a_placement_nobody_satisfies_changes_nothing(desk):
    system, _ = await shop(desk, ["n1"])
    await desk.module(system, "far", package="web", replicas=2)
    with pytest.raises(NotAllowed, match="far"):
        await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    assert (await desk.instances.list_page(InstanceQuery())).total == 0


async def test_a_second_deploy_fills_what_is_missing(desk):
    system, _ = await deployed(desk)
    fresh = desk.nodes.add("n3")
    await desk.link_up(fresh)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, ANN)
    await obey_wave(desk, operation.id, 3)
    await obey_wave(desk, operation.id, 3)
    assert (await desk.ended(operation.id)).state is OperationState.SUCCEEDED
    assert (await desk.instances.list_page(InstanceQuery(node_id=fresh))).total == 2


async def test_an_instance_removed_meanwhile_counts_as_destroyed(desk):
    system, _ = await deployed(desk)
    operation = await desk.rollouts.act(system, SystemAction.DESTROY, ANN)
    await begun(desk, operation.id, 2)
    waiting = [target for target in (await desk.operations.get(operation.id)).targets if target.name == "db"]
    _, alone = await desk.instances.act(waiting[0].id, Action.STOP, ANN)
    await desk.obey(waiting[0].node_id, waiting[0].id)
    await desk.instances.destroy(waiting[0].id, ANN, may_stop=False, is_forced=False)
    await desk.obey(waiting[0].node_id, waiting[0].id)
    assert (await desk.operations.get(alone.id)).state is OperationState.SUCCEEDED
    await obey_wave(desk, operation.id, 2)
    await obey_wave(desk, operation.id, 1)
    assert (await desk.ended(operation.id)).state is OperationState.SUCCEEDED
