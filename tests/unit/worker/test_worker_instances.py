import datetime as dt
import errno
from pathlib import Path

import msgspec
import pytest

from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, HealthState, InstanceReport, InstanceSpec, Origin, State
from ops_system.model.packages import PackageRef
from ops_system.processes.spec import RunSpec
from ops_system.protocol.frames import Apply
from ops_system.worker.instances import DesiredStore, Instances, is_newer, join_statuses, refusal
from ops_system.worker.starts import OrderedStarts
from tests.fakes.processes import FakePreparer
from tests.fakes.wishes import PACKAGE, wish

NODE = NodeId("node_1")
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


def frame(spec: InstanceSpec, node_id: NodeId = NODE, issued_at: dt.datetime = NOW) -> Apply:
    return Apply(node_id, issued_at, issued_at + dt.timedelta(minutes=5), spec)


class Obedient:
    """A supervisor that only writes down."""

    def __init__(self) -> None:
        self.applied: list[RunSpec] = []
        self.forgotten: list[InstanceId] = []
        self.acked = 0
        self.told: list[InstanceReport] = []
        self.last_event_seq = 7

    async def apply(self, spec: RunSpec) -> None:
        self.applied.append(spec)

    async def forget(self, instance_id: InstanceId) -> None:
        self.forgotten.append(instance_id)

    def reports(self):
        return ()

    def pending_events(self, after_seq: int = 0, limit: int = 500):
        return ()

    def ack_events(self, seq: int) -> None:
        self.acked = seq


def make(folder: Path) -> tuple[Instances, Obedient, DesiredStore]:
    supervisor, store = Obedient(), DesiredStore(folder)
    store.load()
    resolve = lambda spec: RunSpec(source=spec, entrypoint="run.sh")  # noqa: E731 - a one-line stand-in
    starts = OrderedStarts(FakePreparer(folder / "instances"), lambda *_: None)
    instances = Instances(NODE, store, supervisor, starts=starts, resolve=resolve, on_report=supervisor.told.append)
    return instances, supervisor, store


async def test_a_wish_is_on_the_disk_before_it_is_carried_out(tmp_path: Path) -> None:
    instances, supervisor, _ = make(tmp_path)
    await instances.on_apply(frame(wish()), NOW)
    assert msgspec.json.decode((tmp_path / "inst_1.json").read_bytes(), type=InstanceSpec) == wish()
    assert [spec.source for spec in supervisor.applied] == [wish()]


async def test_a_wish_the_disk_has_no_room_for_waits_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances, supervisor, store = make(tmp_path)

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ops_system.worker.instances.write_atomic", full)
        await instances.on_apply(frame(wish(generation=2)), NOW)
        await instances.on_apply(frame(wish(generation=1)), NOW)
        await instances.retry_unsaved()
        assert supervisor.applied == []
        assert store.get(InstanceId("inst_1")) is None
    assert [(one.generation, one.reason.code) for one in supervisor.told if one.reason] == [(2, "storage_full")]
    await instances.retry_unsaved()
    assert [spec.generation for spec in supervisor.applied] == [2]
    await instances.retry_unsaved()
    assert len(supervisor.applied) == 1


async def test_older_and_equal_wishes_change_nothing(tmp_path: Path) -> None:
    instances, supervisor, _ = make(tmp_path)
    for spec in (wish(generation=3), wish(generation=3), wish(generation=2, desired=Desired.ABSENT)):
        await instances.on_apply(frame(spec), NOW)
    await instances.on_apply(frame(wish(generation=3, restart_seq=1)), NOW)
    assert [(spec.generation, spec.source.restart_seq) for spec in supervisor.applied] == [(3, 0), (3, 1)]


@pytest.mark.parametrize(
    "bad",
    [
        frame(wish(), NodeId("node_2")),
        frame(wish(), issued_at=NOW - dt.timedelta(hours=1)),
        frame(wish(), issued_at=NOW + dt.timedelta(hours=1)),
        frame(wish("../escape")),
        frame(wish("")),
    ],
)
async def test_wishes_for_others_expired_or_unnameable_are_refused(tmp_path: Path, bad: Apply) -> None:
    instances, supervisor, _ = make(tmp_path / "desired")
    await instances.on_apply(bad, NOW)
    assert supervisor.applied == []
    assert refusal(bad, NODE, NOW)
    assert not list((tmp_path / "desired").iterdir())


async def test_only_a_wish_at_the_wrong_time_is_worth_another_look(tmp_path: Path) -> None:
    instances, supervisor, _ = make(tmp_path)
    late = frame(wish(), issued_at=NOW - dt.timedelta(days=3))
    early = frame(wish(), issued_at=NOW + dt.timedelta(days=3))
    foreign = frame(wish(), NodeId("node_2"), NOW - dt.timedelta(days=3))
    assert [await instances.on_apply(one, NOW) for one in (late, early, foreign)] == [True, True, False]
    assert not await instances.on_apply(early, NOW + dt.timedelta(days=3))
    assert len(supervisor.applied) == 1


async def test_a_start_takes_up_what_the_disk_says_in_start_order(tmp_path: Path) -> None:
    instances, _, _ = make(tmp_path)
    for name, order in (("a", 2), ("b", 1), ("c", 0)):
        await instances.on_apply(frame(wish(name, start_order=order)), NOW)
    (tmp_path / "torn.json").write_text('{"instance_id": "torn", "gener')
    again, supervisor, _ = make(tmp_path)
    await again.reconcile()
    assert [spec.instance_id for spec in supervisor.applied] == ["c", "b", "a"]
    assert (tmp_path / "torn.json").read_text() == '{"instance_id": "torn", "gener'


async def test_only_tombstones_are_forgotten(tmp_path: Path) -> None:
    instances, supervisor, _ = make(tmp_path)
    await instances.on_apply(frame(wish()), NOW)
    await instances.on_forget(InstanceId("inst_1"))
    assert supervisor.forgotten == []
    assert (tmp_path / "inst_1.json").exists()
    await instances.on_apply(frame(wish(generation=2, desired=Desired.ABSENT)), NOW)
    await instances.on_forget(InstanceId("inst_1"))
    assert supervisor.forgotten == ["inst_1"]
    assert not (tmp_path / "inst_1.json").exists()


async def test_packages_of_destroyed_instances_are_not_in_use(tmp_path: Path) -> None:
    instances, _, store = make(tmp_path)
    other = PackageRef("web", "2.0.0", "1" * 64, 10, "")
    await instances.on_apply(frame(wish("a")), NOW)
    await instances.on_apply(frame(wish("b", desired=Desired.ABSENT, package=other)), NOW)
    assert store.packages_in_use() == {PACKAGE.sha256}


def test_newer_is_by_generation_then_by_restarts() -> None:
    assert is_newer(wish(), None)
    assert is_newer(wish(generation=2), wish(generation=1, restart_seq=9))
    assert not is_newer(wish(generation=1, restart_seq=9), wish(generation=2))


def test_statuses_leave_out_what_is_removed_or_unknown() -> None:
    def report(name: str, *, removed: bool = False) -> InstanceReport:
        return InstanceReport(InstanceId(name), 1, State.RUNNING, HealthState.HEALTHY, NOW, pid=5, removed=removed)

    rows = join_statuses([wish("a"), wish("b")], [report("a"), report("b", removed=True), report("stray")])
    assert [(row.instance_id, row.pid, row.desired) for row in rows] == [("a", 5, Desired.RUNNING)]


async def test_leaving_removes_what_is_ours_and_lets_go_of_the_rest(tmp_path: Path) -> None:
    instances, supervisor, _ = make(tmp_path)
    await instances.on_apply(frame(wish("a")), NOW)
    await instances.on_apply(frame(wish("b", origin=Origin.ADOPTED)), NOW)
    supervisor.applied.clear()
    await instances.remove_all()
    gone = {spec.instance_id: (spec.desired, spec.source.lets_go) for spec in supervisor.applied}
    assert gone == {"a": (Desired.ABSENT, False), "b": (Desired.ABSENT, True)}
