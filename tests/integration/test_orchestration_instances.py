import msgspec
import pytest

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.instances.events import InstanceFailed
from ops_system.master.instances.rules import Action
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.operations.rules import OperationQuery
from ops_system.master.systems.rules import ModulePatch
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound, StorageFull
from ops_system.model.instances import Desired, HealthState, PrepareProgress, State
from ops_system.model.manifest import Health
from ops_system.model.nodes import NodeStatus
from ops_system.model.operations import OperationState
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import EventsAck, Forget, Progress, Report
from tests.fakes.orchestration import ANN, driven, open_desk


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk, driven(desk):
        yield desk


async def test_a_deploy_succeeds_once_the_worker_proves_it_running(desk):
    node, instance, operation = await desk.deployed()
    wish = desk.links.wishes(instance)[-1]
    assert (wish.generation, wish.desired, wish.package.name) == (1, Desired.RUNNING, "web")
    await desk.report(node, instance, "starting")
    assert (await desk.operations.get(operation)).state is OperationState.RUNNING
    await desk.report(node, instance, "running", pid=42)
    done = await desk.operations.get(operation)
    assert done.state is OperationState.SUCCEEDED
    assert {step.state for step in done.steps} == {OperationState.SUCCEEDED}
    seen = await desk.instances.get(instance)
    assert (seen.state, seen.pid, seen.operation_id) == (State.RUNNING, 42, None)


async def test_a_deploy_fails_at_the_first_exit_with_its_reason(desk):
    node, instance, operation = await desk.deployed()
    why = Reason("exited", "exited with code 7", {"exit_code": 7})
    await desk.report(node, instance, "backoff", reason=why, exit_code=7)
    failed = await desk.operations.get(operation)
    assert failed.state is OperationState.FAILED
    assert failed.error == why
    await desk.report(node, instance, "running")
    assert (await desk.operations.get(operation)).state is OperationState.FAILED
    again = await desk.operations.retry(operation, ANN)
    assert again.kind == "instance.deploy"
    await desk.obey(node, instance)
    assert (await desk.operations.get(again.id)).state is OperationState.SUCCEEDED


async def test_progress_is_shown_with_bytes_and_survives_a_change_of_state(desk):
    node, instance, operation = await desk.deployed()
    desk.observer.on_progress(node, Progress(progress=PrepareProgress(instance, 1, "download", 3, 9)))
    seen = await desk.operations.get(operation)
    assert (seen.targets[0].step, seen.targets[0].bytes_done, seen.targets[0].bytes_total) == ("download", 3, 9)
    desk.observer.on_progress(node, Progress(progress=PrepareProgress(instance, 1, "unpack", 0, 0)))
    await desk.report(node, instance, "failed", reason=Reason("unpack_failed", "no"))
    ended = await desk.operations.get(operation)
    assert [step.state for step in ended.steps[:3]] == [
        OperationState.SUCCEEDED,
        OperationState.SUCCEEDED,
        OperationState.FAILED,
    ]
    assert any(change.topic == "operations" for change in desk.published)


async def test_a_newer_act_supersedes_the_one_that_waits(desk):
    node, instance, operation = await desk.deployed()
    _, stop = await desk.instances.act(instance, Action.STOP, ANN)
    old = await desk.operations.get(operation)
    assert old.state is OperationState.CANCELLED
    assert old.targets[0].reason.code == "superseded"
    await desk.obey(node, instance)
    assert (await desk.operations.get(stop.id)).state is OperationState.SUCCEEDED


async def test_a_late_report_of_an_older_wish_changes_nothing(desk):
    node, instance, _ = await desk.deployed()
    await desk.obey(node, instance)
    _, stop = await desk.instances.act(instance, Action.STOP, ANN)
    await desk.report(node, instance, "stopped", generation=1)
    assert (await desk.operations.get(stop.id)).state is OperationState.RUNNING
    assert (await desk.instances.get(instance)).state is State.RUNNING


async def test_what_was_destroyed_does_not_come_back(desk):
    node, instance, _ = await desk.deployed()
    await desk.obey(node, instance)
    stale = await desk.picture(instance, "running", generation=1)
    with pytest.raises(NotAllowed, match="stop"):
        await desk.instances.destroy(instance, ANN, may_stop=False, is_forced=False)
    _, removal = await desk.instances.destroy(instance, ANN, may_stop=True, is_forced=False)
    _, same = await desk.instances.destroy(instance, ANN, may_stop=True, is_forced=False)
    assert same.id == removal.id
    assert (await desk.instances.get(instance)).desired is Desired.ABSENT
    await desk.obey(node, instance)
    assert (await desk.operations.get(removal.id)).state is OperationState.SUCCEEDED
    assert [frame.instance_id for frame in desk.links.of(Forget)] == [instance]
    with pytest.raises(NotFound):
        await desk.instances.get(instance)

    await desk.link_up(node, stale)
    with pytest.raises(NotFound):
        await desk.instances.get(instance)
    wish = desk.links.wishes(instance)[-1]
    assert wish.desired is Desired.ABSENT
    assert wish.generation > stale.generation


async def test_a_stranger_is_left_alone_and_recorded(desk):
    node, instance, _ = await desk.deployed()
    thief = desk.nodes.add("thief")
    unknown = await desk.picture(instance, "running", instance_id="ins_unknown")
    await desk.link_up(node, unknown, await desk.picture(instance, "running"))
    assert desk.links.wishes("ins_unknown") == []
    await desk.report(thief, instance, "stopped")
    assert (await desk.instances.get(instance)).state is State.RUNNING
    rows = await desk.database.fetch_all("SELECT target FROM audit WHERE action = 'instance.report'")
    assert [row["target"] for row in rows] == ["instance:ins_unknown", f"instance:{instance}"]


async def test_a_snapshot_is_answered_with_what_the_worker_does_not_know(desk):
    node, instance, _ = await desk.deployed()
    desk.links.sent.clear()
    await desk.link_up(node)
    assert [wish.generation for wish in desk.links.wishes(instance)] == [1]
    await desk.obey(node, instance)
    desk.links.sent.clear()
    await desk.link_up(node, await desk.picture(instance, "running"))
    assert desk.links.wishes(instance) == []
    await desk.link_up(node, await desk.picture(instance, "running", generation=7))
    assert [wish.generation for wish in desk.links.wishes(instance)] == [8]


async def test_a_silent_node_makes_its_instances_unknown(desk):
    node, instance, _ = await desk.deployed()
    await desk.obey(node, instance)
    desk.published.clear()
    desk.nodes.set(node, status=NodeStatus.OFFLINE)

    async def unknown_shown():
        return [one for one in desk.published if one.topic == "instances" and one.data.state is State.UNKNOWN]

    await desk.until(unknown_shown)
    assert (await desk.instances.get(instance)).state is State.UNKNOWN
    assert (await desk.instances.list_page(InstanceQuery(state="unknown"))).total == 1
    assert (await desk.instances.list_page(InstanceQuery(state="running"))).total == 0
    await desk.link_up(node, await desk.picture(instance, "running"))
    assert (await desk.instances.get(instance)).state is State.RUNNING


async def test_a_master_that_starts_knows_nothing_until_nodes_report(desk):
    node, instance, operation = await desk.deployed()
    await desk.report(node, instance, "starting")
    again = desk.restart()
    async with driven(again):
        assert (await again.instances.get(instance)).state is State.UNKNOWN
        again.observer.on_progress(node, Progress(progress=PrepareProgress(instance, 1, "prove", 0, 0)))
        assert (await again.operations.get(operation)).targets[0].step == "prove"
        await again.link_up(node, await again.picture(instance, "running"))
        assert (await again.operations.get(operation)).state is OperationState.SUCCEEDED


async def test_a_lost_node_lets_its_instances_be_forgotten(desk):
    node, instance, _ = await desk.deployed()
    await desk.obey(node, instance)
    with pytest.raises(NotAllowed, match="online"):
        await desk.instances.destroy(instance, ANN, may_stop=False, is_forced=True)
    desk.nodes.set(node, status=NodeStatus.OFFLINE)
    stale = await desk.picture(instance, "running")
    with pytest.raises(NotAllowed):
        await desk.instances.destroy(instance, ANN, may_stop=False, is_forced=False)
    _, operation = await desk.instances.destroy(instance, ANN, may_stop=False, is_forced=True)
    assert operation.state is OperationState.SUCCEEDED
    with pytest.raises(NotFound):
        await desk.instances.get(instance)
    await desk.link_up(node, stale)
    assert desk.links.wishes(instance)[-1].desired is Desired.ABSENT


async def test_a_cancelled_deploy_becomes_a_stop(desk):
    _, instance, operation = await desk.deployed()
    cancelled = await desk.operations.cancel(operation, ANN)
    assert cancelled.state is OperationState.CANCELLED
    assert desk.links.wishes(instance)[-1].desired is Desired.STOPPED
    with pytest.raises(NotAllowed, match="has ended"):
        await desk.operations.cancel(operation, ANN)
    _, stop = await desk.instances.act(instance, Action.STOP, ANN)
    with pytest.raises(NotAllowed, match="taken back"):
        await desk.operations.cancel(stop.id, ANN)
    with pytest.raises(NotAllowed, match="paused"):
        await desk.operations.pause(stop.id, ANN)


async def test_a_module_comes_to_a_node_once_and_ports_do_not_collide(desk):
    node, instance, _ = await desk.deployed(ports={"http": 8080})
    web = await desk.instances.get(instance)
    with pytest.raises(Conflict, match="already"):
        await desk.instances.create(web.module_id, node, ANN)
    await desk.upload("api", ports={"main": 8080})
    api = await desk.module(web.system_id, "api")
    with pytest.raises(Conflict, match="8080"):
        await desk.instances.create(api, node, ANN)
    other = await desk.module(web.system_id, "api2", package="api", ports={"main": 8081})
    await desk.instances.create(other, node, ANN)
    assert (await desk.instances.list_page(InstanceQuery(node_id=node))).total == 2


async def test_what_cannot_run_there_is_refused_and_leaves_nothing(desk):
    node = desk.nodes.add("n1")
    system = await desk.system()
    await desk.upload("win", os="windows")
    await desk.upload("odd", args=["${port.nope}"])
    win, odd = await desk.module(system, "win"), await desk.module(system, "odd")
    with pytest.raises(NotAllowed, match="windows"):
        await desk.instances.create(win, node, ANN)
    with pytest.raises(Invalid, match=r"port\.nope"):
        await desk.instances.create(odd, node, ANN)
    with pytest.raises(NotFound):
        await desk.instances.create(odd, "node_x", ANN)
    assert (await desk.instances.list_page(InstanceQuery())).total == 0
    assert (await desk.operations.list_page(OperationQuery())).total == 0


async def test_an_edit_comes_with_the_next_start(desk):
    node, instance, _ = await desk.deployed()
    await desk.obey(node, instance)
    web = await desk.instances.get(instance)
    await desk.systems.patch_module(web.module_id, ModulePatch(env={"MODE": "new"}), ANN)
    await desk.instances.act(instance, Action.START, ANN)
    assert "MODE" not in desk.links.wishes(instance)[-1].service.env
    await desk.instances.act(instance, Action.RESTART, ANN)
    wish = desk.links.wishes(instance)[-1]
    assert wish.service.env["MODE"] == "new"
    assert wish.restart_seq == 1
    await desk.upload("web", "2.0")
    await desk.systems.patch_module(web.module_id, ModulePatch(version="2.0"), ANN)
    await desk.instances.act(instance, Action.RESTART, ANN)
    assert desk.links.wishes(instance)[-1].package.version == "1.0"


async def test_a_probe_gates_success(desk):
    health = {"type": "tcp", "target": "127.0.0.1:80"}
    node, instance, operation = await desk.deployed(health=health)
    assert isinstance(desk.links.wishes(instance)[-1].service.health, Health)
    await desk.report(node, instance, "running", health=HealthState.STARTING)
    assert (await desk.operations.get(operation)).state is OperationState.RUNNING
    await desk.report(node, instance, "running", health=HealthState.HEALTHY)
    assert (await desk.operations.get(operation)).state is OperationState.SUCCEEDED


async def test_timeline_lines_are_stored_once_and_acknowledged_after(desk):
    node, instance, _ = await desk.deployed()
    lines = [desk.event(instance, seq) for seq in (1, 2, 3)]
    await desk.events(node, *lines[:2])
    await desk.events(node, *lines)
    timeline = await desk.instances.list_events(instance, ListQuery())
    assert timeline.total == 3
    assert timeline.items[0].at == lines[2].at
    assert [frame.seq for frame in desk.links.of(EventsAck)] == [2, 3]
    assert len([one for one in desk.published if one.topic == f"events:instance:{instance}"]) == 3

    await desk.link_up(node, last_event_seq=1)  # the worker lost its folder and counts anew
    await desk.events(node, desk.event(instance, 1, kind="exit"))
    assert (await desk.instances.list_events(instance, ListQuery())).total == 4


async def test_events_of_another_nodes_instance_are_not_taken(desk):
    _, instance, _ = await desk.deployed()
    thief = desk.nodes.add("thief")
    await desk.events(thief, desk.event(instance, 1))
    assert (await desk.instances.list_events(instance, ListQuery())).total == 0
    assert [frame.seq for frame in desk.links.of(EventsAck)] == [1]


async def test_what_is_in_use_cannot_be_deleted(desk):
    node, instance, _ = await desk.deployed()
    web = await desk.instances.get(instance)
    with pytest.raises(NotAllowed, match="instances exist"):
        await desk.systems.delete_module(web.module_id, ANN)
    with pytest.raises(NotAllowed, match="instances exist"):
        await desk.systems.delete_system(web.system_id, ANN)
    with pytest.raises(NotAllowed, match="used by"):
        await desk.packages.delete("web", "1.0", ANN)
    assert await desk.nodes.names_in_use(node) == ["web"]
    assert (await desk.audit.verify()).ok


async def test_reports_that_came_together_are_taken_in_order(desk):
    node, instance, operation = await desk.deployed()
    why = Reason("exited", "exited with code 1")
    for state, reason in (("starting", None), ("backoff", why), ("running", None)):
        await desk.observer.on_report(node, Report(report=await desk.picture(instance, state, reason=reason)))
    ended = await desk.ended(operation)
    assert (ended.state, ended.error) == (OperationState.FAILED, why)
    await desk.observer.drain()
    assert (await desk.instances.get(instance)).state is State.RUNNING


async def test_a_snapshot_is_newer_than_reports_that_wait(desk):
    node, instance, _ = await desk.deployed()
    old, new = await desk.picture(instance, "starting"), await desk.picture(instance, "running")
    await desk.observer.on_report(node, Report(report=old))
    await desk.link_up(node, new)
    await desk.observer.drain()
    assert (await desk.instances.get(instance)).state is State.RUNNING


async def test_reports_wait_while_the_disk_is_full(desk, monkeypatch):
    node, instance, operation = await desk.deployed()
    monkeypatch.setattr("ops_system.master.instances.observer.RETRY_S", 0.01)
    real, tries = desk.database.transaction, []

    def full():
        tries.append(1)
        if len(tries) < 3:
            raise StorageFull("no room")
        return real()

    desk.database.transaction = full
    await desk.observer.on_report(node, Report(report=await desk.picture(instance, "running")))
    assert (await desk.ended(operation)).state is OperationState.SUCCEEDED
    assert len(tries) >= 3


async def test_a_report_that_cannot_be_taken_does_not_stop_the_others(desk, caplog):
    node, instance, operation = await desk.deployed()
    poison = await desk.picture(instance, "running", generation=2**63)
    await desk.observer.on_report(node, Report(report=poison))
    await desk.observer.on_report(node, Report(report=await desk.picture(instance, "running")))
    assert (await desk.ended(operation)).state is OperationState.SUCCEEDED
    assert "dropped" in caplog.text


async def test_what_a_node_refuses_by_its_policy_is_audited_once(desk):
    node, instance, _ = await desk.deployed()
    refusal = Reason("policy_refused", "no services as root here", {"policy": "run_as_root"})
    lines = [msgspec.structs.replace(desk.event(instance, seq), reason=refusal) for seq in (1, 2)]
    await desk.events(node, lines[0])
    await desk.events(node, *lines)  # the first again: its acknowledgement was lost
    await desk.events(desk.nodes.add("n2"), *lines)  # another's instance
    rows = (await desk.audit.list_page(AuditQuery(action="policy.refuse"))).items
    assert [(row.actor_id, row.target, row.outcome) for row in rows] == [(node, f"instance:{instance}", "denied")] * 2
    assert rows[0].details["policy"] == "run_as_root"


async def test_a_failure_is_told_once_for_each_wish(desk):
    told = []
    desk.bus.subscribe(InstanceFailed, told.append)
    node, instance, _ = await desk.deployed()
    gave_up = Reason("gave_up", "gave up after 5 restarts")
    await desk.report(node, instance, "backoff")
    for _ in range(3):
        await desk.report(node, instance, "failed", reason=gave_up)
    await desk.link_up(node, await desk.picture(instance, "failed", reason=gave_up))
    assert [(one.instance_id, one.node_id, one.name, one.reason) for one in told] == [(instance, node, "web", gave_up)]
    await desk.instances.act(instance, Action.START, ANN)
    await desk.report(node, instance, "failed", reason=gave_up)
    assert len(told) == 2
    await desk.instances.act(instance, Action.STOP, ANN)
    await desk.report(node, instance, "failed", reason=gave_up)
    assert len(told) == 2  # nobody wants it to run
