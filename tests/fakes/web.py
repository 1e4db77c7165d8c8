"""The real web floor on a real socket, over a table of your own and an authenticator that knows a few names by heart."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from ops_system.master.web.guard import ANONYMOUS, Credentials
from ops_system.master.web.idempotency import Idempotency
from ops_system.master.web.route import Permission, Principal, Role, Route
from ops_system.master.web.server import Front, Parts
from ops_system.master.web.static import Console
from ops_system.master.web.table import Table
from ops_system.model.errors import OpsError
from ops_system.runtime.connection import Listener, bind
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

VIEWER = Principal("token", "tok_v", "vera", frozenset({Permission.SELF, Permission.VIEW}), Role.VIEWER)
ADMIN = Principal("token", "tok_a", "ada", frozenset(Permission), Role.ADMIN)
SCOPED = msgspec.structs.replace(VIEWER, id="tok_s", scope={"env": "test"})
BROWSER = Principal("user", "usr_b", "bea", frozenset(Permission), Role.ADMIN, session_id="ses_b")
IDEMPOTENCY_SQL = (
    "CREATE TABLE idempotency (principal_id TEXT, key TEXT, route TEXT, request_hash BLOB, status INTEGER, body BLOB,"
    " created_ms INTEGER, PRIMARY KEY (principal_id, key));"
)


class FakeAuthenticator:
    """Bearers `viewer`, `scoped` and `admin`, the session cookie `cookie` with the CSRF token `csrf`."""

    def __init__(self) -> None:
        self.is_set_up = True
        self.stepped_up: set[str] = set()

    async def identify(self, credentials: Credentials) -> Principal:
        if credentials.bearer is not None:
            return {"viewer": VIEWER, "scoped": SCOPED, "admin": ADMIN}.get(credentials.bearer, ANONYMOUS)
        return BROWSER if credentials.session == "cookie" else ANONYMOUS

    def setup_required(self) -> bool:
        return not self.is_set_up

    def verify_csrf(self, principal: Principal, token: str) -> bool:
        return principal == BROWSER and token == "csrf"

    def has_step_up(self, principal: Principal) -> bool:
        return principal.id in self.stepped_up


class PlainSealer:
    """Turns bytes round, so that a test sees whether they were sealed."""

    def seal(self, plain: bytes) -> bytes:
        return plain[::-1]

    def unseal(self, sealed: bytes) -> bytes:
        return sealed[::-1]


@dataclass
class Site:
    """A served table."""

    front: Front
    authenticator: FakeAuthenticator
    idempotency: Idempotency
    database: Database
    port: int
    client: aiohttp.ClientSession
    denied: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serve_table(
    routes: list[Route],
    folder: Path,
    *,
    public_url: str = "",
    header_timeout_s: float = 10.0,
    idle_body_s: float = 30.0,
) -> AsyncIterator[Site]:
    """Serve `routes` on a free port of the loopback."""
    data = DataFolder(folder)
    data.create()
    database = await Database.open(data, (Migration(1, "idempotency", IDEMPOTENCY_SQL),))
    authenticator, idempotency = FakeAuthenticator(), Idempotency(database, PlainSealer(), lambda: 1_000_000_000_000)
    denied: list[tuple[str, str, str, str]] = []

    async def on_denied(principal: Principal, operation: str, path: str, error: OpsError) -> None:
        denied.append((principal.name, operation, path, error.code))

    parts = Parts(
        Table(routes), authenticator, Console(folder / "console"), idempotency, frozenset, public_url, (), on_denied
    )
    front = Front(parts)
    runner = web.AppRunner(front.application(), shutdown_timeout=1.0)
    await runner.setup()
    listener = Listener(runner, header_timeout_s=header_timeout_s, idle_body_s=idle_body_s)
    await listener.open(bind("127.0.0.1", 0))
    try:
        async with aiohttp.ClientSession() as client:
            yield Site(front, authenticator, idempotency, database, listener.port, client, denied)
    finally:
        listener.close()
        front.close_sockets()
        await runner.cleanup()
        await database.close()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Look into a database file from outside."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
