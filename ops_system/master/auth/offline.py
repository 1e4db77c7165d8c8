"""`user`, `token` and `join-token create` on the data folder, whether a master runs or not (contract section 1).

They open the database on their own; a running master reads it afresh for every request, so it sees the result at once.
On an empty folder they make database and keys, as a first start would.
"""

import asyncio
import contextlib
import getpass
from collections.abc import AsyncIterator, Sequence

from ops_system.master.audit.service import Audit
from ops_system.master.auth.accounts import Accounts
from ops_system.master.auth.factors import Factors
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.rules import GRANTS
from ops_system.master.auth.tokens import ApiTokens, JoinTokens
from ops_system.master.auth.views import JoinTokenCreate, TokenCreate, UserCreate, UserView
from ops_system.master.bus import Bus
from ops_system.master.trust.names import find_own_names
from ops_system.master.trust.service import Trust
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations


def create_user(
    folder: DataFolder,
    name: str,
    role: str,
    password: str,
    *,
    grants: Sequence[str] = (),
    scope: dict[str, str] | None = None,
) -> UserView:
    """Add a user. Blocking; not inside an event loop. Raises Invalid, Conflict, SafetyRefusal, StorageFull."""
    body = UserCreate(name, password, Role(role), tuple(map(Permission, grants)), scope or {})
    return asyncio.run(_create_user(folder, body))


def create_token(
    folder: DataFolder,
    name: str,
    role: str,
    *,
    grants: Sequence[str] | None = None,
    scope: dict[str, str] | None = None,
    idc: str | None = None,
    ttl_s: float | None = None,
) -> str:
    """Make an API token, which belongs to nobody, and return its text. Blocking; not inside a loop.

    With role admin it has every grant unless `grants` names them. Raises Invalid, SafetyRefusal, StorageFull.
    """
    every = sorted(GRANTS) if Role(role) is Role.ADMIN else ()
    given = tuple(map(Permission, every if grants is None else grants))
    ttl = None if ttl_s is None else f"{ttl_s:.0f}s"
    return asyncio.run(_create_token(folder, TokenCreate(name, Role(role), given, scope or {}, idc, ttl)))


def create_join_token(
    folder: DataFolder, *, uses: int = 1, ttl_s: float = 3600.0, labels: dict[str, str] | None = None
) -> str:
    """Make a join token and return its text. Blocking; not inside a loop. Raises as `create_token`."""
    return asyncio.run(_create_join_token(folder, JoinTokenCreate(uses, f"{ttl_s:.0f}s", labels or {})))


async def _create_user(folder: DataFolder, body: UserCreate) -> UserView:
    async with _open_data(folder) as (database, audit, trust):
        passwords, clock = Passwords(), SystemClock()
        try:
            factors = Factors(database, audit, trust, clock)
            accounts = Accounts(database, audit, Bus(), clock, passwords=passwords, factors=factors)
            return await accounts.create(body, local_principal())
        finally:
            passwords.close()


async def _create_token(folder: DataFolder, body: TokenCreate) -> str:
    async with _open_data(folder) as (database, audit, _):
        made = await ApiTokens(database, audit, Bus(), SystemClock()).create(body, local_principal())
        return made.token


async def _create_join_token(folder: DataFolder, body: JoinTokenCreate) -> str:
    async with _open_data(folder) as (database, audit, trust):
        tokens = JoinTokens(database, audit, SystemClock(), ca_key_sha256=trust.ca_key_sha256, master_url=str)
        return (await tokens.create(body, local_principal())).token


def local_principal() -> Principal:
    """Return who acts from this machine's command line: the account of the operating system."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without an account, as in some containers
        name = "unknown"
    return Principal("local", "local", f"local:{name}", frozenset(Permission), Role.ADMIN)


@contextlib.asynccontextmanager
async def _open_data(folder: DataFolder) -> AsyncIterator[tuple[Database, Audit, Trust]]:
    folder.create()
    clock = SystemClock()
    database = await Database.open(folder, load_migrations("ops_system.master"), readers=1)
    try:
        trust = await asyncio.to_thread(Trust.open, folder, find_own_names, clock)
        folder.mark_initialized()
        yield database, Audit(database, clock), trust
    finally:
        await database.close()
