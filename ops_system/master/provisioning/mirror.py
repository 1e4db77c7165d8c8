"""A copy of what the store holds, kept by one watch of `/os/`: for lists, counts and live pages. All of it is derived.

Nothing is decided by it: what is changed is read in the store again, inside its transaction. It may be a moment late;
`reach` waits until it has seen a revision.
"""

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable

import msgspec

from ops_system.kv.base import Event, KeyValue, Store
from ops_system.kv.errors import StoreError
from ops_system.kv.follow import Listed, follow
from ops_system.master.bus import Bus, Changed
from ops_system.master.provisioning.rules import is_step_only, machine_view, stats_of
from ops_system.master.provisioning.shapes import ApprovalRule, IdcStats, TaskRow
from ops_system.model.errors import Unavailable
from ops_system.model.machines import Machine
from ops_system.model.tasks import Server, TaskStatus
from ops_system.provision.keys import EVERYTHING, RULES, Place, logs_of, place_of
from ops_system.provision.regions import RegionHeartbeat, RegionInfo, RegionSettings
from ops_system.runtime.clock import Clock

_log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Data centre and serial number."""
REACH_WITHIN_S = 2.0
REFUSED_PAUSE_S = 5.0


class Heard(msgspec.Struct, frozen=True):
    """A heartbeat of a region: since when it is heard without a gap (monotonic), and the revision of the newest."""

    beat: RegionHeartbeat
    since_s: float
    revision: int


class Gone(msgspec.Struct, frozen=True):
    """Since when an agent is missing: monotonic, and the revision of the store."""

    since_s: float
    revision: int


class Sealing(msgspec.Struct, frozen=True):
    """The part of a task that tells whether something is sealed for its agent."""

    sealed_enrolment: str = ""


class Mirror:
    """One per master. `on_change` is called with each machine of which something changed but how far a step is."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store, self._bus, self._clock = store, bus, clock
        self.tasks: dict[Key, TaskRow] = {}
        self.machines: dict[Key, Machine] = {}
        self.unmatched: dict[Key, Machine] = {}
        self.queue: dict[Key, Server] = {}
        self.counts: dict[str, Counter[TaskStatus]] = defaultdict(Counter)
        self.machine_counts: Counter[str] = Counter()
        self.unmatched_counts: Counter[str] = Counter()
        self.agents: set[Key] = set()  # who has a living agent
        self.gone: dict[Key, Gone] = {}  # whose agent is gone, while somebody asks
        self.unsealed: set[Key] = set()  # tasks whose enrolment must be sealed anew
        self.infos: dict[str, RegionInfo] = {}
        self.heard: dict[str, Heard] = {}
        self.settings: dict[str, RegionSettings] = {}
        self.rules: dict[str, ApprovalRule] = {}
        self.revision = 0
        self.on_change: list[Callable[[Key], None]] = []
        self.on_task: list[Callable[[TaskRow | None, TaskRow | None], None]] = []
        self._moved = asyncio.Event()
        self._known: dict[bytes, int] = {}

    async def run(self) -> None:
        """Follow the store for ever; a store that refuses (its password was changed) is asked again."""
        while True:
            try:
                await self._follow()
            except StoreError as error:
                _log.error("the store of installations refuses to be read: %s", error.message)
                await asyncio.sleep(REFUSED_PAUSE_S)

    async def _follow(self) -> None:
        async with contextlib.aclosing(follow(self._store, EVERYTHING, skip=logs_of)) as steps:
            async for step in steps:
                if isinstance(step, Listed):
                    self._relist(step)
                else:
                    for event in step.events:
                        self._take(event)
                self.revision = max(self.revision, step.revision)
                self._moved.set()
                self._moved = asyncio.Event()

    async def reach(self, revision: int) -> None:
        """Return when everything up to a revision is seen, or when the store is late: lists then show what is known.

        Raises Unavailable as long as the store was never read: nothing is no answer then.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REACH_WITHIN_S):
                while self.revision < max(revision, 1):
                    await self._moved.wait()
        if not self.revision:
            raise Unavailable(
                "the store of installations has not been read yet; try again", retry_after_s=REACH_WITHIN_S
            )

    def gauges(self) -> dict[str, float]:
        """Return installations by status, machines, living agents, and which data centres are heard."""
        total: Counter[TaskStatus] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        by_status = {f'ops_installations{{status="{status}"}}': float(total[status]) for status in TaskStatus}
        heard = {f'ops_region_up{{idc="{idc}"}}': float(idc in self.heard) for idc in self.idcs()}
        return (
            by_status
            | heard
            | {
                "ops_machines": float(len(self.machines)),
                "ops_machines_unmatched": float(len(self.unmatched)),
                "ops_install_agents": float(len(self.agents)),
            }
        )

    def clients(self) -> dict[str, bool]:
        """Return the data centres that have, or had, a regional client, and whether it is heard."""
        return {idc: idc in self.heard for idc in self.infos}

    def idcs(self) -> list[str]:
        """Return every data centre that has, or had, a task, a machine, a client or settings."""
        placed = {idc for kind in (self.tasks, self.machines, self.unmatched) for idc, _ in kind}
        return sorted(placed | set(self.infos) | set(self.heard) | set(self.settings))

    def stats(self, idc: str) -> IdcStats:
        """Return the counts of a data centre."""
        machines, unmatched = self.machine_counts[idc], self.unmatched_counts[idc]
        counts = stats_of(self.counts.get(idc, {}), machines, unmatched)
        return IdcStats(idc=idc, **msgspec.structs.asdict(counts))

    # --- what the store tells -----------------------------------------------------------------------------------------
    def _relist(self, listed: Listed) -> None:
        there = {kv.key for kv in listed.kvs}
        for key in [key for key in self._known if key not in there]:
            self._remove(key, listed.revision)
        for kv in listed.kvs:
            if self._known.get(kv.key) != kv.mod_revision:
                self._put(kv)

    def _take(self, event: Event) -> None:
        if event.is_delete:
            self._remove(event.kv.key, event.kv.mod_revision)
        else:
            self._put(event.kv)

    def _put(self, kv: KeyValue) -> None:
        place = place_of(kv.key)
        try:
            if place is None:
                if not kv.key.startswith(RULES):
                    return
                rule = msgspec.json.decode(kv.value, type=ApprovalRule)
                self.rules[rule.id] = rule
            else:
                self._put_document(place, kv)
        except msgspec.MsgspecError as error:
            _log.error("%s in the store cannot be read and is not shown: %s", kv.key.decode(errors="replace"), error)
            return
        self._known[kv.key] = kv.mod_revision

    def _put_document(self, place: Place, kv: KeyValue) -> None:
        key, decode, has_news = (place.idc, place.sn), msgspec.json.decode, True
        match place.kind:
            case "task":
                has_news = self._put_task(key, decode(kv.value, type=TaskRow), kv)
            case "meta" | "unmatched":
                self._put_machine(place.kind, key, decode(kv.value, type=Machine))
            case "lease":
                self.agents.add(key)
                self.gone.pop(key, None)
            case "servers":
                self._put_server(key, decode(kv.value, type=Server))
            case "info":
                self.infos[place.idc] = decode(kv.value, type=RegionInfo)
            case "heartbeat":
                self._put_heartbeat(place.idc, decode(kv.value, type=RegionHeartbeat), kv.mod_revision)
            case "settings":
                self.settings[place.idc] = decode(kv.value, type=RegionSettings)
        self._tell(place, key, has_news=has_news)

    def _put_task(self, key: Key, row: TaskRow, kv: KeyValue) -> bool:
        """Take a task; whether more of it changed than how far a step is."""
        before, self.tasks[key] = self.tasks.get(key), row
        was_unsealed = key in self.unsealed
        self.unsealed.discard(key)
        may_begin = row.status in {TaskStatus.APPROVED, TaskStatus.INSTALLING}
        if may_begin and row.enrolment_id and not msgspec.json.decode(kv.value, type=Sealing).sealed_enrolment:
            self.unsealed.add(key)
        for hear in self.on_task:
            hear(before, row)
        return was_unsealed != (key in self.unsealed) or not is_step_only(before, row)

    def _put_machine(self, kind: str, key: Key, machine: Machine | None) -> None:
        is_matched = kind == "meta"
        known, counts = (self.machines, self.machine_counts) if is_matched else (self.unmatched, self.unmatched_counts)
        counts[key[0]] -= known.pop(key, None) is not None
        if machine is not None:
            counts[key[0]] += 1
            known[key] = machine

    def _put_heartbeat(self, idc: str, beat: RegionHeartbeat, revision: int) -> None:
        before = self.heard.get(idc)
        is_same = before is not None and before.beat.client_id == beat.client_id
        since_s = before.since_s if before is not None and is_same else self._clock.monotonic_s()
        self.heard[idc] = Heard(beat, since_s, revision)

    def _put_server(self, key: Key, server: Server | None) -> None:
        before, counts = self.queue.pop(key, None), self.counts[key[0]]
        if before is not None:
            counts[before.status] -= 1
        if server is not None:
            counts[server.status] += 1
            self.queue[key] = server

    def _remove(self, raw: bytes, revision: int) -> None:
        self._known.pop(raw, None)
        place = place_of(raw)
        if place is None:
            self.rules.pop(raw.removeprefix(RULES).decode(errors="replace"), None)
            return
        key = (place.idc, place.sn)
        match place.kind:
            case "task":
                self._remove_task(key)
            case "lease":
                self.agents.discard(key)
                self.gone[key] = Gone(self._clock.monotonic_s(), revision)
            case "servers":
                self._put_server(key, None)
            case "meta" | "unmatched":
                self._put_machine(place.kind, key, None)
            case kind:
                self._remove_of_region(kind, place.idc)
        self._tell(place, key)

    def _remove_task(self, key: Key) -> None:
        before = self.tasks.pop(key, None)
        self.gone.pop(key, None)
        self.unsealed.discard(key)
        for hear in self.on_task:
            hear(before, None)

    def _remove_of_region(self, kind: str, idc: str) -> None:
        match kind:
            case "info":
                self.infos.pop(idc, None)
            case "heartbeat":
                self.heard.pop(idc, None)
            case "settings":
                self.settings.pop(idc, None)

    # --- who is told ------------------------------------------------------------------------------------------------
    def _tell(self, place: Place, key: Key, *, has_news: bool = True) -> None:
        name, publish = f"{place.idc}/{place.sn}", self._bus.publish
        match place.kind:
            case "task":
                row = self.tasks.get(key)
                publish(Changed(f"tasks:{place.idc}", name, row))
                publish(Changed(f"task:{name}", name, row))
            case "meta" | "lease" | "unmatched":
                view = self.machine_view(key)
                publish(Changed(f"machines:{place.idc}", name, view))
                publish(Changed(f"machine:{name}", name, view))
                if place.kind != "lease":
                    publish(Changed("stats", place.idc, self.stats(place.idc)))
            case "servers":
                publish(Changed("stats", place.idc, self.stats(place.idc)))
                return
            case "info" | "heartbeat" | "settings":
                publish(Changed("idcs", place.idc, {"idc": place.idc}))
            case _:
                return
        if has_news:
            for hear in self.on_change:
                hear(key)

    def gone_since(self, key: Key) -> Gone:
        """Return since when a machine has no agent: since it lost it, or since it was first asked for."""
        return self.gone.setdefault(key, Gone(self._clock.monotonic_s(), self.revision))

    def machine_view(self, key: Key) -> msgspec.Struct | None:
        """Return a machine as the API shows it, or None; one that is not matched, too."""
        machine = self.machines.get(key) or self.unmatched.get(key)
        if machine is None:
            return None
        return machine_view(machine, self.tasks.get(key), is_alive=key in self.agents)
