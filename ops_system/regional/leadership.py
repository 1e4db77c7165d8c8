"""One active regional client for a data centre (P6): a leased key with an epoch that rises with each take-over.

    starting ──> standby ──(key is free)──> active ──(store away for a TTL)──> cut_off
        │           ^                          │ ^                               │  │
        │           └──(key is another's)──────┘ └──(store back, key ours)───────┘  │
        └─(was active before, store away)──> cut_off        └──(key is another's)───┴──> standby

Active serves everything. Cut off starts nothing new and finishes what is being installed. Standby answers no agent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from ops_system.kv.base import KeyValue, PutRequest, Store
from ops_system.kv.errors import LeaseNotFound
from ops_system.kv.swap import Write, change_all
from ops_system.model.errors import OpsError, TimedOut, Unavailable
from ops_system.provision.keys import region_key
from ops_system.provision.regions import RegionActive, RegionHeartbeat, RegionInfo
from ops_system.runtime.clock import Clock
from ops_system.runtime.files import remove_durably, write_atomic
from ops_system.runtime.tasks import running

_log = logging.getLogger(__name__)

_AWAY = (Unavailable, TimedOut, TimeoutError)


class Standing(StrEnum):
    """What this client may do."""

    STARTING = "starting"
    STANDBY = "standby"
    ACTIVE = "active"
    CUT_OFF = "cut_off"


class Who(msgspec.Struct, frozen=True):
    """The data centre, and which of its clients this is: one name for a data folder, through restarts."""

    idc: str
    client_id: str


class Duties(msgspec.Struct, frozen=True):
    """What the leader does besides: `on_gain` before it says that it is there, then what it tells of itself."""

    on_gain: Callable[[], Awaitable[None]]
    info: Callable[[int], RegionInfo]
    heartbeat: Callable[[int], RegionHeartbeat]


class Leadership:
    """Takes the key, renews its lease, tells the heartbeat; knows at every moment what may be done."""

    def __init__(self, store: Store, who: Who, clock: Clock, memory: Path, ttl_s: float) -> None:
        self._store, self._idc, self._clock, self._ttl_s = store, who.idc, clock, ttl_s
        self.client_id = who.client_id
        self._memory = memory  # there while we lead, so that a restart without the store goes on
        self._lease_id = 0
        self._confirmed_s = float("-inf")
        self._standing = Standing.STARTING
        self.epoch = 0
        self.gains = 0
        self.value = b""  # of the key, while we hold it
        self.vacancy = asyncio.Event()
        self.changed = asyncio.Event()
        self.last_error = ""

    @property
    def standing(self) -> Standing:
        """What may be done now. A lease that was not confirmed for its whole life is none (P6)."""
        if self._standing is Standing.ACTIVE and not self._is_fresh():
            return Standing.CUT_OFF
        return self._standing

    def load(self) -> None:
        """Begin as cut off when this client led before it ended: the store decides as soon as it answers."""
        try:
            remembered = msgspec.json.decode(self._memory.read_bytes(), type=RegionActive)
        except (OSError, msgspec.MsgspecError):
            return
        self.epoch, self._standing = remembered.epoch, Standing.CUT_OFF

    async def run(self, duties: Duties) -> None:
        """Lead, or stand by, for ever."""
        while True:
            self.vacancy.clear()  # first: a key that is freed while we ask for it is asked for again at once
            try:
                pause_s = await self._turn(duties)
            except _AWAY as error:
                self.last_error = str(error) or "no answer in time"
                if self._standing is Standing.ACTIVE and not self._is_fresh():
                    _log.warning("the store is away (%s): nothing new is started until it is back", self.last_error)
                    self._stand(Standing.CUT_OFF)
                pause_s = self._ttl_s / 15
            except OpsError as error:
                if self.last_error != error.message:
                    _log.error("the store refuses this client: %s", error.message)
                self.last_error = error.message
                pause_s = self._ttl_s / 3
            await self._pause(pause_s)

    async def resign(self) -> None:
        """Let go at once, so that a standby need not wait for the lease to end."""
        if self._standing is not Standing.ACTIVE:
            return
        self._stand(Standing.STANDBY)
        try:
            await self._store.revoke(self._lease_id)
        except OpsError as error:
            _log.info("the lead ends with its lease: %s", error.message)

    # --- inside -----------------------------------------------------------------------------------------------------
    async def _turn(self, duties: Duties) -> float:
        began_s = self._clock.monotonic_s()
        self._stand(self.standing)  # a lease that ran out unseen was lost, also when it can be renewed now
        if self._lease_id and await self._store.keepalive(self._lease_id) > 0 and self.value:
            self._confirmed_s = began_s
        elif await self._take(duties):
            self._confirmed_s = began_s
            _log.info("this client serves %s now, epoch %d", self._idc, self.epoch)
        else:
            return self._ttl_s / 3
        if self._standing is not Standing.ACTIVE:
            async with running(self._renew(), "renew the lead"):
                await duties.on_gain()
            self._stand(Standing.ACTIVE)
        await self._beat(duties)
        return self._ttl_s / 3

    async def _renew(self) -> None:
        """Keep the lease while there is much to tell the store before the first heartbeat."""
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            began_s = self._clock.monotonic_s()
            try:
                if await self._store.keepalive(self._lease_id) > 0:
                    self._confirmed_s = began_s
            except OpsError as error:
                _log.info("the lead was not renewed: %s", error.message)

    async def _take(self, duties: Duties) -> bool:
        """Put our name into the key when it is free, or our own from before."""
        self.value = b""
        self._lease_id = (await self._store.grant(max(2, round(self._ttl_s)))).id
        active_key, info_key = region_key(self._idc, "active"), region_key(self._idc, "info")
        mine: RegionActive | None = None

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal mine
            active = seen[0] and msgspec.json.decode(seen[0].value, type=RegionActive)
            info = seen[1] and msgspec.json.decode(seen[1].value, type=RegionInfo)
            mine = None
            if active and active.client_id != self.client_id:
                return []
            epoch = max(active.epoch if active else 0, info.epoch if info else 0) + 1
            mine = RegionActive(self.client_id, epoch, self._clock.now())
            return [
                PutRequest(active_key, msgspec.json.encode(mine), self._lease_id),
                PutRequest(info_key, msgspec.json.encode(duties.info(epoch))),
            ]

        await change_all(self._store, (active_key, info_key), rule, may_repeat=True)
        if mine is None:
            await self._give_back()
            return False
        self.epoch, self.value = mine.epoch, msgspec.json.encode(mine)
        self.gains += 1
        await asyncio.to_thread(self._remember)
        return True

    async def _give_back(self) -> None:
        lease_id, self._lease_id = self._lease_id, 0
        if self._standing is not Standing.STANDBY:
            _log.info("another client serves %s; this one stands by", self._idc)
            await asyncio.to_thread(remove_durably, self._memory)
            self._stand(Standing.STANDBY)
        await self._store.revoke(lease_id)

    async def _beat(self, duties: Duties) -> None:
        beat = msgspec.json.encode(duties.heartbeat(self.epoch))
        try:
            await self._store.put(PutRequest(region_key(self._idc, "heartbeat"), beat, self._lease_id))
        except LeaseNotFound:
            self.value = b""  # it ended between two words: the next turn takes it again
        self.last_error = ""

    def _remember(self) -> None:
        try:
            write_atomic(self._memory, self.value)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._memory, error.strerror)

    def _is_fresh(self) -> bool:
        return self._clock.monotonic_s() - self._confirmed_s < self._ttl_s

    def _stand(self, standing: Standing) -> None:
        if self._standing is not standing:
            self._standing = standing
            self.changed.set()
            self.changed = asyncio.Event()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the key is free."""
        try:
            async with asyncio.timeout(seconds):
                await self.vacancy.wait()
        except TimeoutError:
            return
