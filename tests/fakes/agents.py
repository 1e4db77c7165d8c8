"""An install agent and its region, played on a store: what they write, without DHCP and HTTP."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ops_system.kv.base import PutRequest, Store
from ops_system.model.machines import DiskInfo
from ops_system.model.tasks import Task
from ops_system.protocol.agent import Enrolment, enrolment_context
from ops_system.provision.agents import AgentBook, Reported
from ops_system.provision.keys import region_key
from ops_system.provision.regions import RegionHeartbeat
from ops_system.runtime.clock import Clock, SystemClock
from ops_system.runtime.sealing import make_boot_key, public_text, unseal
from tests.fakes.provision import DATA, DISK, IDC, MAC, SN, a_report, begins, completes, ends, session, tells


@dataclass
class PlayedAgent:
    """One boot of one machine."""

    book: AgentBook
    sn: str = SN
    idc: str = IDC
    boot: str = "boot-1"
    mac: str = MAC
    disks: tuple[DiskInfo, ...] = (DISK, DATA)
    uuid: str = "U-1"
    key: Any = field(default_factory=make_boot_key)

    async def report(self) -> Reported:
        """Report the hardware, with a lease."""
        lease = await self.book.store.grant(30)
        said = a_report(self.sn, boot=self.boot, mac=self.mac, disks=self.disks, uuid=self.uuid)
        said = msgspec.structs.replace(said, boot_public_key=public_text(self.key))
        return await self.book.report(self.idc, said, session(self.boot), lease.id)

    async def begin(self, max_installs: int = 20) -> Task:
        """Take the fence."""
        return await self.book.take_fence(self.idc, self.sn, self.boot, max_installs)

    async def write(self, task: Task, step: str = "write-image") -> None:
        """Announce a step, do it, tell it."""
        await self.book.begin(self.idc, begins(task, step))
        await self.book.progress(self.idc, tells(task, step, 50.0, ("half of it",)))
        await self.book.complete(self.idc, completes(task, step))

    async def end(self, task: Task, status: str = "completed") -> Task:
        """Say that it is over."""
        return await self.book.finish(self.idc, ends(task, status))

    async def leave(self) -> None:
        """Give the lease back, as before a reboot."""
        await self.book.release(self.idc, self.sn, session(self.boot))

    def open_enrolment(self, task: Task) -> Enrolment:
        """Open what was sealed to this boot."""
        plain = unseal(task.sealed_enrolment, self.key, enrolment_context(task.task_id))
        return msgspec.json.decode(plain, type=Enrolment)


@dataclass
class PlayedRegion:
    """The heartbeat of a data centre."""

    store: Store
    idc: str
    clock: Clock
    lease_id: int = 0

    async def beat(self, journal_entries: int = 0) -> None:
        """Tell that the region is there."""
        beat = RegionHeartbeat("client-1", 1, self.clock.now(), journal_entries=journal_entries)
        key = region_key(self.idc, "heartbeat")
        await self.store.put(PutRequest(key, msgspec.json.encode(beat), self.lease_id))

    async def fall_silent(self) -> None:
        """The heartbeat runs out."""
        await self.store.revoke(self.lease_id)


@contextlib.asynccontextmanager
async def a_region(store: Store, idc: str = IDC, clock: Clock | None = None) -> AsyncIterator[PlayedRegion]:
    """Play a region that is heard."""
    lease = await store.grant(600)
    region = PlayedRegion(store, idc, clock or SystemClock(), lease.id)
    await region.beat()
    yield region
