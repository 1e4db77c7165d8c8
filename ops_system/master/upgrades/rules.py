"""What a rollout does next: pure. Called by the driver after every change, and at start for what a kill left.

    waiting -> fetching -> ready -> upgrading -> proven -> done          (per instance)
                  |                     |          |        |
                  +-------> failed <----+----------+--------+            the first regress stops everything
                              |
                              v
                          returning -> returned | stuck                  what was touched goes back, by `auto_revert`

    waves: the canary, a quarter of the rest, the rest. A wave begins when the one before was watched for `bake_s`
    without a regress; inside a wave at most `max_parallel` instances are away at once.

The targets' phases are the whole state: a master that was killed reads them and goes on.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from ops_system.master.instances.rules import Record
from ops_system.master.upgrades.gates import Gate, find_gate_problems
from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import Desired, HealthState, InstanceReport, InstanceSpec, State
from ops_system.model.reasons import Reason

SECOND_WAVE = 0.25  # of what is left after the canary
MAX_BAKE_S = 86_400.0
MAX_PARALLEL = 1000
MAX_NOTE = 500
GATE_LOOK_MS = 1000


class Strategy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a rollout goes on. `canary`: how many instances go first; 0: none do. `gates`: what each may use then."""

    max_parallel: int = 1
    canary: int = 1
    bake_s: float = 10.0
    auto_revert: bool = True
    gates: tuple[Gate, ...] = ()


class Phase(StrEnum):
    """Where one instance stands."""

    WAITING = "waiting"
    FETCHING = "fetching"  # the package is on its way to the node
    READY = "ready"
    UPGRADING = "upgrading"
    PROVEN = "proven"  # it runs and is watched
    DONE = "done"
    FAILED = "failed"
    RETURNING = "returning"
    RETURNED = "returned"
    STUCK = "stuck"  # it did not come back
    SKIPPED = "skipped"  # gone, or in other hands


class Target(msgspec.Struct, frozen=True):
    """One instance of a rollout.

    `before`: the definition to go back to; `pid`: of the process that was proven; `baseline`: the mean of each series
    in the last minute before it was touched, where gates are set.
    """

    instance_id: InstanceId
    node_id: NodeId
    wave: int
    phase: Phase
    before: InstanceSpec
    is_touched: bool = False
    pid: int | None = None
    reason: Reason | None = None
    baseline: dict[str, float] = {}


class Upgrade(msgspec.Struct, frozen=True):
    """One rollout. `failure`: why it goes back, or stands still without `auto_revert`."""

    operation_id: str
    module_id: str
    system_id: str
    from_version: str
    to_version: str
    strategy: Strategy
    note: str = ""
    scope: dict[str, str] = {}
    failure: Reason | None = None
    bake_until_ms: int | None = None


class Outcome(StrEnum):
    """How a rollout ends."""

    SUCCEEDED = "succeeded"
    RETURNED = "returned"
    FAILED = "failed"


class Move(msgspec.Struct, frozen=True):
    """What to do now; an empty move waits for news. `watch`: their bake time begins; `wait_ms`: look again by then."""

    fetch: tuple[Target, ...] = ()
    upgrade: tuple[Target, ...] = ()
    back: tuple[Target, ...] = ()
    settle: tuple[Target, ...] = ()
    watch: tuple[Target, ...] = ()
    wait_ms: int | None = None
    outcome: Outcome | None = None


_OVER = frozenset({Phase.DONE, Phase.SKIPPED})
_WATCHED = frozenset({Phase.PROVEN, Phase.DONE})


def check_strategy(strategy: Strategy) -> None:
    """Raise `Invalid` with every field that is out of range."""
    problems = [
        f"$.strategy.{name}: must be from {low} to {high:g}"
        for name, value, low, high in (
            ("max_parallel", strategy.max_parallel, 1, MAX_PARALLEL),
            ("canary", strategy.canary, 0, MAX_PARALLEL),
            ("bake_s", strategy.bake_s, 0, MAX_BAKE_S),
        )
        if not low <= value <= high
    ]
    problems += find_gate_problems(strategy.gates, strategy.bake_s)
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def plan_waves(count: int, canary: int) -> list[int]:
    """Return the number of the wave of each of `count` instances, in order: the canary, a quarter, the rest."""
    first = min(canary, count)
    second = math.ceil((count - first) * SECOND_WAVE)
    sizes = [size for size in (first, second, count - first - second) if size]
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def next_move(upgrade: Upgrade, targets: Sequence[Target], now_ms: int, *, is_paused: bool = False) -> Move:
    """Return what the phases call for now."""
    if upgrade.failure is not None:
        return _go_back(upgrade, targets)
    if all(target.phase in _OVER for target in targets):
        return Move(outcome=Outcome.SUCCEEDED)
    if is_paused:
        return Move()
    wave = min(target.wave for target in targets if target.phase not in _OVER)
    return _go_on(upgrade, [target for target in targets if target.wave == wave], now_ms)


def _go_on(upgrade: Upgrade, wave: Sequence[Target], now_ms: int) -> Move:
    if all(target.phase in _WATCHED | _OVER for target in wave):
        return _bake(upgrade, wave, now_ms)
    free = upgrade.strategy.max_parallel - _count(wave, Phase.UPGRADING)
    return Move(
        fetch=_in_phase(wave, Phase.WAITING),
        upgrade=_in_phase(wave, Phase.READY)[: max(0, free)],
    )


def _bake(upgrade: Upgrade, wave: Sequence[Target], now_ms: int) -> Move:
    if upgrade.bake_until_ms is None:
        return Move(watch=tuple(target for target in wave if target.phase in _WATCHED))
    if now_ms < upgrade.bake_until_ms:
        left_ms = upgrade.bake_until_ms - now_ms
        return Move(wait_ms=min(left_ms, GATE_LOOK_MS) if upgrade.strategy.gates else left_ms)
    return Move(settle=_in_phase(wave, Phase.PROVEN))


def _go_back(upgrade: Upgrade, targets: Sequence[Target]) -> Move:
    if _count(targets, Phase.RETURNING) == 0 and not _to_return(upgrade, targets):
        if _count(targets, Phase.UPGRADING):
            return Move()  # without a return it ends by itself
        touched = [target for target in targets if target.is_touched]
        is_back = upgrade.strategy.auto_revert and all(target.phase is not Phase.STUCK for target in touched)
        return Move(outcome=Outcome.RETURNED if is_back else Outcome.FAILED)
    free = upgrade.strategy.max_parallel - _count(targets, Phase.RETURNING)
    return Move(back=_to_return(upgrade, targets)[: max(0, free)])


def _to_return(upgrade: Upgrade, targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return what must go back, what is down before what still serves."""
    if not upgrade.strategy.auto_revert:
        return ()
    order = (Phase.FAILED, Phase.UPGRADING, Phase.PROVEN, Phase.DONE)
    touched = [target for target in targets if target.is_touched and target.phase in order]
    return tuple(sorted(touched, key=lambda target: order.index(target.phase)))


def _in_phase(targets: Iterable[Target], phase: Phase) -> tuple[Target, ...]:
    return tuple(target for target in targets if target.phase is phase)


def _count(targets: Iterable[Target], phase: Phase) -> int:
    return len(_in_phase(targets, phase))


def regress_of(target: Target, record: Record | None, *, is_heard: bool) -> Reason | None:
    """Return why a proven instance is no longer well; None while it is, and for what others have taken in hand."""
    if target.phase not in _WATCHED or record is None or record.action is not None:
        return None
    if record.spec.desired is not Desired.RUNNING:
        return None
    if not is_heard:
        return Reason("node_offline", "its node fell silent", {"node": record.node_id})
    return _fault_of(target, record.observed)


def is_gated(upgrade: Upgrade, target: Target, record: Record | None) -> bool:
    """Return whether the gates look at this instance now: it runs the new version and a watch goes on."""
    if upgrade.bake_until_ms is None or target.phase not in _WATCHED or record is None or record.action is not None:
        return False
    return bool(upgrade.strategy.gates) and record.spec.desired is Desired.RUNNING


def _fault_of(target: Target, seen: InstanceReport | None) -> Reason | None:
    if seen is None:
        return None
    if seen.state is not State.RUNNING:
        return seen.reason or Reason("not_running", f"the instance is {seen.state}", {"state": seen.state})
    if seen.health is HealthState.UNHEALTHY:
        return seen.reason or Reason("unhealthy", "its probe fails")
    if target.pid is not None and seen.pid is not None and seen.pid != target.pid:
        return seen.reason or Reason("ended_while_watched", "it ended, and was started again")
    return None


class Change(msgspec.Struct, frozen=True):
    """What a field of the definition is now and would be, as JSON; long texts are cut."""

    field: str
    before: str
    after: str


MAX_CHANGE = 2000
_BYTES_OF_A_VERSION = frozenset({"package.sha256", "package.size_bytes", "package.signature"})
_FIELDS = ("package", "service", "config_files", "depends_on", "secret_env", "start_order")


def changes_of(before: InstanceSpec, after: InstanceSpec) -> list[Change]:
    """Return every field of the definition that differs, `service.args` style; secrets are not among the values.

    What follows from the version (its hash, size, signature) is no change of its own.
    """
    found: list[Change] = []
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    for name in _FIELDS:
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            keys = sorted({*one, *other})
            found += [
                _change(f"{name}.{key}", one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)
            ]
        elif one != other:
            found.append(_change(name, one, other))
    return [change for change in found if change.field not in _BYTES_OF_A_VERSION]


def _change(field: str, before: object, after: object) -> Change:
    return Change(field, _spell(before), _spell(after))


def _spell(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_CHANGE else text[:MAX_CHANGE] + "…"
