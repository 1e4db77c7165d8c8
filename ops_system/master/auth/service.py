"""The front of `auth`: answers "who is calling?" for the web floor, and holds the parts that the routes use."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.auth import store, token_store
from ops_system.master.auth.accounts import Accounts, Opened, Visitor
from ops_system.master.auth.events import AccountsChanged, SessionsRevoked, SetupDone
from ops_system.master.auth.factors import Factors
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.recent import Recent
from ops_system.master.auth.rules import (
    SESSION_IDLE_S,
    SESSION_LIFE_S,
    TOUCH_S,
    derive_csrf_token,
    hash_secret,
    is_fresh_proof,
    is_session_alive,
    user_permissions,
)
from ops_system.master.auth.setup import SetupCode
from ops_system.master.auth.tokens import ApiTokens, JoinTokens
from ops_system.master.auth.views import SetupBody
from ops_system.master.bus import Bus
from ops_system.master.web.guard import ANONYMOUS, Credentials
from ops_system.master.web.idempotency import Sealer
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed, StorageFull, Unavailable
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.database import Database, Transaction
from ops_system.storage.folder import DataFolder

LOOK_FOR_ADMIN_S = 1.0
SWEEP_S = 60.0
TOKEN_PREFIX = "ops_"  # noqa: S105 - how API tokens begin

_log = logging.getLogger(__name__)

Touch = Callable[[Transaction, str, int], Awaitable[None]]


class Proven(msgspec.Struct, frozen=True):
    """What a live session has shown, kept in memory between `identify` and the questions that follow it."""

    csrf_token: str
    proven_ms: int


class Auth:
    """The web floor's `Authenticator`, and the parts `accounts`, `factors`, `tokens`, `join_tokens`, `setup_code`.

    Call `load` before serving; `run` is one of the master's long-lived parts.
    """

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        folder: DataFolder,
        sealer: Sealer,
        ca_key_sha256: str,
        master_url: Callable[[], str],
        announce: Callable[[str], None],
        passwords: Passwords | None = None,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._passwords = passwords or Passwords()
        self._sessions: dict[str, Proven] = {}
        self._recent_sessions = Recent[store.Session](clock.monotonic_s)
        self._recent_tokens = Recent[token_store.ApiToken](clock.monotonic_s)
        self._needs_setup = True
        self.factors = Factors(database, audit, sealer, clock)
        self.accounts = Accounts(database, audit, bus, clock, passwords=self._passwords, factors=self.factors)
        self.tokens = ApiTokens(database, audit, bus, clock)
        self.join_tokens = JoinTokens(database, audit, clock, ca_key_sha256=ca_key_sha256, master_url=master_url)
        self.setup_code = SetupCode(folder, clock.monotonic_s, announce)
        bus.subscribe(SessionsRevoked, self._forget)
        bus.subscribe(AccountsChanged, lambda _event: self._forget_rows())

    async def load(self) -> None:
        """Look whether an administrator exists; where none does, make and announce the setup code."""
        if await self.refresh_setup():
            self.setup_code.renew()
        else:
            self.setup_code.clear()

    async def run(self) -> None:
        """Notice an administrator made on the data folder, renew the setup code, sweep what has expired."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_admin(), name="wait for administrator")
                group.create_task(every(SWEEP_S, self._sweep_quietly, "sweep sessions"), name="sweep sessions")
        finally:
            self._passwords.close()

    # --- the web floor's questions --------------------------------------------------------------------------------
    async def identify(self, credentials: Credentials) -> Principal:
        """Return who shows these credentials; a bearer outranks a cookie."""
        if self._needs_setup:
            await self.refresh_setup()
        if credentials.bearer is not None:
            return await self._identify_token(credentials.bearer)
        if credentials.session:
            return await self._identify_session(credentials.session)
        return ANONYMOUS

    async def stand_in(self, kind: str, owner_id: str) -> Principal | None:
        """Return who a user or an API token is now, to act in their name by the clock; None: gone, void or disabled."""
        if kind == "token":
            token = await token_store.find_token(self._database, owner_id)
            return None if token is None else self._principal_of_token(token)
        user = await store.find_user(self._database, owner_id) if kind == "user" else None
        if user is None or user.is_disabled:
            return None
        permissions = user_permissions(user.role, user.grants)
        return Principal("user", user.id, user.name, permissions, user.role, scope=user.scope)

    def _principal_of_token(self, token: token_store.ApiToken) -> Principal | None:
        reach = token.reach()
        is_expired = token.expires_ms is not None and token.expires_ms <= self._now_ms()
        if reach is None or is_expired:
            return None
        return Principal("token", token.id, token.name, reach.permissions, token.role, scope=reach.scope)

    def setup_required(self) -> bool:
        """True until an administrator exists."""
        return self._needs_setup

    def verify_csrf(self, principal: Principal, token: str) -> bool:
        """True when `token` belongs to the session of this principal."""
        proven = self._sessions.get(principal.session_id or "")
        return proven is not None and hmac.compare_digest(proven.csrf_token.encode(), token.encode())

    def has_step_up(self, principal: Principal) -> bool:
        """True when the session proved its password at most 10 minutes ago; a token needs no such proof."""
        if principal.session_id is None:
            return True
        proven = self._sessions.get(principal.session_id)
        return proven is not None and is_fresh_proof(self._now_ms(), proven.proven_ms)

    def csrf_token(self, principal: Principal) -> str:
        """Return the CSRF token of the caller's session; empty for a token."""
        proven = self._sessions.get(principal.session_id or "")
        return proven.csrf_token if proven else ""

    # --- setup ----------------------------------------------------------------------------------------------------
    async def refresh_setup(self) -> bool:
        """Look again whether setup is required; the answer only ever turns from yes to no."""
        if self._needs_setup and await store.count_admins(self._database):
            self._needs_setup = False
            self.setup_code.clear()
            self._bus.publish(SetupDone())
        return self._needs_setup

    async def set_up(self, body: SetupBody, visitor: Visitor) -> Opened:
        """Make the first administrator. Raises Unauthenticated (code), Invalid, NotAllowed (done already)."""
        if not await self.refresh_setup():
            raise NotAllowed("this server has its administrator already; log in")
        self.setup_code.check(body.code)
        opened = await self.accounts.set_up(body.username, body.password, visitor)
        await self.refresh_setup()
        return opened

    async def _wait_for_admin(self) -> None:
        while self._needs_setup:
            try:
                if await self.refresh_setup():
                    self.setup_code.renew()
            except (OSError, Unavailable) as error:
                _log.warning("no setup for now: %s", error)
            await asyncio.sleep(LOOK_FOR_ADMIN_S)

    # --- inside ---------------------------------------------------------------------------------------------------
    async def _identify_token(self, text: str) -> Principal:
        if not text.startswith(TOKEN_PREFIX):
            return ANONYMOUS
        token = await self._find_token(hash_secret(text))
        now_ms = self._now_ms()
        if token is None:
            return ANONYMOUS
        if token.expires_ms is not None and token.expires_ms <= now_ms:
            await self._sweep_quietly()
            return ANONYMOUS
        reach = token.reach()
        if reach is None:
            return ANONYMOUS
        if token.last_used_ms is None or abs(now_ms - token.last_used_ms) >= TOUCH_S * 1000:
            await self._touch(token_store.touch_token, token.id, now_ms)
            self._recent_tokens.forget()
        return Principal(
            kind="token",
            id=token.id,
            name=token.name,
            permissions=reach.permissions,
            role=token.role,
            scope=reach.scope,
            idc=token.idc,
        )

    async def _identify_session(self, secret: str) -> Principal:
        session = await self._find_session(hash_secret(secret))
        if session is None or session.user_is_disabled:
            return ANONYMOUS
        now_ms = self._now_ms()
        if not is_session_alive(now_ms, session.created_ms, session.last_used_ms):
            await self.sweep()
            return ANONYMOUS
        if abs(now_ms - session.last_used_ms) >= TOUCH_S * 1000:
            await self._touch(store.touch_session, session.id, now_ms)
            self._recent_sessions.forget()
        self._sessions[session.id] = Proven(derive_csrf_token(secret), session.proven_ms)
        return Principal(
            kind="user",
            id=session.user_id,
            name=session.user_name,
            permissions=user_permissions(session.user_role, session.user_grants),
            role=session.user_role,
            session_id=session.id,
            scope=session.user_scope,
        )

    async def _find_token(self, key: bytes) -> token_store.ApiToken | None:
        recent, generation = self._recent_tokens, self._recent_tokens.generation
        token = recent.get(key)
        if token is None and (token := await token_store.find_token_by_secret(self._database, key)) is not None:
            recent.put(key, token, generation)
        return token

    async def _find_session(self, key: bytes) -> store.Session | None:
        recent, generation = self._recent_sessions, self._recent_sessions.generation
        session = recent.get(key)
        if session is None and (session := await store.find_session_by_secret(self._database, key)) is not None:
            recent.put(key, session, generation)
        return session

    async def _touch(self, write: Touch, row_id: str, now_ms: int) -> None:
        """Note the use. On a full disk reading goes on, so this must not fail a request."""
        try:
            async with self._database.transaction() as tx:
                await write(tx, row_id, now_ms)
        except (StorageFull, Unavailable) as error:
            _log.debug("last use of %s not noted: %s", row_id, error.message)

    async def sweep(self) -> None:
        """Remove what has expired, for good: a clock that jumps back revives nothing."""
        now_ms = self._now_ms()
        async with self._database.transaction() as tx:
            ended = await store.delete_dead_sessions(
                tx, now_ms - int(SESSION_IDLE_S * 1000), now_ms - int(SESSION_LIFE_S * 1000)
            )
            ended += await token_store.delete_expired(tx, now_ms)
        if ended:
            self._bus.publish(SessionsRevoked(frozenset(ended)))

    async def _sweep_quietly(self) -> None:
        try:
            await self.sweep()
        except (StorageFull, Unavailable) as error:
            _log.warning("expired sessions are not removed yet: %s", error.message)

    def _forget_rows(self) -> None:
        self._recent_sessions.forget()
        self._recent_tokens.forget()

    def _forget(self, event: SessionsRevoked) -> None:
        self._forget_rows()
        for session_id in event.ids:
            self._sessions.pop(session_id, None)

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())
