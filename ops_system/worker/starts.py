"""In which order services come up after a start of the worker, with the master away: the supervisor's `Preparer`.

What a start waits for, like systemd's `Wants=` with `After=`, and healthy instead of merely started:

    its `depends_on`, and the lower `start_order` of its own system, as far as they are on this node

    running (so proven)                  go on
    finished, failed, not wished to run  go on: it will not come, and is not started for others' sake
    on its way                           wait, at most its own `health.start_timeout` from when it may start itself
    silent for longer                    go on, and say so

Only the first start after the worker's own is held back. What is found running is never touched, and neither a restart
after a crash nor the wish of a person waits for anybody.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.instances import Desired, InstanceReport, InstanceSpec, State
from ops_system.model.quantities import parse_duration_s
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PreparedInstance, Preparer, Progress, RunSpec

DEFAULT_TIMEOUT_S = 60.0
_SETTLED = frozenset({State.RUNNING, State.STOPPED, State.EXITED, State.FAILED})

TellWaiting = Callable[[InstanceId, Reason | None], None]


class Plan(msgspec.Struct, frozen=True):
    """Who comes up when. `sequence` has no circle left in it: `after` names only earlier ones."""

    sequence: tuple[InstanceSpec, ...]
    after: Mapping[InstanceId, tuple[InstanceSpec, ...]]


def plan_starts(wishes: Iterable[InstanceSpec]) -> Plan:
    """Return the order of all wishes, by dependencies first and `start_order` then. A circle of them is cut."""
    waiting = sorted(wishes, key=lambda spec: (spec.start_order, spec.instance_id))
    sequence: list[InstanceSpec] = []
    after: dict[InstanceId, tuple[InstanceSpec, ...]] = {}
    while waiting:
        blocked = {spec.instance_id for spec in waiting}
        free = (spec for spec in waiting if not blocked.intersection(spec.depends_on))
        spec = next(free, waiting[0])
        after[spec.instance_id] = tuple(one for one in sequence if _comes_before(one, spec))
        sequence.append(spec)
        waiting.remove(spec)
    return Plan(tuple(sequence), after)


def _comes_before(one: InstanceSpec, spec: InstanceSpec) -> bool:
    is_lower = one.system_id == spec.system_id and one.start_order < spec.start_order
    return is_lower or one.instance_id in spec.depends_on


def start_timeout_s(spec: InstanceSpec) -> float:
    """Return how long a service may take to be proven."""
    try:
        return parse_duration_s(spec.service.health.start_timeout)
    except Invalid:
        return DEFAULT_TIMEOUT_S


class OrderedStarts:
    """The `Preparer` before the real one. `see` hears every report; `begin` takes the wishes found at the start."""

    def __init__(self, preparer: Preparer, tell_waiting: TellWaiting) -> None:
        self._preparer = preparer
        self._tell_waiting = tell_waiting
        self._plan = Plan((), {})
        self._held: set[InstanceId] = set()
        self._free_since_s: dict[InstanceId, float] = {}
        self._states: dict[InstanceId, State] = {}
        self._news = asyncio.Event()

    # --- what happens ---------------------------------------------------------------------------------------------
    def begin(self, wishes: Iterable[InstanceSpec]) -> tuple[InstanceSpec, ...]:
        """Hold back what waits for others, and return the wishes in the order to hand them out."""
        self._plan = plan_starts(wishes)
        wanted = [spec.instance_id for spec in self._plan.sequence if spec.desired is Desired.RUNNING]
        self._held = {instance_id for instance_id in wanted if self._plan.after[instance_id]}
        now_s = asyncio.get_running_loop().time()
        self._free_since_s = {instance_id: now_s for instance_id in wanted if instance_id not in self._held}
        return self._plan.sequence

    def see(self, report: InstanceReport) -> None:
        """Take the newest picture of one instance."""
        if self._states.get(report.instance_id) is not report.state:
            self._states[report.instance_id] = report.state
            self._ring()

    def free(self, instance_id: InstanceId) -> None:
        """Hold this instance back no longer: there is a newer wish for it, or it is about to start."""
        if instance_id in self._held:
            self._held.discard(instance_id)
            self._free_since_s[instance_id] = asyncio.get_running_loop().time()
            self._ring()

    def _ring(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # --- the preparer ---------------------------------------------------------------------------------------------
    async def prepare(self, spec: RunSpec, progress: Progress) -> PreparedInstance:
        """Wait for its turn, then prepare. Raises PrepareFailed."""
        if spec.instance_id in self._held:
            await self._wait(spec.instance_id)
            self.free(spec.instance_id)
        return await self._preparer.prepare(spec, progress)

    async def remove(self, spec: RunSpec) -> None:
        """Remove the files of an instance."""
        await self._preparer.remove(spec)

    async def _wait(self, instance_id: InstanceId) -> None:
        """Return when nothing it comes after is still on its way."""
        late: list[str] = []
        for other in self._plan.after[instance_id]:
            if other.desired is not Desired.RUNNING or self._is_settled(other):
                continue
            self._tell_waiting(instance_id, _waiting_for(other))
            if not await self._is_up_in_time(instance_id, other):
                late.append(other.name)
        if late:
            names = ", ".join(late)
            words = f"started although {names} did not come up within its start timeout"
            self._tell_waiting(instance_id, Reason("dependency_not_ready", words, {"name": names}))
        self._tell_waiting(instance_id, None)

    async def _is_up_in_time(self, instance_id: InstanceId, other: InstanceSpec) -> bool:
        """Return False when the other one used up its time; a wish freed meanwhile waits for nobody."""
        loop = asyncio.get_running_loop()
        while instance_id in self._held and not self._is_settled(other):
            news, since_s = self._news, self._free_since_s.get(other.instance_id)
            due_s = None if since_s is None else since_s + start_timeout_s(other)
            if due_s is not None and loop.time() >= due_s:
                return False
            try:
                async with asyncio.timeout_at(due_s):
                    await news.wait()
            except TimeoutError:
                return False
        return True

    def _is_settled(self, other: InstanceSpec) -> bool:
        return self._states.get(other.instance_id) in _SETTLED


def _waiting_for(other: InstanceSpec) -> Reason:
    params: dict[str, str | int | float] = {"name": other.name, "instance": other.instance_id}
    return Reason("waiting_for_dependency", f"waiting for {other.name} to come up", params)
