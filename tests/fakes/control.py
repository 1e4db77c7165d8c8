"""The control plane of installations on a real database and a real store, without HTTP; its upkeep runs."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ops_system.kv.embedded import Embedded
from ops_system.master.audit.service import Audit
from ops_system.master.auth.tokens import JoinTokens
from ops_system.master.bus import Bus
from ops_system.master.provisioning.approving import Approvals
from ops_system.master.provisioning.enrolments import Enrolments
from ops_system.master.provisioning.mirror import Mirror
from ops_system.master.provisioning.service import Provisioning
from ops_system.master.provisioning.sites import Sites
from ops_system.master.provisioning.upkeep import Upkeep
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.model.catalogue import find_release
from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.tasks import InstallSpec, Task
from ops_system.provision.agents import AgentBook
from ops_system.provision.book import TaskBook
from ops_system.runtime.tasks import running
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.provision import IDC, IMAGE, SN

ALICE = Principal("user", "usr_a", "alice", frozenset(Permission), Role.ADMIN)
BOB = Principal("user", "usr_b", "bob", frozenset(Permission), Role.ADMIN)
NORTH = Principal("user", "usr_n", "nora", frozenset(Permission), Role.OPERATOR, scope={"idc": "dc2"})
KEY = (IDC, SN)


class Catalogue:
    """Every release as one image."""

    async def resolve(
        self,
        os_type: str,
        os_version: str,
        profile: str = "",
        disk_layout: DiskLayout | None = None,
        network: NetworkConfig | None = None,
    ) -> InstallSpec:
        release = find_release(os_type, os_version)
        layout = disk_layout or DiskLayout()
        return InstallSpec(
            "image", release.os_type, release.os_version, profile, IMAGE, disk_layout=layout, network=network
        )

    async def complete(self, spec: InstallSpec) -> InstallSpec:
        return spec


@dataclass
class Control:
    """Everything a test of the control plane needs."""

    clock: FakeClock
    store: Embedded
    agents: AgentBook
    bus: Bus
    audit: Audit
    tokens: JoinTokens
    mirror: Mirror
    approvals: Approvals
    tasks: Provisioning
    sites: Sites
    upkeep: Upkeep
    enrolled: dict[str, str]

    async def task(self, key: tuple[str, str] = KEY) -> Task:
        """Read a task."""
        return await self.agents.get(*key)

    async def settle(self) -> None:
        """Return when what was written is seen, and looked at once."""
        await self.mirror.reach(self.store.revision)
        await self.upkeep.look(set(self.mirror.tasks))
        await self.mirror.reach(self.store.revision)

    async def actions(self) -> list[str]:
        """Return what was recorded, oldest first."""
        rows = await self.audit._database.fetch_all("SELECT action, outcome FROM audit ORDER BY seq")
        return [f"{row['action']} {row['outcome']}" for row in rows]


@contextlib.asynccontextmanager
async def control_rig(folder: Path) -> AsyncIterator[Control]:
    """Open database and store in `folder`. The mirror runs; upkeep acts when `settle` is called."""
    data = DataFolder(folder)
    data.create()
    clock, bus = FakeClock(), Bus()
    database = await Database.open(data, load_migrations("ops_system.master"))
    store = await Embedded.open(folder / "provision.db", clock)
    audit = Audit(database, clock)
    tokens = JoinTokens(database, audit, clock, ca_key_sha256="ab" * 32, master_url=lambda: "https://m:8443")
    book = TaskBook(store, clock)
    mirror = Mirror(store, bus, clock)
    enrolments = Enrolments(tokens, lambda: "https://m:8443")
    approvals = Approvals(book, mirror, enrolments, audit)
    enrolled: dict[str, str] = {}
    upkeep = Upkeep(
        book=book, mirror=mirror, approvals=approvals, enrolments=enrolments, enrolled=lambda: enrolled, clock=clock
    )

    async def person_of(principal: Principal) -> str:
        return principal.name

    tasks = Provisioning(
        book=book, mirror=mirror, approvals=approvals, catalogue=Catalogue(), audit=audit, person_of=person_of
    )
    sites = Sites(book, mirror, audit)
    agents = AgentBook(store, clock)
    try:
        async with running(store.run(), "store"), running(mirror.run(), "mirror"):
            yield Control(clock, store, agents, bus, audit, tokens, mirror, approvals, tasks, sites, upkeep, enrolled)
    finally:
        await store.close()
        await database.close()
