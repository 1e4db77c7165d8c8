from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ops_system.master.instances.placing import NodeFacts, check_node, check_placeholders, check_ports
from ops_system.master.instances.rules import (
    Action,
    EventMark,
    Record,
    Take,
    after_cancel,
    check_destroy,
    judge_action,
    judge_report,
    mark_at_link,
    needs_apply,
    next_wish,
    outbid,
)
from ops_system.master.instances.views import view_of
from ops_system.model.errors import Conflict, Invalid, NotAllowed
from ops_system.model.instances import ConfigFile, Desired, HealthState, InstanceReport, InstanceSpec, State
from ops_system.model.manifest import Health, Manifest
from ops_system.model.operations import OperationState
from ops_system.model.reasons import Reason

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HTTP = Manifest(name="web", version="1", entrypoint="run", health=Health(type="http", target="http://127.0.0.1/"))
NODE = NodeFacts("node_1", "n1", "linux", "amd64", {}, True)


def spec(generation=3, desired=Desired.RUNNING, service=HTTP, **changes):
    made = InstanceSpec("ins_1", generation, desired, "sys_1", "mod_1", "web", None, service)
    return msgspec.structs.replace(made, **changes)


def report(state=State.RUNNING, generation=3, health=HealthState.UNKNOWN, **changes):
    made = InstanceReport("ins_1", generation, state, health, NOW)
    return msgspec.structs.replace(made, **changes)


def record(action=Action.DEPLOY, wish=None, observed=None):
    return Record("node_1", wish or spec(), observed, action, "op_1", NOW, NOW)


def test_each_act_raises_the_generation_once():
    wish = spec()
    for action in set(Action) - {Action.RELEASE}:
        assert next_wish(wish, action).generation == wish.generation + 1


@pytest.mark.parametrize(
    ("action", "desired", "restart_seq", "stop_now"),
    [
        (Action.START, Desired.RUNNING, 0, False),
        (Action.RESTART, Desired.RUNNING, 1, False),
        (Action.STOP, Desired.STOPPED, 0, False),
        (Action.KILL, Desired.STOPPED, 0, True),
        (Action.DESTROY, Desired.ABSENT, 0, False),
    ],
)
def test_what_an_act_wishes(action, desired, restart_seq, stop_now):
    wish = next_wish(spec(), action)
    assert (wish.desired, wish.restart_seq, wish.stop_now) == (desired, restart_seq, stop_now)


def test_a_start_after_a_kill_has_its_grace_again():
    assert not next_wish(next_wish(spec(), Action.KILL), Action.START).stop_now


def test_an_edited_definition_comes_with_a_new_start_alone():
    fresh = spec(0, Desired.STOPPED, name="edited")
    running, stopped = spec(), spec(desired=Desired.STOPPED)
    assert next_wish(running, Action.START, fresh).name == "web"
    assert next_wish(running, Action.RESTART, fresh).name == "edited"
    assert next_wish(stopped, Action.START, fresh).name == "edited"
    assert next_wish(running, Action.RESTART, fresh).generation == 4


def test_nothing_is_asked_of_what_is_being_destroyed():
    with pytest.raises(NotAllowed, match="being destroyed"):
        next_wish(spec(desired=Desired.ABSENT), Action.START)
    assert next_wish(spec(desired=Desired.ABSENT), Action.DESTROY).desired is Desired.ABSENT


@pytest.mark.parametrize(
    ("wish", "said", "take"),
    [
        (spec(), report(generation=3), Take.ACCEPT),
        (spec(), report(generation=2), Take.DROP),
        (spec(), report(generation=9), Take.OUTBID),
        (spec(), report(removed=True), Take.OUTBID),
        (spec(desired=Desired.ABSENT), report(removed=True), Take.ACCEPT),
        (spec(desired=Desired.ABSENT), report(generation=2, removed=True), Take.DROP),
    ],
)
def test_which_reports_count(wish, said, take):
    assert judge_report(wish, said) is take


def test_outbidding_rises_above_both():
    wish = outbid(spec(3), report(generation=9, restart_seq=4))
    assert (wish.generation, wish.restart_seq) == (10, 4)


def test_a_worker_is_told_again_while_it_is_behind():
    assert needs_apply(spec(), None)
    assert needs_apply(spec(), report(generation=2))
    assert needs_apply(spec(restart_seq=2), report(restart_seq=1))
    assert not needs_apply(spec(restart_seq=2), report(restart_seq=2))


FAILURE = Reason("exited", "exited with code 7", {"exit_code": 7})
DOWNLOAD = Reason("download_failed", "cut")


@pytest.mark.parametrize(
    ("action", "said", "state"),
    [
        (Action.DEPLOY, report(State.STARTING), None),
        (Action.DEPLOY, report(State.RUNNING, health=HealthState.STARTING), None),
        (Action.DEPLOY, report(State.RUNNING, health=HealthState.HEALTHY), OperationState.SUCCEEDED),
        (Action.DEPLOY, report(State.BACKOFF, reason=FAILURE), OperationState.FAILED),
        (Action.DEPLOY, report(State.FAILED, reason=FAILURE), OperationState.FAILED),
        (Action.START, report(State.EXITED), OperationState.FAILED),
        (Action.DEPLOY, report(State.BACKOFF, reason=DOWNLOAD, at=NOW + timedelta(seconds=30)), None),
        (Action.DEPLOY, report(State.BACKOFF, reason=DOWNLOAD, at=NOW + timedelta(seconds=90)), OperationState.FAILED),
        (Action.STOP, report(State.STOPPING), None),
        (Action.STOP, report(State.STOPPED), OperationState.SUCCEEDED),
        (Action.KILL, report(State.STOPPING, reason=Reason("cannot_kill", "no")), OperationState.FAILED),
        (Action.DESTROY, report(State.STOPPED), None),
        (Action.DESTROY, report(State.STOPPED, removed=True), OperationState.SUCCEEDED),
        (Action.DEPLOY, report(State.RUNNING, generation=2, health=HealthState.HEALTHY), None),
    ],
)
def test_how_reports_end_an_action(action, said, state):
    verdict = judge_action(record(action), said)
    assert (verdict.state if verdict else None) == state
    if state is OperationState.FAILED:
        assert verdict.reason is not None


def test_a_restart_is_done_when_the_worker_has_seen_it():
    waiting = record(Action.RESTART, spec(restart_seq=2))
    healthy = report(health=HealthState.HEALTHY, restart_seq=1)
    assert judge_action(waiting, healthy) is None
    assert judge_action(waiting, msgspec.structs.replace(healthy, restart_seq=2)).state is OperationState.SUCCEEDED


def test_running_is_proof_where_no_probe_is_set():
    plain = Manifest(name="web", version="1", entrypoint="run")
    assert judge_action(record(wish=spec(service=plain)), report()).state is OperationState.SUCCEEDED
    assert judge_action(record(), report()) is None


def test_what_a_cancel_undoes():
    assert after_cancel(Action.DEPLOY) is Action.STOP
    assert after_cancel(Action.RESTART) is None
    with pytest.raises(NotAllowed):
        after_cancel(Action.STOP)


def test_what_runs_or_is_unknown_is_not_removed_without_stop():
    for state in (State.RUNNING, State.BACKOFF, State.UNKNOWN, State.STOPPING, State.PENDING):
        with pytest.raises(NotAllowed):
            check_destroy(spec(), state, may_stop=False)
        check_destroy(spec(), state, may_stop=True)
    for state in (State.STOPPED, State.EXITED, State.FAILED):
        check_destroy(spec(), state, may_stop=False)


def test_a_silent_node_makes_its_instances_unknown():
    seen = record(observed=report(State.RUNNING, health=HealthState.HEALTHY, pid=7))
    heard, silent = view_of(seen, {"cpu_percent": 1.0}, is_heard=True), view_of(seen, {}, is_heard=False)
    assert (heard.state, heard.health, heard.pid) == (State.RUNNING, HealthState.HEALTHY, 7)
    assert (silent.state, silent.health) == (State.UNKNOWN, HealthState.UNKNOWN)
    assert silent.reason.code == "node_silent"
    assert view_of(record(), {}, is_heard=True).state is State.PENDING


def test_a_worker_that_counts_anew_begins_an_era():
    assert mark_at_link(EventMark(0, 5), 5) == EventMark(0, 5)
    assert mark_at_link(EventMark(0, 5), 9) == EventMark(0, 5)
    assert mark_at_link(EventMark(0, 5), 2) == EventMark(1, 0)


@pytest.mark.parametrize(
    ("manifest", "node", "code"),
    [
        ({"os": "windows"}, {}, "wrong_os"),
        ({"arch": "arm64"}, {}, "wrong_arch"),
        ({}, {"os": ""}, "node_not_ready"),
        ({}, {"hindrance": "it is paused"}, "node_not_ready"),
    ],
)
def test_which_nodes_take_a_package(manifest, node, code):
    with pytest.raises(NotAllowed) as caught:
        check_node(msgspec.structs.replace(HTTP, **manifest), msgspec.structs.replace(NODE, **node))
    assert caught.value.details["reason"] == code
    check_node(msgspec.structs.replace(HTTP, os="linux", arch="amd64"), NODE)


def test_two_instances_do_not_declare_one_port():
    ours = spec(service=msgspec.structs.replace(HTTP, ports={"http": 8080, "admin": 9000}))
    other = spec(service=msgspec.structs.replace(HTTP, ports={"api": 8080}), instance_id="ins_2", name="api")
    with pytest.raises(Conflict, match=r"8080 \(http\) is declared by api"):
        check_ports(ours, [other], NODE)
    check_ports(ours, [ours], NODE)
    check_ports(ours, [msgspec.structs.replace(other, desired=Desired.ABSENT)], NODE)


def test_every_placeholder_without_value_is_named():
    manifest = msgspec.structs.replace(
        HTTP,
        args=("--port=${port.http}", "${port.admin}"),
        env={"A": "${env.B}", "C": "$$ ${node.ip}"},
        ports={"http": 1},
    )
    with pytest.raises(Invalid) as caught:
        check_placeholders(manifest, [ConfigFile("a.conf", "${nobody.knows}")])
    problems = caught.value.details["problems"]
    assert len(problems) == 3
    assert "$.args[1]" in problems[0]
    assert "env.B" in problems[1]
    assert "nobody.knows" in problems[2]
