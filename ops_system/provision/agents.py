"""What a region does in the store for the agents of its machines (P2 to P5): report, lease, fence, intents, the end."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ops_system.kv.base import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRequest,
    KeyValue,
    PutRequest,
    RangeRequest,
    RangeResponse,
    Store,
    TxnRequest,
)
from ops_system.kv.errors import LeaseNotFound
from ops_system.kv.ranges import prefix_end
from ops_system.kv.swap import Overtaken, Write
from ops_system.model.errors import Conflict, NotAllowed, OpsError, Unauthenticated
from ops_system.model.machines import AgentLease, Machine
from ops_system.model.tasks import Progress, Task, TaskStatus
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall, Report
from ops_system.provision import rules
from ops_system.provision.book import Stamp, TaskBook
from ops_system.provision.documents import chunk_writes, decode, decoded, encode, task_writes
from ops_system.provision.fences import (
    FENCES_TOGETHER,
    TWO_AGENTS,
    FenceRound,
    FenceWish,
    TooMuchAtOnce,
    lease_lost,
    no_task,
    two_agents,
)
from ops_system.provision.intents import with_installer_key
from ops_system.provision.keys import MachineKeys, installing_prefix
from ops_system.provision.log_tail import LINE_BYTES, with_lines
from ops_system.provision.reports import after_report
from ops_system.provision.together import Together
from ops_system.runtime.clock import Clock

MOST_TOGETHER, LEAST_WEIGHT = 512 * 1024, 10 * 1024  # bytes of log lines in one transaction; at most 51 calls


class Reported(msgspec.Struct, frozen=True):
    """What stands after a report. `task` None: the machine waits among the unmatched."""

    machine: Machine
    task: Task | None


class Renewal(msgspec.Struct, frozen=True):
    """A lease that was renewed: its seconds, the fence that counts, whether the agent is to stop."""

    ttl_s: float
    fence: int
    is_cancel_asked: bool
    status: TaskStatus | None = None


class AgentBook(TaskBook):
    """A `TaskBook` with what agents make a region write."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._together: Together[tuple[str, str], ProgressCall, Task] = Together(
            self._write_progress, _weight, MOST_TOGETHER
        )
        self._fences: Together[str, FenceWish, Task] = Together(self._write_fences, lambda _wish: 1, FENCES_TOGETHER)

    async def report(self, idc: str, report: Report, session_sha256: str, lease_id: int) -> Reported:
        """Take a report: the machine as it is, its task, and the agent's key on the lease `lease_id`.

        Raises Conflict `two_agents` while another boot of this serial holds the lease (it is told to wait, and noted
        there); NotAllowed `quarantined`; Invalid. Then the caller revokes `lease_id`. Said again by the same boot it
        changes only the session.
        """
        keys = MachineKeys(idc, report.sn)
        made: Reported | Conflict | None = None

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal made
            task, meta, unmatched = decoded(seen[0], Task), decoded(seen[1], Machine), decoded(seen[2], Machine)
            lease = decoded(seen[3], AgentLease)
            before = meta or unmatched
            if before is not None and before.quarantined:
                raise _quarantined(report.sn, before.quarantined)
            if lease is not None and (lease.boot_id != report.boot_id or not report.boot_id):
                made = two_agents(report.sn)
                return _note_rival(keys, lease, report.boot_id)
            machine, after = after_report(idc, task, before, report, self.clock.now())
            made = Reported(machine, after)
            is_same_boot = before is not None and bool(report.boot_id) and before.boot_id == report.boot_id
            fence = after.fence if after and is_same_boot else 0  # a new boot holds none before it takes one (P4)
            held = AgentLease(report.boot_id, session_sha256, fence, self.clock.now())
            writes = task_writes(task, after) if after is not None else []
            if after is None:
                writes.append(PutRequest(keys.unmatched, encode(machine)))
            if after is not None or meta is not None:
                writes.append(PutRequest(keys.meta, encode(machine)))
            if after is not None and unmatched is not None:
                writes.append(DeleteRequest(keys.unmatched))
            return [*writes, PutRequest(keys.lease, encode(held), lease_id)]

        await self.write((keys.task, keys.meta, keys.unmatched, keys.lease), rule, may_repeat=True)
        if made is None:
            raise RuntimeError("the store asked no rule")
        if isinstance(made, Conflict):
            raise made
        return made

    async def renew(self, idc: str, sn: str, session_sha256: str) -> Renewal:
        """Renew the lease of an agent, for the agent that asks for it and nobody else (P4).

        Raises Conflict `lease_lost` when it ran out: the agent reports again. Unauthenticated for a session of another
        boot. When another agent claimed the serial meanwhile both are quarantined: NotAllowed `two_agents` (P5).
        """
        keys = MachineKeys(idc, sn)
        seen = await self.store.txn(TxnRequest((), (RangeRequest(keys.lease), RangeRequest(keys.task))))
        lease_kv, task_kv = [
            each.kvs[0] if isinstance(each, RangeResponse) and each.kvs else None for each in seen.responses
        ]
        if lease_kv is None:
            raise lease_lost(sn)
        held = _of_session(decode(lease_kv, AgentLease), sn, session_sha256)
        if held.rival_boot_id:
            await self._quarantine(keys, held)
            raise _quarantined(sn, TWO_AGENTS)
        ttl_s = await self.store.keepalive(lease_kv.lease)
        if ttl_s <= 0:
            raise lease_lost(sn)
        stamp = decoded(task_kv, Stamp)
        if stamp is None:
            return Renewal(float(ttl_s), 0, is_cancel_asked=False)
        is_over = stamp.is_cancel_asked or stamp.status is TaskStatus.CANCELLED
        return Renewal(float(ttl_s), stamp.fence, is_over, stamp.status)

    async def release(self, idc: str, sn: str, session_sha256: str) -> None:
        """End the lease of an agent that is done, before its machine boots again. Nothing when it has gone already."""
        kv = await self._one(MachineKeys(idc, sn).lease)
        if kv is None or decode(kv, AgentLease).session_sha256 != session_sha256:
            return
        try:
            await self.store.revoke(kv.lease)
        except LeaseNotFound:
            return

    async def check_session(self, idc: str, sn: str, session_sha256: str) -> AgentLease:
        """Return the agent whose session this is. Raises Conflict `lease_lost`, Unauthenticated."""
        held = await self.agent(idc, sn)
        if held is None:
            raise lease_lost(sn)
        return _of_session(held, sn, session_sha256)

    async def take_fence(
        self, idc: str, sn: str, boot_id: str, max_installs: int, *, known_fence: int | None = None
    ) -> Task:
        """Let an agent install: its approval is used, the fence rises (P2, P4). At most `max_installs` at once (P8).

        Counted are the keys of what is installing; the transaction holds only when none was added since the count, so
        the limit stands however many ask, and no counter can go wrong. Those who ask here at once go together. Raises
        NotAllowed `max_installs`, and as `rules.take_fence`; Conflict when the agent's lease is not its own.
        """
        return await self._fences.ask(idc, FenceWish(sn, boot_id, max_installs, known_fence))

    async def _write_fences(self, idc: str, wishes: Sequence[FenceWish]) -> list[Task | Exception]:
        """Let several agents install at one instant; one that may not leaves the others as they are."""
        prefix = installing_prefix(idc)
        end = prefix_end(prefix)
        names = list(dict.fromkeys([wish.sn for wish in wishes]))
        keys = tuple([key for sn in names for key in (MachineKeys(idc, sn).task, MachineKeys(idc, sn).lease)])
        while True:
            counted = await self.store.range(RangeRequest(prefix, end, count_only=True))
            round_ = FenceRound(idc, names, wishes, counted.count, self.clock.now())
            none_since = Compare(
                prefix, CompareTarget.CREATE, CompareResult.LESS, create_revision=counted.revision + 1, range_end=end
            )
            try:
                await self.write(keys, round_.rule, compares=(none_since,))
            except Overtaken:
                continue
            except TooMuchAtOnce:
                half = len(wishes) // 2
                return [*await self._write_fences(idc, wishes[:half]), *await self._write_fences(idc, wishes[half:])]
            return round_.outcomes

    async def give_installer_key(self, idc: str, sn: str, fence: int, sha256: str) -> Task:
        """Keep the hash of the key that the machine's installer is given. Raises Conflict, NotAllowed."""
        return await self.change(idc, sn, lambda task: with_installer_key(task, fence, sha256))

    async def begin(self, idc: str, call: BeginCall) -> Task:
        """Record the intent of a step (P3); only when this returns may the disk be touched."""
        return await self.change(idc, call.sn, lambda task: rules.begin_step(task, call, self.clock.now()))

    async def progress(self, idc: str, call: ProgressCall) -> Task:
        """Keep how far a step is, and its lines. Raises Conflict `stale_fence`, NotAllowed when nothing is going on."""
        return await self._together.ask((idc, call.sn), call)

    async def _write_progress(self, machine: tuple[str, str], calls: Sequence[ProgressCall]) -> list[Task | Exception]:
        """Write what several callers tell of one machine; a call that may not be leaves the others as they are."""
        outcomes: list[Task | Exception] = []

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            before = decoded(seen[0], Task)
            if before is None:
                raise no_task(*machine)
            outcomes.clear()
            task, chunks = before, []
            for call in calls:
                try:
                    after, spilled = _with_call(task, call, self)
                except OpsError as error:
                    outcomes.append(error)
                    continue
                chunks += chunk_writes(task, after, spilled)
                outcomes.append(after)
                task = after
            return [*task_writes(before, task), *chunks]

        await self.write((MachineKeys(*machine).task,), rule)
        return outcomes

    async def complete(self, idc: str, call: CompleteCall) -> Task:
        """Close a step."""
        return await self.change(idc, call.sn, lambda task: rules.complete_step(task, call, self.clock.now()))

    async def finish(self, idc: str, call: InstallCompleteCall) -> Task:
        """End the installation; with `completed` the boot gate flips in this very write (P7)."""
        return await self.change(idc, call.sn, lambda task: rules.finish(task, call, self.clock.now()))

    async def _quarantine(self, keys: MachineKeys, held: AgentLease) -> None:
        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            task, meta, unmatched = decoded(seen[0], Task), decoded(seen[1], Machine), decoded(seen[2], Machine)
            lease = decoded(seen[3], AgentLease)
            if lease is None or lease.boot_id != held.boot_id:
                return []
            writes = task_writes(task, rules.quarantine(task, self.clock.now())) if task is not None else []
            for key, machine in ((keys.meta, meta), (keys.unmatched, unmatched)):
                if machine is not None:
                    writes.append(PutRequest(key, encode(replace(machine, quarantined=TWO_AGENTS))))
            return [*writes, DeleteRequest(keys.lease)]

        await self.write((keys.task, keys.meta, keys.unmatched, keys.lease), rule, may_repeat=True)


def _weight(call: ProgressCall) -> int:
    """Return about how many bytes a call adds to a transaction: what spills, and two operations of at most 128."""
    return LEAST_WEIGHT + sum(min(len(line), LINE_BYTES) for line in call.lines)


def _with_call(task: Task, call: ProgressCall, book: TaskBook) -> tuple[Task, tuple[str, ...]]:
    if call.task_id != task.task_id or (task.status is TaskStatus.INSTALLING and call.fence != task.fence):
        raise rules.stale_fence(task, call.fence)
    at = book.clock.now()
    shown = Progress(call.step, call.percent, call.message, at, call.bytes_done, call.bytes_total)
    return with_lines(rules.with_progress(task, shown, at), call.lines, at)


def _note_rival(keys: MachineKeys, lease: AgentLease, boot_id: str) -> list[Write]:
    rival = boot_id or "unnamed"
    if lease.rival_boot_id == rival:
        return []
    return [PutRequest(keys.lease, encode(replace(lease, rival_boot_id=rival)), ignore_lease=True)]


def _of_session(held: AgentLease, sn: str, session_sha256: str) -> AgentLease:
    if held.session_sha256 != session_sha256:
        raise Unauthenticated(f"another boot of machine {sn} is at work; this session is over", reason="session_over")
    return held


def _quarantined(sn: str, why: str) -> NotAllowed:
    return NotAllowed(f"machine {sn} is quarantined ({why}); an operator must look", reason="quarantined", why=why)
