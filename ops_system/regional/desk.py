"""What the regional client does for an agent: report, lease, intents, progress, the end. Called by `api` alone.

While the store answers, every call is a change of the task there. While it is away, an agent that is installing goes on
under the fence it holds: the same rule is applied to the picture here, the call is put on the disk, and the store hears
of it later, in order (P4, P12). Nothing new is begun then.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import NamedTuple
from weakref import WeakValueDictionary

from ops_system.kv.base import RangeRequest, Store
from ops_system.kv.errors import LeaseNotFound
from ops_system.kv.ranges import prefix_end
from ops_system.model.errors import Conflict, NotAllowed, OpsError, RateLimited, Unavailable
from ops_system.model.machines import Machine
from ops_system.model.tasks import Task, TaskStatus
from ops_system.protocol.agent import (
    LEASE_TTL_S,
    NOT_ACTIVE,
    BeginCall,
    CompleteCall,
    InstallCompleteCall,
    LeaseAnswer,
    ProgressCall,
    Report,
    ReportAnswer,
)
from ops_system.provision.agents import AgentBook
from ops_system.provision.keys import UNMATCHED
from ops_system.regional.fenced import not_active
from ops_system.regional.journal import Call, Entry, Journal
from ops_system.regional.leadership import Leadership, Standing
from ops_system.regional.mirror import Mirror, Seat
from ops_system.regional.progress import CallBatches, applied
from ops_system.regional.renewals import Renewals
from ops_system.regional.sessions import Sessions, make_token
from ops_system.regional.timely import STORE_AWAY
from ops_system.runtime.clock import Clock

_log = logging.getLogger(__name__)

REPLAY_AGAIN_S = 1.0
MAX_UNMATCHED = 10_000


class Stores(NamedTuple):
    """The same store twice: `fenced` writes only while we lead, `plain` also after, for what was promised then."""

    fenced: Store
    plain: Store


class Desk:
    """The agents' side of the region."""

    def __init__(self, stores: Stores, lead: Leadership, mirror: Mirror, journal: Journal, clock: Clock) -> None:
        self.idc = mirror.idc
        self._store, self._plain, self._lead, self._clock = stores.fenced, stores.plain, lead, clock
        self.book = AgentBook(stores.fenced, clock)
        self.mirror, self.journal = mirror, journal
        self.sessions = Sessions(self.idc, mirror, clock)
        self.batches = CallBatches(stores.fenced, mirror, clock, self._alone)
        self.renewals = Renewals(stores.fenced)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._has_entries = asyncio.Event()
        self._epoch = 0
        self.counts: dict[str, int] = {}
        self.on_step: Callable[[], None] = lambda: None  # the picture on the disk wants to know

    # --- life -----------------------------------------------------------------------------------------------------
    async def on_gain(self) -> None:
        """Before the first heartbeat: leases of agents that are alive, then everything they said meanwhile."""
        if self._epoch and self._lead.epoch > self._epoch + 1:
            self.sessions.forget_all()
        await self.sessions.restore(self._store)
        await self.journal.replay(self._tell_store)
        self._epoch = self._lead.epoch

    def load(self) -> None:
        """Begin with what lies on the disk: agents, and what they said that the store has not heard."""
        self.sessions.load()
        self._epoch = self._lead.epoch
        for entry in self.journal.entries():
            task = self.mirror.task(entry.sn)
            if task is not None:
                with contextlib.suppress(OpsError):
                    self.mirror.set_local(applied(task, entry.read(), entry.at)[0])
        if len(self.journal):
            self._has_entries.set()

    async def run(self) -> None:
        """Tell the store what waits, whenever there is something and the store answers."""
        while True:
            await self._has_entries.wait()
            self._has_entries.clear()  # first: what is noted while this is told is told next
            if not await self._tell_waiting():
                self._has_entries.set()
                await asyncio.sleep(REPLAY_AGAIN_S)

    async def _tell_waiting(self) -> bool:
        """Tell the store what waits; return whether it has heard all of it."""
        if self._lead.standing not in {Standing.ACTIVE, Standing.STANDBY}:
            return False
        try:
            await self.journal.replay(self._tell_store)
        except OpsError as error:
            _log.info("the journal waits: %s", error)
            return False
        return True

    # --- the agent's calls ----------------------------------------------------------------------------------------
    async def report(self, report: Report) -> ReportAnswer:
        """Take a report and open the session of this boot. Raises Conflict `two_agents`, Unavailable while cut off."""
        self.check_leads()
        if self.mirror.task(report.sn) is None and self.mirror.machine(report.sn) is None:
            await self._check_room()
        if self.journal.has(report.sn):
            raise Unavailable(f"{report.sn}: the store has not heard all of this machine yet; ask again")
        token, digest = make_token()
        async with self._calm(report.sn):
            lease_id = (await self._store.grant(round(LEASE_TTL_S))).id
            try:
                made = await self.book.report(self.idc, report, digest, lease_id)
            except OpsError:
                with contextlib.suppress(LeaseNotFound, *STORE_AWAY):
                    await self._plain.revoke(lease_id)
                    await self.refresh(report.sn)  # what the first agent's next renewal must know (P5)
                raise
            await self.refresh(report.sn)
            if seat := self.mirror.seat(report.sn):
                self.sessions.open(report.sn, seat)
        task = made.task
        if task is None:
            return ReportAnswer(token, LEASE_TTL_S, is_known=False)
        return ReportAnswer(
            token, LEASE_TTL_S, is_known=True, fence=task.fence, task_id=task.task_id, status=task.status
        )

    async def renew(self, sn: str, seat: Seat) -> LeaseAnswer:
        """Renew an agent's lease, for the agent that asks. While cut off the answer is what is known here."""
        self.check_serves()
        if self._lead.standing is Standing.ACTIVE:
            try:
                return await self._renew_stored(sn, seat)
            except (Conflict, NotAllowed):
                self.sessions.close(sn)
                raise
            except STORE_AWAY as error:
                _raise_unless_away(error)
        return self._lease_answer(sn, LEASE_TTL_S)

    async def _renew_stored(self, sn: str, seat: Seat) -> LeaseAnswer:
        """One call where all is well; where another agent claims the machine or the lease has gone, the whole look."""
        if not seat.lease.rival_boot_id and await self.renewals.ask(seat.lease_id) > 0:
            return self._lease_answer(sn, LEASE_TTL_S)
        done = await self.book.renew(self.idc, sn, seat.lease.session_sha256)
        return LeaseAnswer(done.ttl_s, done.fence, done.is_cancel_asked)

    def _lease_answer(self, sn: str, ttl_s: float) -> LeaseAnswer:
        task = self.mirror.task(sn)
        if task is None:
            return LeaseAnswer(ttl_s, 0)
        return LeaseAnswer(ttl_s, task.fence, task.is_cancel_asked or task.status is TaskStatus.CANCELLED)

    async def begin(self, call: BeginCall) -> None:
        """Record an intent; only when this returns may the disk be touched (P3)."""
        await self._do(call)

    async def progress(self, call: ProgressCall) -> None:
        """Keep how far a step is."""
        await self._do(call)

    async def progress_of_agent(self, call: ProgressCall, seat: Seat) -> LeaseAnswer | None:
        """Keep how far a step is, and renew the lease of an agent that asks for it with the same call.

        None: not renewed, for whatever reason. The agent asks alone then, and hears it.
        """
        may_renew = call.renews and self._lead.standing is Standing.ACTIVE and not seat.lease.rival_boot_id
        renewal = self.renewals.ask(seat.lease_id) if may_renew else None
        await self._do(call)
        try:
            ttl_s = await renewal if renewal else 0
        except OpsError:
            return None
        return self._lease_answer(call.sn, ttl_s) if ttl_s > 0 else None

    async def complete(self, call: CompleteCall) -> None:
        """Close a step."""
        await self._do(call)

    async def finish(self, call: InstallCompleteCall) -> None:
        """End the installation: the gate flips with this very write (P7)."""
        await self._do(call)

    async def note_boot(self, sn: str) -> None:
        """The machine asked for its boot file. Nothing waits for it: a store that is away stops no boot."""
        try:
            await self.book.boot(self.idc, sn, by=f"region:{self.idc}")
        except OpsError as error:
            _log.info("the boot of %s was not noted: %s", sn, error)

    async def take_fence(self, sn: str, seat: Seat) -> Task:
        """Let the agent install: approval used, fence raised. Only while we lead. Raises NotAllowed."""
        self.check_leads()
        known, most = self.mirror.task(sn), self.mirror.settings.max_installs
        fence = known.fence if known else 0
        async with self._calm(sn):
            task = await self.book.take_fence(self.idc, sn, seat.lease.boot_id, most, known_fence=fence)
            await self.refresh(sn)
        self.on_step()
        return task

    async def give_installer_key(self, task: Task) -> str:
        """Return a new key for the installer of a task; the store keeps its hash. Raises Unavailable while cut off."""
        self.check_leads()
        key, digest = make_token()
        async with self._calm(task.sn):
            await self.book.give_installer_key(self.idc, task.sn, task.fence, digest)
            await self.refresh(task.sn)
        self.on_step()
        return key

    async def report_again(self, sn: str, seat: Seat) -> None:
        """A task began anew under an agent that waits: what it told at its start still holds."""
        machine = self.mirror.machine(sn)
        if machine is None or machine.hardware is None or self._lead.standing is not Standing.ACTIVE:
            return
        async with self._calm(sn):
            await self.book.report(self.idc, _report_of(machine), seat.lease.session_sha256, seat.lease_id)
            await self.refresh(sn)

    # --- what may be done -------------------------------------------------------------------------------------------
    def check_serves(self) -> None:
        """Raise Unavailable unless we lead, or led last and are cut off."""
        if self._lead.standing not in {Standing.ACTIVE, Standing.CUT_OFF}:
            raise not_active()

    def check_leads(self) -> None:
        """Raise Unavailable unless something new may begin."""
        self.check_serves()
        if self._lead.standing is Standing.CUT_OFF:
            raise Unavailable(
                "this data centre is cut off from its store: nothing new is begun; ask again", reason="cut_off"
            )

    # --- inside -----------------------------------------------------------------------------------------------------
    async def _do(self, call: Call) -> None:
        name = type(call).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        self.check_serves()
        async with self._calm(call.sn):
            if self._lead.standing is Standing.ACTIVE and not self.journal.has(call.sn):
                try:
                    await self.batches.tell(call)
                except STORE_AWAY as error:
                    _raise_unless_away(error)
                else:
                    if not isinstance(call, ProgressCall):
                        self.on_step()  # onto the disk: should the store go away now, the picture is judged by
                    return
            await self._do_here(call)

    async def _alone(self, call: Call) -> None:
        """Do one call by the task as the store has it, and see our own write at once.

        A look that fails sends the call into the journal too: told twice, it changes nothing.
        """
        await _tell(self.book, self.idc, call)
        if not isinstance(call, ProgressCall):
            await self.refresh(call.sn)

    async def _do_here(self, call: Call) -> None:
        """Apply the rule to the picture, put the call on the disk, show the task as it is here."""
        task, at = self.mirror.task(call.sn), self._clock.now()
        if task is None or task.status is not TaskStatus.INSTALLING:
            raise Unavailable(f"{call.sn}: the store is away and nothing is being installed here; ask again")
        try:
            after, _ = applied(task, call, at)
        except OpsError as error:
            if self.mirror.revision:
                raise
            words = f"{call.sn}: not by the last picture ({error.message}), and the store was not heard yet; ask again"
            raise Unavailable(words, reason="store_away") from error
        await self.journal.append(call, at)
        self.mirror.set_local(after)
        self._has_entries.set()

    async def _tell_store(self, entry: Entry) -> None:
        """Tell the store one event of the journal, with the time at which it was said."""
        book = AgentBook(self._plain, _Then(entry.at, self._clock))
        try:
            await _tell(book, self.idc, entry.read())
        except STORE_AWAY:
            raise  # it has not heard it: what is shown here still counts
        except OpsError:
            await self._show_stored(entry.sn)
            raise
        await self._show_stored(entry.sn)

    async def _show_stored(self, sn: str) -> None:
        """After the last event of a machine the store's word counts again."""
        if self.journal.count(sn) > 1:
            return
        with contextlib.suppress(*STORE_AWAY):
            await self.refresh(sn)
            self.mirror.drop_local(sn)

    async def refresh(self, sn: str) -> int:
        """Read a machine's keys as they stand now, before the watch tells; return the revision."""
        prefix = f"/os/{self.idc}/machines/{sn}/".encode()
        found = await self._plain.range(RangeRequest(prefix, prefix_end(prefix)))
        for kv in found.kvs:
            self.mirror.see(kv)
        return found.revision

    async def _check_room(self) -> None:
        prefix = UNMATCHED + f"{self.idc}/".encode()
        found = await self._store.range(RangeRequest(prefix, prefix_end(prefix), count_only=True))
        if found.count >= MAX_UNMATCHED:
            raise RateLimited(f"{found.count} machines of {self.idc} wait without a task already", retry_after_s=60)

    @contextlib.asynccontextmanager
    async def _calm(self, sn: str) -> AsyncIterator[None]:
        """One change of a machine at a time: what it says keeps its order."""
        lock = self._locks.setdefault(sn, asyncio.Lock())
        async with lock:
            yield


class _Then:
    """A clock that shows when something was said."""

    def __init__(self, at: datetime, clock: Clock) -> None:
        self._at, self._clock = at, clock

    def now(self) -> datetime:
        return self._at

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()


async def _tell(book: AgentBook, idc: str, call: Call) -> None:
    match call:
        case BeginCall():
            await book.begin(idc, call)
        case ProgressCall():
            await book.progress(idc, call)
        case CompleteCall():
            await book.complete(idc, call)
        case InstallCompleteCall():
            await book.finish(idc, call)


def _report_of(machine: Machine) -> Report:
    if machine.hardware is None:
        raise NotAllowed(f"machine {machine.sn} has reported nothing")
    mac = machine.macs[0] if machine.macs else ""
    return Report(machine.sn, mac, machine.uuid, machine.hardware, machine.boot_id, machine.boot_public_key)


def _raise_unless_away(error: BaseException) -> None:
    """Another client leads: that is no store that is away."""
    if isinstance(error, OpsError) and error.details.get("reason") == NOT_ACTIVE:
        raise error
