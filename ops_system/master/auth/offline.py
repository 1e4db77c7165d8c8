"""`user`, `token` and `join-token create` on the data folder, whether a master runs or not (contract section 1).

They open the database on their own; a running master reads it afresh for every request, so it sees the result at once.
On an empty folder they make database and keys, as a first start would.
"""

import asyncio
import contextlib
import getpass
from collections.abc import AsyncIterator

from ops_system.master.audit.service import Audit
from ops_system.master.auth.accounts import Accounts
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.tokens import ApiTokens, JoinTokens
from ops_system.master.auth.views import (
    JoinTokenCreate,
    NewJoinToken,
    NewToken,
    TokenCreate,
    UserCreate,
    UserView,
)
from ops_system.master.bus import Bus
from ops_system.master.trust.names import find_own_names
from ops_system.master.trust.service import Trust
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations


async def create_user(folder: DataFolder, name: str, role: Role, password: str) -> UserView:
    """Add a user. Raises Invalid, Conflict, SafetyRefusal, StorageFull."""
    async with _open_data(folder) as (database, audit, _):
        passwords = Passwords()
        try:
            accounts = Accounts(database, audit, Bus(), SystemClock(), passwords)
            return await accounts.create(UserCreate(name, password, role), local_principal())
        finally:
            passwords.close()


async def create_token(
    folder: DataFolder, name: str, role: Role, *, idc: str | None = None, ttl: str | None = None
) -> NewToken:
    """Make an API token; with role admin it has every grant. Raises Invalid, SafetyRefusal, StorageFull."""
    async with _open_data(folder) as (database, audit, _):
        tokens = ApiTokens(database, audit, Bus(), SystemClock())
        return await tokens.create(TokenCreate(name, role, idc=idc, ttl=ttl), local_principal())


async def create_join_token(
    folder: DataFolder, *, uses: int = 1, ttl: str = "1h", labels: dict[str, str] | None = None, master_url: str = ""
) -> NewJoinToken:
    """Make a join token. Raises Invalid, SafetyRefusal, StorageFull."""
    async with _open_data(folder) as (database, audit, trust):
        tokens = JoinTokens(
            database, audit, SystemClock(), ca_key_sha256=trust.ca_key_sha256, master_url=lambda: master_url
        )
        return await tokens.create(JoinTokenCreate(uses, ttl, labels or {}), local_principal())


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
