import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_system.master.upgrades.rules import (
    Change,
    Outcome,
    Phase,
    Strategy,
    Target,
    Upgrade,
    changes_of,
    check_strategy,
    next_move,
    plan_waves,
)
from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId, ModuleId, NodeId, SystemId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.manifest import Manifest
from ops_system.model.packages import PackageRef
from ops_system.model.reasons import Reason


def spec(version="1", **service):
    return InstanceSpec(
        instance_id=InstanceId("i"),
        generation=1,
        desired=Desired.RUNNING,
        system_id=SystemId("s"),
        module_id=ModuleId("m"),
        name="web",
        package=PackageRef(name="app", version=version, sha256=version * 64, size_bytes=1, signature=""),
        service=Manifest(name="app", version=version, entrypoint="run.sh", **service),
    )


def targets(count, canary=1):
    waves = plan_waves(count, canary)
    return [Target(InstanceId(f"i{n}"), NodeId("n"), wave, Phase.WAITING, spec()) for n, wave in enumerate(waves)]


def upgrade(**strategy):
    return Upgrade("op", "m", "s", "1", "2", Strategy(**strategy))


@pytest.mark.parametrize(
    ("count", "canary", "waves"),
    [
        (1, 1, [0]),
        (3, 1, [0, 1, 2]),
        (9, 1, [0, 1, 1, *[2] * 6]),
        (4, 0, [0, 1, 1, 1]),
        (2, 5, [0, 0]),
        (0, 1, []),
    ],
)
def test_the_canary_then_a_quarter_then_the_rest(count, canary, waves):
    assert plan_waves(count, canary) == waves


@pytest.mark.parametrize("wrong", [{"max_parallel": 0}, {"canary": -1}, {"bake_s": 1e9}])
def test_a_strategy_out_of_range_is_named(wrong):
    with pytest.raises(Invalid, match=next(iter(wrong))):
        check_strategy(Strategy(**wrong))


def test_changes_are_listed_by_field_and_long_ones_cut():
    found = changes_of(spec(), spec("2", args=("-v",), description="x" * 5000))
    assert Change("package.version", "1", "2") in found
    assert Change("service.args", "[]", '["-v"]') in found
    assert max(len(change.after) for change in found) < 2100
    assert changes_of(spec(), replace(spec(), generation=9, desired=Desired.STOPPED)) == []


class Field:
    """Plays driver and workers: `fates` says which instances fail where."""

    def __init__(self, plan, count, canary, fates):
        self.plan = plan
        self.all = {target.instance_id: target for target in targets(count, canary)}
        self.fates = fates
        self.now_ms = 0
        self.versions = dict.fromkeys(self.all, "1")

    def set(self, target, phase, **more):
        self.all[target.instance_id] = replace(self.all[target.instance_id], phase=phase, **more)

    def fail(self, target):
        reason = Reason("bad", "it failed")
        self.set(target, Phase.FAILED, reason=reason)
        if self.plan.failure is None:
            self.plan = replace(self.plan, failure=reason)

    def step(self):
        move = next_move(self.plan, list(self.all.values()), self.now_ms)
        for target in move.fetch:
            if self.fates.get(target.instance_id) == "fetch":
                self.fail(target)
            else:
                self.set(target, Phase.READY)
        for target in move.upgrade:
            self.set(target, Phase.UPGRADING, is_touched=True)
            self.versions[target.instance_id] = "2"
        for target in move.back:
            self.set(target, Phase.RETURNING)
        away = [one for one in self.all.values() if one.phase in {Phase.UPGRADING, Phase.RETURNING}]
        assert len(away) <= 2 * self.plan.strategy.max_parallel  # those that fail and those that go back
        assert sum(one.phase is Phase.UPGRADING for one in away) <= self.plan.strategy.max_parallel
        for target in move.settle:
            self.set(target, Phase.DONE)
        if move.watch:
            self.plan = replace(self.plan, bake_until_ms=self.now_ms + 1000)
        elif move.settle:
            self.plan = replace(self.plan, bake_until_ms=None)
        self.now_ms += move.wait_ms or 0
        self.report()
        return move.outcome

    def report(self):
        """One worker answers."""
        for target in list(self.all.values()):
            fate = self.fates.get(target.instance_id)
            if target.phase is Phase.UPGRADING:
                self.fail(target) if fate == "start" else self.set(target, Phase.PROVEN)
                return
            if target.phase is Phase.PROVEN and fate == "bake":
                self.fail(target)
                return
            if target.phase is Phase.RETURNING:
                self.versions[target.instance_id] = "1"
                self.set(target, Phase.STUCK if fate == "stuck" else Phase.RETURNED)
                return


@given(
    count=st.integers(1, 12),
    canary=st.integers(0, 3),
    parallel=st.integers(1, 4),
    fates=st.dictionaries(st.integers(0, 11), st.sampled_from(["fetch", "start", "bake"]), max_size=3),
    may_return=st.booleans(),
)
def test_it_always_ends_with_one_version_unless_it_may_not_return(count, canary, parallel, fates, may_return):
    plan = upgrade(max_parallel=parallel, canary=canary, bake_s=1, auto_revert=may_return)
    field = Field(plan, count, canary, {f"i{number}": fate for number, fate in fates.items() if number < count})
    outcome = None
    for _ in range(40 * count + 40):
        outcome = field.step()
        if outcome is not None:
            break
    assert outcome is not None
    if not field.fates:
        assert outcome is Outcome.SUCCEEDED
    if outcome is Outcome.SUCCEEDED:
        assert set(field.versions.values()) == {"2"}
    if outcome is Outcome.RETURNED:
        assert set(field.versions.values()) == {"1"}
    if field.plan.failure is not None:
        assert outcome is (Outcome.RETURNED if may_return else Outcome.FAILED)


def test_nothing_begins_while_it_is_paused_and_a_bake_goes_on():
    plan, field = upgrade(), targets(2)
    assert not next_move(plan, field, 0, is_paused=True).fetch
    assert next_move(plan, field, 0).fetch == (field[0],)


def test_the_second_wave_waits_for_the_bake_time_of_the_first():
    plan, field = upgrade(bake_s=5), targets(2)
    proven = [replace(field[0], phase=Phase.PROVEN), field[1]]
    assert next_move(plan, proven, 0).watch == (proven[0],)
    plan = replace(plan, bake_until_ms=5000)
    assert next_move(plan, proven, 4000).wait_ms == 1000
    assert next_move(plan, proven, 5000).settle == (proven[0],)
    done = [replace(field[0], phase=Phase.DONE), field[1]]
    assert next_move(replace(plan, bake_until_ms=None), done, 5000).fetch == (field[1],)


def test_what_is_down_goes_back_before_what_still_serves():
    plan = replace(upgrade(max_parallel=1), failure=Reason("bad", "bad"))
    field = [
        replace(one, phase=phase, is_touched=True)
        for one, phase in zip(targets(3), (Phase.DONE, Phase.FAILED, Phase.PROVEN), strict=True)
    ]
    assert next_move(plan, field, 0).back == (field[1],)
    field[1] = replace(field[1], phase=Phase.RETURNED)
    assert next_move(plan, field, 0).back == (field[2],)


def test_one_that_does_not_come_back_is_no_return():
    plan = replace(upgrade(), failure=Reason("bad", "bad"))
    field = [replace(targets(1)[0], phase=Phase.STUCK, is_touched=True)]
    assert next_move(plan, field, 0).outcome is Outcome.FAILED
