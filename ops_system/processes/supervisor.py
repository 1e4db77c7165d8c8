"""The supervisor: all instances of a node in care, with no master in sight. Built and run by the worker's `app.py`.

After a restart each instance is found again when its spec is applied: by the identity in its run record, else by the
marker in the environment of living processes; in doubt it is adopted, never started a second time.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from ops_system.model.crashes import Crash
from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.instances import Desired, InstanceEvent, InstanceReport, State
from ops_system.model.reasons import Reason
from ops_system.processes.adopt import Guard
from ops_system.processes.adopt_find import make_guard
from ops_system.processes.adopt_platform import AdoptingPlatform
from ops_system.processes.base import Exit, Handle, Identity, Member, Platform
from ops_system.processes.boot_notes import RUN, memory_parents, open_run_dir
from ops_system.processes.care import Care
from ops_system.processes.commands import CommandResult
from ops_system.processes.early import EarlyLines
from ops_system.processes.journal import EventJournal, RunRecord, RunStore
from ops_system.processes.platforms import make_platform
from ops_system.processes.spec import Preparer, Progress, RunSpec
from ops_system.processes.states import Adopted, Exited, PrepareWaits, Restored, Stage, Wish
from ops_system.processes.stats import Key, ProcessCounters, StatsReader
from ops_system.processes.surroundings import Clock, Surroundings, utc_now

_AT_REST = (State.STOPPED, State.EXITED, State.FAILED)
_ALIVE = (State.STARTING, State.RUNNING, State.STOPPING)


class Supervisor:
    """See the module. `apply`, `forget` and `reports` belong to the loop that runs `run`."""

    def __init__(
        self,
        state_dir: Path,
        preparer: Preparer,
        *,
        on_report: Callable[[InstanceReport], None],
        on_event: Callable[[InstanceEvent], None],
        on_progress: Progress = lambda _progress: None,
        on_crash: Callable[[InstanceId, Crash], None] = lambda _instance_id, _crash: None,
        platform: Platform | None = None,
        masters: Callable[[], Iterable[int]] = tuple,
        clock: Clock = utc_now,
        dice: Callable[[], float] = random.random,
        inherited_env: Mapping[str, str] | None = None,
        memory: tuple[Path, ...] | None = None,
    ) -> None:
        """`memory`: folders in memory for notes no boot outlives; None: those of the system."""
        self._memory_parents = memory_parents() if memory is None else memory
        self._state_dir = state_dir
        self._preparer = preparer
        self._on_report = on_report
        self._on_event = on_event
        self._on_progress = on_progress
        self._on_crash = on_crash
        self._platform = AdoptingPlatform(platform or make_platform())
        self._masters = masters
        self._clock = clock
        self._dice = dice
        self._inherited_env = dict(os.environ if inherited_env is None else inherited_env)
        self._cares: dict[InstanceId, Care] = {}
        self._records: dict[InstanceId, RunRecord] = {}
        self._marked: dict[InstanceId, tuple[Member, ...]] = {}
        self._stats = StatsReader(self._platform)
        self._ready = asyncio.Event()

    async def run(self) -> None:
        """Keep everything in care until cancelled. Services go on; watching them ends."""
        store, journal = self._open_notes()
        self._journal = journal
        self._platform.open(self._state_dir)
        try:
            self._records = store.load_all()
            self._marked = self._platform.find_marked()
            async with asyncio.TaskGroup() as group:
                self._around = self._make_surroundings(store, group)
                self._ready.set()
                await journal.run()
        finally:
            self._ready.clear()
            for care in self._cares.values():
                care.close()
            self._stats.close()
            self._platform.close()
            journal.close()

    def _open_notes(self) -> tuple[RunStore, EventJournal]:
        """Choose where notes lie in this life. Raises OSError."""
        state_dir, boot_id = self._state_dir, self._platform.boot_id()
        is_in_use = not (state_dir / RUN).is_symlink() and RunStore(state_dir).is_of_boot(boot_id)
        is_in_memory = open_run_dir(state_dir, self._memory_parents, is_in_use=is_in_use)
        early = EarlyLines(state_dir / RUN) if is_in_memory else None
        return RunStore(state_dir, is_in_memory=is_in_memory), EventJournal(state_dir, boot_id, early)

    def _make_surroundings(self, store: RunStore, group: asyncio.TaskGroup) -> Surroundings:
        return Surroundings(
            platform=self._platform,
            store=store,
            preparer=self._preparer,
            on_report=self._on_report,
            on_event=lambda event: self._on_event(self._journal.append(event)),
            on_progress=self._on_progress,
            dice=self._dice,
            clock=self._clock,
            inherited_env=self._inherited_env,
            group=group,
            guard=self.guard,
            on_crash=self._on_crash,
        )

    # --- wishes
    async def apply(self, spec: RunSpec) -> None:
        """Take a wish. Repeating one is harmless; one of a lower generation is ignored. Waits until `run` has begun."""
        await self._ready.wait()
        care = self._cares.get(spec.instance_id)
        if care is None:
            care = self._take_in(spec)
        care.post(Wish(spec))

    async def forget(self, instance_id: InstanceId) -> None:
        """Drop what is remembered of an instance that was removed; others are left as they are."""
        care = self._cares.get(instance_id)
        if care is not None and care.view.stage is Stage.REMOVED:
            del self._cares[instance_id]

    def tell_waiting(self, instance_id: InstanceId, reason: Reason | None) -> None:
        """Show for what the preparation of an instance waits; None: for nothing any more."""
        care = self._cares.get(instance_id)
        if care is not None:
            care.post(PrepareWaits(reason))

    def note(self, instance_id: InstanceId, reason: Reason) -> None:
        """Write a line into the timeline of an instance that changes nothing else."""
        care = self._cares.get(instance_id)
        if care is not None:
            care.note(reason)

    # --- what is known
    def reports(self) -> tuple[InstanceReport, ...]:
        """Return the newest picture of every instance."""
        return tuple(care.report() for care in self._cares.values())

    def handles(self) -> dict[InstanceId, Handle]:
        """Return what runs, for measuring."""
        return {instance_id: care.handle for instance_id, care in self._cares.items() if care.handle is not None}

    def read_counters(self) -> dict[InstanceId, dict[Key, ProcessCounters]]:
        """Measure every process of every running instance, by (pid, start time). Empty before `run`."""
        return self._stats.read(self.handles()) if self._ready.is_set() else {}

    def unclaimed(self) -> tuple[InstanceId, ...]:
        """Return the instances whose processes live here but that nobody has applied a spec for."""
        return tuple(self._marked.keys() - self._cares.keys())

    @property
    def last_event_seq(self) -> int:
        """The number of the newest event ever written. 0 before `run`."""
        return self._journal.last_seq if self._ready.is_set() else 0

    def pending_events(self, after_seq: int = 0, limit: int = 500) -> tuple[InstanceEvent, ...]:
        """Return events that were not acknowledged, oldest first. Empty before `run`."""
        return self._journal.pending(after_seq, limit) if self._ready.is_set() else ()

    def ack_events(self, seq: int) -> None:
        """Note that events up to `seq` are safe elsewhere."""
        if self._ready.is_set():
            self._journal.ack(seq)

    def guard(self, but: InstanceId | None = None) -> Guard:
        """Return what may not be taken over: ourselves, and all that is in care already `but` for one instance."""
        trees = self._platform.trees(self.handles()) if self._ready.is_set() else {}
        in_care = {one.pid: instance_id for instance_id, tree in trees.items() for one in tree if instance_id != but}
        return make_guard(in_care, self._masters())

    async def run_beside(self, instance_id: InstanceId, argv: tuple[str, ...]) -> CommandResult:
        """Run a command beside a running instance, as its user. Raises NotFound, NotAllowed, Invalid, TimedOut."""
        care = self._cares.get(instance_id)
        if care is None:
            raise NotFound(f"this node keeps no instance {instance_id}", id=instance_id)
        return await care.run_beside(argv)

    # --- the way back after a restart
    def _take_in(self, spec: RunSpec) -> Care:
        """Make the care of an instance seen for the first time in this life, and find its processes again."""
        instance_id = spec.instance_id
        record = self._records.pop(instance_id, None)
        members = self._marked.pop(instance_id, ())
        if record is not None and record.boot_id != self._platform.boot_id():
            record = None
        if spec.takeover is None and spec.desired is not Desired.ABSENT:
            self._platform.make_ready()
        care = Care(self._around, record.spec if record else spec, record)
        self._cares[instance_id] = care
        if (
            record is not None
            and record.keeper is not None
            and record.state in _ALIVE
            and not _is_older(record, members)
        ):
            self._adopt_recorded(care, record, members)
        elif members:
            self._adopt(care, self._platform.find_start(instance_id, members), record)
        elif record is not None and self._has_ended_unheard(record):
            self._adopt(care, _unheard(record), record)
        elif record is not None and record.state in _AT_REST:
            care.post(Restored(record.state, record.reason, record.exit_code, record.exit_signal))
        return care

    def _has_ended_unheard(self, record: RunRecord) -> bool:
        """Tell a start that was made, and ended before its keeper's answer was heard, from one that was never made."""
        if record.keeper is not None or record.state is not State.STARTING:
            return False
        run_dir = self._around.store.run_dir(record.spec.instance_id)
        return self._platform.read_exit(str(run_dir), record.number) is not None

    def _adopt_recorded(self, care: Care, record: RunRecord, members: tuple[Member, ...]) -> None:
        assert record.keeper is not None
        handle = Handle(record.spec.instance_id, record.number, record.keeper, record.leader, is_child=False)
        if record.spec.takeover is not None:
            handle = msgspec.structs.replace(handle, is_adopted=True)
        if handle.leader is None and members:
            handle = self._platform.find_start(handle.instance_id, members)
        self._adopt(care, handle, record)

    def _adopt(self, care: Care, handle: Handle, record: RunRecord | None) -> None:
        run_dir = str(self._around.store.make_run_dir(handle.instance_id))
        is_watched = care.adopt(handle, run_dir)
        leader = handle.leader or handle.keeper
        started_at = record.started_at if record and record.started_at else self._clock()
        care.post(Adopted(leader.pid, started_at, is_proven=record is None or record.is_proven, is_alive=is_watched))
        if not is_watched:
            end = self._platform.read_exit(run_dir, handle.number) or Exit()
            care.post(Exited(end.code, end.signal, end.oom))


def _is_older(record: RunRecord, members: tuple[Member, ...]) -> bool:
    """True when a later start lives: the supervisor died between making it and recording it."""
    return any(member.is_leader and member.identity != record.leader for member in members)


def _unheard(record: RunRecord) -> Handle:
    """Return the handle of a start whose answer was never heard."""
    return Handle(record.spec.instance_id, record.number, Identity(record.boot_id, 0, 0), is_child=False)
