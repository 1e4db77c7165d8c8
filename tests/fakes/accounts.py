"""The part of the master that knows people and programs, alone: a real database, a clock of the test's own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.audit.service import Audit
from ops_system.master.auth.accounts import Opened, Visitor
from ops_system.master.auth.events import SessionsRevoked, SetupDone
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.service import Auth
from ops_system.master.auth.views import LoginBody, UserCreate
from ops_system.master.bus import Bus
from ops_system.master.web.guard import Credentials
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.web import PlainSealer

PASSWORD = "correct horse battery"
HERE = Visitor("192.0.2.7", "test")
ROOT = Principal("local", "local", "local:root", frozenset(Permission), Role.ADMIN)


class World:
    """Auth with what it stands on, and shortcuts."""

    def __init__(self, folder: DataFolder, db: Database) -> None:
        self.folder, self.db, self.clock, self.bus = folder, db, FakeClock(), Bus()
        self.audit = Audit(db, self.clock)
        self.events: list[object] = []
        self.codes: list[str] = []
        self.bus.subscribe(SessionsRevoked, self.events.append)
        self.bus.subscribe(SetupDone, self.events.append)
        self.auth = Auth(
            database=db,
            audit=self.audit,
            bus=self.bus,
            clock=self.clock,
            folder=folder,
            sealer=PlainSealer(),
            ca_key_sha256="c" * 64,
            master_url=lambda: "https://ops.example:8443",
            announce=self.codes.append,
            passwords=Passwords(memory_kib=64, passes=1, lanes=1),
        )

    async def user(self, name: str = "ada", role: Role = Role.ADMIN) -> str:
        return (await self.auth.accounts.create(UserCreate(name, PASSWORD, role), ROOT)).id

    async def log_in(
        self, name: str = "ada", password: str = PASSWORD, ip: str = HERE.client_ip, totp: str | None = None
    ) -> Opened:
        return await self.auth.accounts.log_in(LoginBody(name, password, totp), Visitor(ip, "test"))

    async def who(self, *, session: str | None = None, bearer: str | None = None) -> Principal:
        return await self.auth.identify(Credentials(bearer, session, HERE.client_ip))

    async def actions(self, **filters) -> list[tuple[str, str, str]]:
        page = await self.audit.list_page(AuditQuery(**filters))
        return [(row.action, row.outcome, row.actor_name) for row in reversed(page.items)]


@contextlib.asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    """Open a fresh data folder; no administrator exists."""
    data = DataFolder(folder / "data")
    data.create()
    db = await Database.open(data, load_migrations("ops_system.master"))
    try:
        made = World(data, db)
        await made.auth.load()
        yield made
    finally:
        await db.close()
