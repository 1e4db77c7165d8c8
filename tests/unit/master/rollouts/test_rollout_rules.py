from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.instances.placing import NodeFacts
from ops_system.master.instances.rules import Action, Record
from ops_system.master.rollouts.choosing import choose_nodes
from ops_system.master.rollouts.rules import Rollout, next_step, plan_waves
from ops_system.master.systems.rules import NewModule, new_module
from ops_system.model.errors import NotAllowed
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.manifest import Manifest
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.systems import Placement

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEB = Manifest(name="web", version="1", entrypoint="run", os="linux")
PENDING, RUNNING = OperationState.PENDING, OperationState.RUNNING
SUCCEEDED, FAILED, CANCELLED = OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED


def rollout(action, *waves):
    return Rollout("op_1", "sys_1", action, waves)


def operation(**states):
    targets = tuple(OperationTarget("instance", name, name, "n", state) for name, state in states.items())
    return Operation("op_1", "system.x", "t", RUNNING, False, (), targets, None, NOW, NOW, None, "ann")


def ids(targets):
    return [target.id for target in targets]


def test_a_wave_begins_when_the_one_before_has_ended():
    plan = rollout(Action.DEPLOY, ("a", "b"), ("c",))
    assert ids(next_step(plan, operation(a=PENDING, b=PENDING, c=PENDING)).begin) == ["a", "b"]
    assert next_step(plan, operation(a=SUCCEEDED, b=RUNNING, c=PENDING)).begin == ()
    assert ids(next_step(plan, operation(a=SUCCEEDED, b=SUCCEEDED, c=PENDING)).begin) == ["c"]
    assert next_step(plan, operation(a=SUCCEEDED, b=SUCCEEDED, c=RUNNING)).begin == ()


def test_a_killed_master_begins_the_rest_of_a_wave():
    assert ids(next_step(rollout(Action.START, ("a", "b")), operation(a=RUNNING, b=PENDING)).begin) == ["b"]


def test_a_failure_halts_what_starts_and_not_what_stops():
    states = {"a": FAILED, "b": SUCCEEDED, "c": PENDING, "d": PENDING}
    waves = ("a", "b"), ("c",), ("d",)
    assert ids(next_step(rollout(Action.DEPLOY, *waves), operation(**states)).cancel) == ["c", "d"]
    assert ids(next_step(rollout(Action.STOP, *waves), operation(**states)).begin) == ["c"]


def test_a_failure_lets_its_own_wave_end_first():
    step = next_step(rollout(Action.DEPLOY, ("a", "b"), ("c",)), operation(a=FAILED, b=RUNNING, c=PENDING))
    assert (step.begin, step.cancel) == ((), ())


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.sampled_from(Action), st.data())
def test_every_rollout_comes_to_an_end_in_order(sizes, action, data):
    waves = tuple(tuple(f"i{wave}_{n}" for n in range(size)) for wave, size in enumerate(sizes))
    states = {name: PENDING for wave in waves for name in wave}
    for _ in range(4 * len(states) + 4):
        step = next_step(rollout(action, *waves), operation(**states))
        assert all(states[target.id] is PENDING for target in (*step.begin, *step.cancel))
        if step.begin:
            wave = next(index for index, wave in enumerate(waves) if step.begin[0].id in wave)
            assert all(states[name] in ENDED for earlier in waves[:wave] for name in earlier)
        states |= {target.id: RUNNING for target in step.begin} | {target.id: CANCELLED for target in step.cancel}
        running = [name for name, state in states.items() if state is RUNNING]
        if running:
            states[data.draw(st.sampled_from(running))] = data.draw(st.sampled_from([SUCCEEDED, FAILED, CANCELLED]))
    assert all(state in ENDED for state in states.values())


def module(name, order=0, **fields):
    return new_module(f"mod_{name}", "sys_1", NewModule(name, "web", "1", start_order=order, **fields), [], NOW)


def record(name, module_id):
    spec = InstanceSpec(f"ins_{name}", 1, Desired.RUNNING, "sys_1", module_id, name, None, WEB)
    return Record("n", spec, None, None, None, None, NOW)


def test_waves_go_backwards_for_a_stop():
    modules = [module("db", 1), module("web", 2)]
    records = [record("w1", "mod_web"), record("d1", "mod_db"), record("w2", "mod_web"), record("x", "mod_gone")]
    started = (("ins_d1",), ("ins_w1", "ins_w2"), ("ins_x",))
    assert plan_waves(modules, records, Action.DEPLOY) == started
    assert plan_waves(modules, records, Action.DESTROY) == started[::-1]


def node(name, **changes):
    made = NodeFacts(f"node_{name}", name, "linux", "amd64", {"zone": "a"}, True)
    return msgspec.structs.replace(made, **changes)


NODES = [
    node("n1"),
    node("n2"),
    node("n3", labels={"zone": "b"}),
    node("n4", hindrance="it is draining"),
    node("n5", is_online=False),
    node("n6", os="windows"),
]


def names(found):
    return [one.name for one in found]


def test_without_replicas_every_matching_node_gets_one():
    assert names(choose_nodes(module("web"), WEB, NODES, [], {})) == ["n1", "n2", "n3"]
    zone = module("web", placement=Placement(labels={"zone": "a"}))
    assert names(choose_nodes(zone, WEB, NODES, ["node_n1"], {})) == ["n2"]
    assert choose_nodes(zone, WEB, NODES, ["node_n1", "node_n2"], {}) == []


def test_replicas_go_to_the_emptiest_nodes():
    two = module("web", replicas=2)
    assert names(choose_nodes(two, WEB, NODES, [], {"node_n1": 4, "node_n2": 1})) == ["n3", "n2"]
    assert names(choose_nodes(two, WEB, NODES, ["node_n5"], {})) == ["n1"]
    assert choose_nodes(two, WEB, NODES, ["node_n1", "node_n2", "node_n3"], {}) == []


@pytest.mark.parametrize("fields", [{"replicas": 4}, {"placement": Placement(labels={"zone": "c"})}])
def test_what_cannot_be_placed_is_refused(fields):
    with pytest.raises(NotAllowed) as caught:
        choose_nodes(module("web", **fields), WEB, NODES, [], {})
    assert caught.value.details["reason"] == "unplaceable"


def test_every_node_says_why_it_gets_none():
    with pytest.raises(NotAllowed) as caught:
        choose_nodes(
            module("web", replicas=2, placement=Placement(labels={"zone": "a"})),
            msgspec.structs.replace(WEB, ports={"http": 80}),
            NODES,
            [],
            {},
            {"node_n1": {80: "nginx"}},
        )
    said = dict(one.split(": ", 1) for one in caught.value.details["nodes"])
    assert said["n1"] == "port 80 (http) is taken by nginx"
    assert "zone=a" in said["n3"]
    assert set(said) == {node.name for node in NODES} - {"n2"}
    assert "2 replicas are wanted, 1 nodes fit" in caught.value.message


def test_replicas_spread_over_the_values_of_a_label():
    def rack(number, value):
        labels = {"rack": value} if value else {}
        return msgspec.structs.replace(NODES[0], id=f"node_r{number}", name=f"r{number}", labels=labels)

    racks = [rack(1, "a"), rack(2, "a"), rack(3, "a"), rack(4, "b"), rack(5, "c"), rack(6, "")]
    spread = module("web", replicas=4, placement=Placement(spread_by="rack"))
    assert names(choose_nodes(spread, WEB, racks, [], {})) == ["r1", "r4", "r5", "r2"]
    assert names(choose_nodes(spread, WEB, racks, ["node_r1", "node_r2"], {"node_r4": 9})) == ["r5", "r4"]
    with pytest.raises(NotAllowed) as caught:
        choose_nodes(msgspec.structs.replace(spread, replicas=6), WEB, racks, [], {})
    assert caught.value.details["nodes"] == ["r6: it has no label rack to spread by"]
