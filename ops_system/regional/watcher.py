"""Follows the keys of one data centre into the mirror, and keeps the last picture on the disk."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec

from ops_system.kv.base import Event, Store
from ops_system.kv.follow import Listed, follow
from ops_system.model.errors import OpsError
from ops_system.provision.keys import machines_prefix, region_key
from ops_system.provision.regions import client_of
from ops_system.regional.mirror import Kept, Mirror, settings_key
from ops_system.runtime.files import write_atomic
from ops_system.runtime.tasks import spawn

_log = logging.getLogger(__name__)

KEEP_EVERY_S = 5.0
KEEP_SHARE = 100.0  # a large picture is kept more rarely: no more than 1 % of the time
URGENT_SHARE = 20.0  # and what is worth more than that, no more than 5 %
REFUSED_PAUSE_S = 5.0


class Watcher:
    """Two watches: the machines' keys and the region's own. Nobody else's keys are read."""

    def __init__(self, store: Store, mirror: Mirror, picture: Path) -> None:
        self._store, self._mirror, self._picture = store, mirror, picture
        self.has_listed = asyncio.Event()
        self.on_vacancy: Callable[[], None] = lambda: None
        self._kept = b""
        self._is_urgent = asyncio.Event()

    def load(self) -> None:
        """Begin with the picture of the last run; without one, or with a damaged one, with nothing."""
        try:
            lines = self._picture.read_bytes().splitlines()
            self._mirror.load([msgspec.json.decode(line, type=Kept) for line in lines])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("the picture %s cannot be read (%s); waiting for the store", self._picture, error)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            spawn(group, _persist(self._follow_machines), "follow machines")
            spawn(group, _persist(self._follow_region), "follow region")
            spawn(group, self._keep_picture(), "keep picture")

    async def _follow_machines(self) -> None:
        async with aclosing(follow(self._store, machines_prefix(self._mirror.idc))) as told:
            async for each in told:
                if isinstance(each, Listed):
                    self._mirror.replace_all(each.revision, each.kvs)
                    self.has_listed.set()
                else:
                    self._mirror.apply(each.revision, each.events)

    async def _follow_region(self) -> None:
        idc = self._mirror.idc
        async with aclosing(follow(self._store, region_key(idc, ""))) as told:
            async for each in told:
                if isinstance(each, Listed):
                    found = {kv.key: kv.value for kv in each.kvs}
                    self._mirror.set_settings(found.get(settings_key(idc)))
                    self._mirror.set_clients([value for key, value in found.items() if client_of(idc, key)])
                    self._see_active(found.get(region_key(idc, "active")))
                else:
                    for event in each.events:
                        self._see_region(event)

    def _see_region(self, event: Event) -> None:
        value = None if event.is_delete else event.kv.value
        if event.kv.key == settings_key(self._mirror.idc):
            self._mirror.set_settings(value)
        elif event.kv.key == region_key(self._mirror.idc, "active"):
            self._see_active(value)
        elif client_id := client_of(self._mirror.idc, event.kv.key):
            if value is None:
                self._mirror.drop_client(client_id)
            else:
                self._mirror.set_client(value)

    def _see_active(self, value: bytes | None) -> None:
        if value is None:
            self.on_vacancy()

    async def _keep_picture(self) -> None:
        while True:
            await self._mirror.changed()
            self._is_urgent.clear()
            took_s = await self.keep()
            await asyncio.sleep(URGENT_SHARE * took_s)
            try:
                async with asyncio.timeout(max(KEEP_EVERY_S, KEEP_SHARE * took_s)):
                    await self._is_urgent.wait()
            except TimeoutError:
                continue

    def keep_soon(self) -> None:
        """What just changed is worth more than the wait."""
        self._is_urgent.set()

    async def keep(self) -> float:
        """Write the picture, a part a line; return how long making it took, seconds.

        Agents have their turn between parts. A full disk is said and stops nothing.
        """
        lines, took_s, began_s = [], 0.0, time.perf_counter()
        for part in self._mirror.keep():
            lines.append(msgspec.json.encode(part))
            took_s += time.perf_counter() - began_s
            await asyncio.sleep(0)
            began_s = time.perf_counter()
        data = b"\n".join(lines)
        if data == self._kept:
            return took_s
        try:
            await asyncio.to_thread(write_atomic, self._picture, data)
        except OSError as error:
            _log.warning("the picture cannot be kept in %s: %s", self._picture, error.strerror)
        else:
            self._kept = data
        return took_s


async def _persist(follow_on: Callable[[], Awaitable[None]]) -> None:
    """Go on after a refusal: a token that was revoked is replaced, rights are given."""
    told = ""
    while True:
        try:
            await follow_on()
        except OpsError as error:
            if error.message != told:
                told = error.message
                _log.error("the store refuses to tell what happens: %s", told)
        await asyncio.sleep(REFUSED_PAUSE_S)
