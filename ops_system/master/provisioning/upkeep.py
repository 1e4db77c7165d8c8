"""What happens by itself: deadlines, agents that went silent, rules that approve, enrolments sealed anew, calls home.

Every master does all of it. Each act is a compare-and-swap whose rule looks again, so the second one finds it done;
nothing is remembered but since when something is missing. A region that is not heard keeps its tasks as they are.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from msgspec.structs import replace

from ops_system.master.provisioning.approving import Approvals
from ops_system.master.provisioning.enrolments import Enrolments
from ops_system.master.provisioning.mirror import Key, Mirror
from ops_system.master.provisioning.shapes import TaskRow
from ops_system.model.errors import OpsError
from ops_system.model.machines import Machine
from ops_system.model.tasks import Task, TaskStatus
from ops_system.provision import rules
from ops_system.provision.book import Rule, TaskBook
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import for_each

_log = logging.getLogger(__name__)

TICK_S = 5.0
SETTLE_S = 30.0  # after a region is heard again, until its agents may be called silent
RESEAL_OTHERS_S = 10.0  # until a master seals anew what another one had sealed
AT_ONCE = 16
IN_ONE_GO = 200
GATHER_S = 0.05  # thousands of machines tell something each second: they are looked at together
_S = TaskStatus
_WITH_AGENT = frozenset({_S.PENDING_APPROVAL, _S.APPROVED, _S.INSTALLING})
_OF_REGION = frozenset({_S.BOOTING, _S.PENDING_APPROVAL, _S.INSTALLING})
_MAY_CALL = frozenset({_S.INSTALLING, _S.COMPLETED, _S.NEEDS_OPERATOR})
_DEAD = frozenset({_S.FAILED, _S.REJECTED, _S.CANCELLED, _S.PENDING, _S.PENDING_APPROVAL})

Act = Callable[[], Awaitable[object]]
Enrolled = Callable[[], Mapping[str, str]]
"""Id of a join token → id of the node that used it, of this master's nodes."""


class Upkeep:
    """The part of a master that keeps installations going."""

    def __init__(  # each is a part of the feature, given by its name
        self,
        *,
        book: TaskBook,
        mirror: Mirror,
        approvals: Approvals,
        enrolments: Enrolments,
        enrolled: Enrolled,
        clock: Clock,
    ) -> None:
        self._book, self._mirror, self._approvals, self._enrolments = book, mirror, approvals, enrolments
        self._enrolled, self._clock = enrolled, clock
        self._wanted: set[Key] = set()
        self._worthless: set[str] = set()
        self._nudge = asyncio.Event()
        self._unsealed: dict[Key, float] = {}
        mirror.on_change.append(self.look_at)
        mirror.on_task.append(self._on_task)

    def look_at(self, key: Key) -> None:
        """Look at one machine soon."""
        self._wanted.add(key)
        self._nudge.set()

    def look_all(self) -> None:
        """Look at every task soon."""
        self._wanted |= self._mirror.tasks.keys()
        self._nudge.set()

    async def run(self) -> None:
        """Look at what changed at once, and at all of it every few seconds, for ever."""
        next_s = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_s - self._clock.monotonic_s())):
                    await self._nudge.wait()
            await asyncio.sleep(GATHER_S)
            self._nudge.clear()
            keys, self._wanted = self._wanted, set()
            if self._clock.monotonic_s() >= next_s:
                next_s = self._clock.monotonic_s() + TICK_S
                keys |= self._mirror.tasks.keys()
            await self.look(keys)

    def _on_task(self, before: TaskRow | None, after: TaskRow | None) -> None:
        """An installation that is over leaves no way in behind."""
        old = before.enrolment_id if before else ""
        is_over = after is None or after.enrolment_id != old or after.status in _DEAD
        if old and is_over and not (before and before.node_id):
            self._worthless.add(old)

    async def look(self, keys: set[Key]) -> None:
        """Do what is due for these machines, and take back the enrolments nobody may use any more."""
        rows = {key: self._mirror.tasks.get(key) for key in keys}
        enrolled = self._enrolled() if any(row and _may_call(row) for row in rows.values()) else {}
        due: list[Act] = []
        for number, (key, row) in enumerate(rows.items(), 1):
            if (act := self._due(key, row, enrolled)) is not None:
                due.append(act)
            if number % IN_ONE_GO == 0:
                await asyncio.sleep(0)  # ten thousand in one go would be a pause for everybody
        await for_each(due, _quietly, AT_ONCE, "upkeep of installations")
        while self._worthless:
            await self._enrolments.take_back(self._worthless.pop())

    def _due(self, key: Key, row: TaskRow | None, enrolled: Mapping[str, str]) -> Act | None:
        """Return the one thing that is to be done for a task now."""
        rule = self._rule_for(key, row, enrolled)
        if row is None:
            return None
        if rule is not None:
            return lambda: self._book.change(*key, rule)
        if key in self._mirror.unsealed:
            return lambda: self._reseal(key, row)
        self._unsealed.pop(key, None)
        if row.status is _S.PENDING_APPROVAL and row.approval is None and self._mirror.rules:
            return lambda: self._approvals.try_rules(key)
        return None

    def _rule_for(self, key: Key, row: TaskRow | None, enrolled: Mapping[str, str]) -> Rule | None:
        is_gone = self._is_agent_gone(key, row)
        if row is None:
            return None
        if _may_call(row) and (node_id := enrolled.get(row.enrolment_id)):
            return lambda task: self._home(task, row.enrolment_id, node_id)
        if self._is_overdue(row):
            return lambda task: rules.after_deadline(task, self._clock.now())
        if is_gone:
            return lambda task: rules.agent_gone(task, self._clock.now())
        return None

    def _home(self, task: Task, enrolment_id: str, node_id: str) -> Task:
        is_it = task.enrolment_id == enrolment_id
        return rules.called_home(task, node_id, self._clock.now()) if is_it else task

    def _is_overdue(self, row: TaskRow) -> bool:
        if row.deadline_at is None or self._clock.now() < row.deadline_at:
            return False
        return row.status not in _OF_REGION or self._is_settled(row.idc)

    def _is_settled(self, idc: str) -> bool:
        """Whether a region is heard, for a while, and has told all it did while it was cut off."""
        heard = self._mirror.heard.get(idc)
        if heard is None or heard.beat.journal_entries:
            return False
        return self._clock.monotonic_s() - heard.since_s >= SETTLE_S

    def _is_agent_gone(self, key: Key, row: TaskRow | None) -> bool:
        """Whether an agent is missing although its region could have renewed its lease for it.

        A region that just died takes its agents' leases with it, perhaps before its own: so one heartbeat must have
        come after the lease was gone; and a region that is heard again gives its agents time to return.
        """
        if row is None or row.status not in _WITH_AGENT or key in self._mirror.agents:
            return False
        if row.status is _S.INSTALLING and row.handed_over_at is not None:
            return False  # a distribution's installer is at work, which is no agent
        if row.reason is not None and row.reason.code == rules.AGENT_SILENT:
            return False
        gone = self._mirror.gone_since(key)
        heard = self._mirror.heard.get(key[0])
        if heard is None or heard.beat.journal_entries:
            return False
        if heard.since_s < gone.since_s and heard.revision > gone.revision:
            return True
        return self._clock.monotonic_s() - max(heard.since_s, gone.since_s) >= SETTLE_S

    async def _reseal(self, key: Key, row: TaskRow) -> None:
        """Seal a new enrolment to the boot that is there now; first the master that made the old one may."""
        since_s = self._unsealed.setdefault(key, self._clock.monotonic_s())
        waited_s = self._clock.monotonic_s() - since_s
        if waited_s < RESEAL_OTHERS_S and not await self._enrolments.is_own(row.enrolment_id):
            return
        task, machine = await self._book.get(*key), await self._book.machine(*key)
        if machine is None or not task.enrolment_id or task.sealed_enrolment:
            return
        sealed = await self._enrolments.make(task, machine, await self._book.settings(key[0]))
        if sealed is None:
            return

        def rule(now: Task, known: Machine | None) -> tuple[Task, Machine | None]:
            is_same = known is not None and known.boot_public_key == sealed.boot_public_key
            may_begin = now.status in {_S.APPROVED, _S.INSTALLING} and now.enrolment_id == task.enrolment_id
            if now.sealed_enrolment or not (is_same and may_begin):
                return now, known
            return replace(now, enrolment_id=sealed.enrolment_id, sealed_enrolment=sealed.box), known

        done = await self._book.change_machine(*key, rule)
        if done.enrolment_id != sealed.enrolment_id:
            await self._enrolments.take_back(sealed.enrolment_id)


def _may_call(row: TaskRow) -> bool:
    return row.status in _MAY_CALL and bool(row.enrolment_id) and not row.node_id


async def _quietly(act: Act) -> None:
    """What cannot be done now is looked at again at the next tick."""
    try:
        await act()
    except OpsError as error:
        _log.info("upkeep of installations: %s", error.message)
