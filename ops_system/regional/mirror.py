"""The data centre as the store last told it, in memory: tasks, machines, agents, settings. Fed by `watcher`.

What a region does while the store is away stands here as a *local* task, above the stored one, until the store has
heard of it. Reading never waits.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace

from ops_system.kv.base import Event, KeyValue
from ops_system.model.machines import AgentLease, Machine
from ops_system.model.tasks import BOOTS_AGENT, Task
from ops_system.provision.keys import MachineKeys, place_of, region_key
from ops_system.provision.regions import RegionClient, RegionSettings
from ops_system.regional.boot.gate import Asks, Known

_log = logging.getLogger(__name__)

MAX_STANDBYS = 3
_KINDS = frozenset({"meta", "task", "lease"})


class Seat(msgspec.Struct, frozen=True):
    """An agent's session, and the lease of the store that it lives by."""

    lease: AgentLease
    lease_id: int
    revision: int = 0


KEPT_TOGETHER = 200


class Kept(msgspec.Struct, frozen=True):
    """A part of the picture as it lies on the disk, for a start while the store is away."""

    tasks: tuple[Task, ...] = ()
    machines: tuple[Machine, ...] = ()
    seats: dict[str, Seat] = {}
    settings: RegionSettings = RegionSettings()


class Mirror:
    """One data centre. Everything is told by key and revision; what is older than what is known is ignored."""

    def __init__(self, idc: str) -> None:
        self.idc = idc
        self.settings = RegionSettings()
        self.clients: dict[str, str] = {}  # who serves or stands by, and where
        self.revision = 0  # 0: the store has told nothing yet
        self.events = 0  # changes heard, for /metrics
        self._tasks: dict[str, Task] = {}
        self._machines: dict[str, Machine] = {}
        self._seats: dict[str, Seat] = {}
        self._local: dict[str, Task] = {}
        self._revisions: dict[bytes, int] = {}
        self._held: dict[bytes, tuple[KeyValue, bool] | None] = {}  # keys that we write: what the watch told last
        self._by_mac: dict[str, str] = {}
        self._by_uuid: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._waiting: dict[str, asyncio.Event] = {}

    # --- reading --------------------------------------------------------------------------------------------------
    def task(self, sn: str) -> Task | None:
        """Return a machine's task as it stands here."""
        return self._local.get(sn) or self._tasks.get(sn)

    def stored(self, sn: str) -> tuple[KeyValue | None, Task | None]:
        """Return a task as the store has it, with the revision to hold it by; nothing while more was done here."""
        key, task = MachineKeys(self.idc, sn).task, self._tasks.get(sn)
        if task is None or sn in self._local:
            return None, None
        return KeyValue(key, mod_revision=self._revisions[key]), task

    def machine(self, sn: str) -> Machine | None:
        """Return what is known of a machine."""
        return self._machines.get(sn)

    def seat(self, sn: str) -> Seat | None:
        """Return who works on a machine."""
        return self._seats.get(sn)

    def tasks(self) -> list[Task]:
        """Return every task."""
        return [self._local.get(sn, task) for sn, task in self._tasks.items()]

    def seats(self) -> dict[str, Seat]:
        """Return every agent's session by serial number."""
        return dict(self._seats)

    def find(self, asks: Asks) -> Known:
        """Return what is known of the machine that asks: by serial number, then by UUID, then by MAC."""
        for sn in (asks.sn, self._by_uuid.get(asks.uuid, ""), self._by_mac.get(asks.mac, "")):
            if sn and (sn in self._tasks or sn in self._machines):
                return Known(sn, self.task(sn), self._machines.get(sn), self.settings.discovery)
        return Known(is_discovery_on=self.settings.discovery)

    async def changed(self) -> None:
        """Wait for the next change of anything."""
        await self._changed.wait()

    def news_of(self, sn: str) -> asyncio.Event:
        """Return what is set at the next change of one machine: thousands of agents wait, and few have news.

        Take it before looking, so that no change falls between look and wait.
        """
        return self._waiting.setdefault(sn, asyncio.Event())

    # --- what the store tells -------------------------------------------------------------------------------------
    def replace_all(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        """Take a whole list: what is not in it is gone."""
        self._tasks, self._machines, self._seats, self._revisions = {}, {}, {}, {}
        for kv in kvs:
            self._take(kv)
        self.revision = revision
        self._index()
        self._tell()

    def apply(self, revision: int, events: Iterable[Event]) -> None:
        """Take changes."""
        for event in events:
            self.events += 1
            self.see(event.kv, is_delete=event.is_delete)
        self.revision = max(self.revision, revision)

    def see(self, kv: KeyValue, *, is_delete: bool = False) -> None:
        """Take one key as it stands, or stood: read or written by ourselves, or told by the watch."""
        known = self._revisions.get(kv.key)
        if known is not None and kv.mod_revision <= known:
            return
        if kv.key in self._held:
            self._held[kv.key] = kv, is_delete
            return
        if is_delete:
            self._drop(kv.key, kv.mod_revision)
        else:
            self._take(kv)
        if place := self._place(kv.key):
            self._tell(place[0])

    def see_task(self, task: Task, revision: int) -> None:
        """Take a task as it was written by ourselves; what the watch tells of it then is no news."""
        key = MachineKeys(self.idc, task.sn).task
        if revision <= self._revisions.get(key, 0):
            return
        self._revisions[key], self._tasks[task.sn] = revision, task
        self._index_task(task)
        self._tell(task.sn)

    @contextlib.contextmanager
    def holding(self, keys: Iterable[bytes]) -> Iterator[None]:
        """Hear of these keys only after our own write of them: what the watch tells of it need not be read then."""
        held = list(keys)
        self._held.update(dict.fromkeys(held))
        try:
            yield
        finally:
            for told in [self._held.pop(key, None) for key in held]:
                if told is not None:
                    self.see(told[0], is_delete=told[1])

    def set_settings(self, value: bytes | None) -> None:
        """Take the operators' settings of the data centre; None: there are none."""
        try:
            self.settings = RegionSettings() if value is None else msgspec.json.decode(value, type=RegionSettings)
        except msgspec.MsgspecError as error:
            _log.error("settings of %s cannot be read (%s); the former ones stay", self.idc, error)
        self._tell()

    def set_clients(self, values: Iterable[bytes]) -> None:
        """Take the whole list of regional clients."""
        self.clients = {}
        for value in values:
            self.set_client(value)

    def set_client(self, value: bytes) -> None:
        """Take where a regional client is."""
        try:
            client = msgspec.json.decode(value, type=RegionClient)
        except msgspec.MsgspecError as error:
            _log.error("a regional client of %s cannot be read (%s)", self.idc, error)
            return
        self.clients[client.client_id] = client.api_url

    def drop_client(self, client_id: str) -> None:
        """A regional client has gone."""
        self.clients.pop(client_id, None)

    def standbys(self, own_url: str) -> tuple[str, ...]:
        """Return where the other regional clients of this data centre are: they may lead next."""
        return tuple(sorted({url for url in self.clients.values() if url != own_url}))[:MAX_STANDBYS]

    # --- what is done here while the store is away ----------------------------------------------------------------
    def set_local(self, task: Task) -> None:
        """Show a task as it is here; the store will hear of it."""
        self._local[task.sn] = task
        self._tell(task.sn)

    def drop_local(self, sn: str) -> None:
        """The store knows it all: what it says counts."""
        if self._local.pop(sn, None) is not None:
            self._tell(sn)

    # --- the disk -------------------------------------------------------------------------------------------------
    def keep(self) -> Iterator[Kept]:
        """Give the picture for the disk in parts: what boots an agent. Who is not in it starts from its disk anyway.

        Each machine is as it stands when its part is made. The settings are in the first part.
        """
        names, settings = list(self._tasks), self.settings
        for start in range(0, max(1, len(names)), KEPT_TOGETHER):
            tasks = [task for sn in names[start : start + KEPT_TOGETHER] if (task := self._tasks.get(sn))]
            wanted = [replace(task, logs=()) for task in tasks if task.status in BOOTS_AGENT]
            machines = [machine for task in wanted if (machine := self._machines.get(task.sn))]
            seats = {task.sn: seat for task in wanted if (seat := self._seats.get(task.sn))}
            yield Kept(tuple(wanted), tuple(machines), seats, settings)

    def load(self, parts: Iterable[Kept]) -> None:
        """Begin with what was known before; the first list of the store replaces it."""
        kept = list(parts)
        self._tasks = {task.sn: task for part in kept for task in part.tasks}
        self._machines = {machine.sn: machine for part in kept for machine in part.machines}
        self._seats = {sn: seat for part in kept for sn, seat in part.seats.items()}
        self.settings = kept[0].settings if kept else RegionSettings()
        self._index()
        self._tell()

    # --- inside ---------------------------------------------------------------------------------------------------
    def _take(self, kv: KeyValue) -> None:
        self._revisions[kv.key] = kv.mod_revision
        place = self._place(kv.key)
        if place is None:
            return
        sn, kind = place
        try:
            match kind:
                case "task":
                    self._index_task(task := msgspec.json.decode(kv.value, type=Task))
                    self._tasks[sn] = task
                case "meta":
                    self._index_machine(machine := msgspec.json.decode(kv.value, type=Machine))
                    self._machines[sn] = machine
                case _:
                    lease = msgspec.json.decode(kv.value, type=AgentLease)
                    self._seats[sn] = Seat(lease, kv.lease, kv.mod_revision)
        except msgspec.MsgspecError as error:
            _log.error("%s cannot be read (%s); the machine starts from its disk", kv.key.decode(), error)
            self._drop(kv.key, kv.mod_revision)

    def _drop(self, key: bytes, revision: int) -> None:
        self._revisions[key] = revision
        if (place := self._place(key)) is None:
            return
        sn, kind = place
        match kind:
            case "task":
                self._tasks.pop(sn, None)
            case "meta":
                self._machines.pop(sn, None)
            case _:
                self._seats.pop(sn, None)

    def _place(self, key: bytes) -> tuple[str, str] | None:
        place = place_of(key)
        return (place.sn, place.kind) if place and place.idc == self.idc and place.kind in _KINDS else None

    def _index(self) -> None:
        self._by_mac, self._by_uuid = {}, {}
        for machine in self._machines.values():
            self._index_machine(machine)
        for task in self._tasks.values():
            self._index_task(task)

    def _index_machine(self, machine: Machine) -> None:
        for mac in machine.macs:
            self._by_mac.setdefault(mac, machine.sn)
        if machine.uuid:
            self._by_uuid[machine.uuid.lower()] = machine.sn

    def _index_task(self, task: Task) -> None:
        """A card that a task names is that task's, whatever another machine once reported."""
        self._by_mac[task.mac] = task.sn

    def _tell(self, sn: str = "") -> None:
        """Wake who waits for one machine, or everybody."""
        self._changed.set()
        self._changed = asyncio.Event()
        for waiting in [sn] if sn else list(self._waiting):
            if event := self._waiting.pop(waiting, None):
                event.set()


def settings_key(idc: str) -> bytes:
    """Return the key of the operators' settings."""
    return region_key(idc, "settings")
