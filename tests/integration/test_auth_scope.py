"""A scope by node labels: what lies beyond it is neither listed, nor found, nor acted upon, nor pushed."""

import msgspec
import pytest

from ops_system.master.instances.rules import Action
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.rollouts.rules import SystemAction
from ops_system.master.topics import Sight
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.model.operations import OperationState
from tests.fakes.orchestration import ANN, driven, open_desk

TESTER = msgspec.structs.replace(ANN, id="usr_2", name="tess", scope={"env": "test"})


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk, driven(desk):
        yield desk


@pytest.fixture
async def fleet(desk):
    """Node and instance in `test` and in `live`, of one system; both run."""
    nodes = {env: desk.nodes.add(env, labels={"env": env}) for env in ("test", "live")}
    for node_id in nodes.values():
        await desk.link_up(node_id)
    await desk.upload("web")
    system = await desk.system()
    module = await desk.module(system, "web")
    made = {}
    for env, node_id in nodes.items():
        instance, operation = await desk.instances.create(module, node_id, ANN)
        await desk.obey(node_id, instance.id)
        made[env] = (node_id, instance.id, operation.id)
    return system, module, made


async def test_lists_show_the_scope_only(desk, fleet):
    _, _, made = fleet
    instances = await desk.instances.list_page(InstanceQuery(), TESTER)
    assert (instances.total, [one.id for one in instances.items]) == (1, [made["test"][1]])
    operations = await desk.operations.list_page(OperationQuery(), TESTER)
    assert (operations.total, [one.id for one in operations.items]) == (1, [made["test"][2]])
    assert (await desk.instances.list_page(InstanceQuery(), ANN)).total == 2
    assert (await desk.operations.list_page(OperationQuery(), ANN)).total == 2


async def test_what_lies_beyond_is_not_found(desk, fleet):
    _, module, made = fleet
    node, instance, operation = made["live"]
    for ask in (
        desk.instances.get(instance, TESTER),
        desk.instances.list_events(instance, ListQuery(), TESTER),
        desk.instances.act(instance, Action.STOP, TESTER),
        desk.instances.destroy(instance, TESTER, may_stop=True, is_forced=False),
        desk.instances.create(module, node, TESTER),
        desk.operations.get(operation, TESTER),
        desk.operations.cancel(operation, TESTER),
        desk.operations.retry(operation, TESTER),
        desk.operations.pause(operation, TESTER),
    ):
        with pytest.raises(NotFound):
            await ask
    assert (await desk.instances.get(made["test"][1], TESTER)).node_id == made["test"][0]


async def test_an_operation_is_known_after_a_restart_too(desk, fleet):
    _, _, made = fleet
    again = desk.restart()
    assert (await again.operations.get(made["test"][2], TESTER)).id == made["test"][2]
    with pytest.raises(NotFound):
        await again.operations.get(made["live"][2], TESTER)


async def test_an_action_on_a_system_reaches_the_scope_only(desk, fleet):
    system, _, made = fleet
    operation = await desk.rollouts.act(system, SystemAction.STOP, TESTER)
    assert [target.id for target in operation.targets] == [made["test"][1]]
    await desk.until(lambda: wished_stopped(desk, made["test"][1]))
    await desk.obey(*made["test"][:2])
    assert (await desk.ended(operation.id)).state is OperationState.SUCCEEDED
    beyond = msgspec.structs.replace(TESTER, scope={"env": "none"})
    with pytest.raises(NotAllowed, match="nothing to stop"):
        await desk.rollouts.act(system, SystemAction.STOP, beyond)


async def wished_stopped(desk, instance):
    return (await desk.instances.get(instance)).desired == "stopped"


async def test_a_scoped_action_does_not_overrule_one_that_goes_further(desk, fleet):
    system, _, _ = fleet
    await desk.rollouts.act(system, SystemAction.RESTART, ANN)
    with pytest.raises(Conflict, match="under way"):
        await desk.rollouts.act(system, SystemAction.STOP, TESTER)


async def test_the_scope_is_looked_at_again_when_an_instance_has_its_turn(desk):
    node = desk.nodes.add("n1", labels={"env": "test"})
    await desk.link_up(node)
    await desk.upload("web")
    system = await desk.system()
    await desk.module(system, "db", package="web", start_order=1)
    await desk.module(system, "web", start_order=2)
    operation = await desk.rollouts.act(system, SystemAction.DEPLOY, TESTER)
    first, second = operation.targets
    desk.nodes.set(node, labels={"env": "live"})
    await desk.until(lambda: has_ended_or_runs(desk, operation.id))
    ended = await desk.ended(operation.id)
    assert (ended.targets[0].id, ended.targets[0].reason.code) == (first.id, "out_of_scope")
    assert desk.links.wishes(second.id) == []


async def has_ended_or_runs(desk, operation_id):
    return (await desk.operations.get(operation_id)).state is not OperationState.PENDING


async def test_pushed_events_are_those_of_the_scope(desk, fleet):
    _, _, made = fleet
    where = {instance: node for node, instance, _ in made.values()}
    sight = Sight(desk.nodes, where.get)
    for env, is_seen in (("test", True), ("live", False)):
        node, instance, operation = made[env]
        assert sight.sees_instance(TESTER, instance) is is_seen
        assert sight.sees(TESTER, f"node:{node}") is is_seen
        assert sight.sees(TESTER, f"instance:{instance}") is is_seen
        assert desk.operations.is_visible(operation, TESTER) is is_seen
        assert sight.sees_instance(ANN, instance)
    assert not sight.sees_instance(TESTER, "ins_gone")
