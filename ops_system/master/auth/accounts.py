"""The story of users and their sessions: setup, login, step-up, changes, logout."""

import secrets

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.auth import store, token_store
from ops_system.master.auth.events import AccountsChanged, SessionsRevoked
from ops_system.master.auth.factors import Factors
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.proofs import Proofs
from ops_system.master.auth.rules import (
    SESSIONS_PER_USER,
    check_grants,
    check_labels,
    check_password,
    check_reach,
    check_user_role,
    check_username,
    derive_csrf_token,
    hash_secret,
    user_permissions,
)
from ops_system.master.auth.views import (
    LoginBody,
    PasswordChange,
    ProofBody,
    SessionQuery,
    SessionView,
    UserChange,
    UserCreate,
    UserQuery,
    UserView,
)
from ops_system.master.bus import Bus
from ops_system.master.web.route import Page, Permission, Principal, Role
from ops_system.model.errors import Conflict, NotAllowed, NotFound, Unauthenticated
from ops_system.model.ids import spell_id
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction


class Visitor(msgspec.Struct, frozen=True):
    """Where a login comes from."""

    client_ip: str
    user_agent: str


class Opened(msgspec.Struct, frozen=True):
    """A session just opened; `secret` goes into the cookie and nowhere else."""

    user: UserView
    session: store.Session
    secret: str
    csrf_token: str


class Accounts:
    """Users and sessions."""

    def __init__(
        self,
        database: Database,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        *,
        passwords: Passwords,
        factors: Factors,
    ) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._passwords = passwords
        self._factors = factors
        self._proofs = Proofs(database, audit, clock, passwords, factors)

    # --- coming in ------------------------------------------------------------------------------------------------
    async def set_up(self, username: str, password: str, visitor: Visitor) -> Opened:
        """Make the first administrator and open a session. Raises Invalid; NotAllowed when there is one already."""
        user = await self._new_user(UserCreate(username, password, Role.ADMIN), "setup")
        actor = Principal("user", user.id, user.name, role=Role.ADMIN)
        async with self._database.transaction() as tx:
            if await store.count_admins(tx):
                raise NotAllowed("this server has its administrator already; log in")
            await _insert_unique(tx, user)
            await self._audit.record(
                tx, actor, "setup.complete", f"user:{user.id}", "done", {"from": visitor.client_ip}
            )
            return await self._open_session(tx, user, visitor)

    async def log_in(self, body: LoginBody, visitor: Visitor) -> Opened:
        """Open a session. Raises Unauthenticated, RateLimited; an unknown user costs what a known one costs.

        `details.totp_required` of Unauthenticated: the password was right, a code is missing or wrong.
        """
        user = await self._proofs.of_login(body, visitor.client_ip)
        actor = Principal("user", user.id, user.name, role=user.role)
        rehashed = (
            await self._passwords.hash(body.password)
            if self._passwords.needs_rehash(user.password_hash)
            else user.password_hash
        )
        async with self._database.transaction() as tx:
            fresh = await store.find_user(tx, user.id)
            if fresh is None or _powers(fresh) != _powers(user) or fresh.has_totp != user.has_totp:
                raise Unauthenticated("the account was changed this moment; log in again")
            now_ms = to_ms(self._clock.now())
            fresh = msgspec.structs.replace(fresh, last_login_ms=now_ms, password_hash=rehashed)
            await store.update_user(tx, fresh)
            opened = await self._open_session(tx, fresh, visitor)
            await self._audit.record(tx, actor, "session.open", f"user:{user.id}", "done", {"from": visitor.client_ip})
            removed = await store.delete_sessions_of(tx, user.id, keep_newest=SESSIONS_PER_USER)
        self._publish_revoked(removed)
        return opened

    async def step_up(self, actor: Principal, body: ProofBody, client_ip: str) -> int:
        """Prove password or TOTP again; return when that was (ms). Raises Unauthenticated, RateLimited, NotAllowed."""
        if actor.session_id is None:
            raise NotAllowed("an API token carries fixed grants: there is nothing to prove")
        if body.totp:
            await self._proofs.of_totp(actor.name, body.totp, client_ip)
        else:
            await self._proofs.of_password(actor.name, body.password, client_ip)
        now_ms = to_ms(self._clock.now())
        async with self._database.transaction() as tx:
            await store.prove_session(tx, actor.session_id, now_ms)
            await self._audit.record(tx, actor, "session.step_up", f"user:{actor.id}")
        self._bus.publish(AccountsChanged())
        return now_ms

    async def _open_session(self, tx: Transaction, user: store.User, visitor: Visitor) -> Opened:
        now_ms, secret = to_ms(self._clock.now()), secrets.token_urlsafe(32)
        session = store.Session(
            id=spell_id("ses", secrets.token_bytes(10)),
            user_id=user.id,
            user_name=user.name,
            user_role=user.role,
            user_grants=user.grants,
            user_scope=user.scope,
            user_is_disabled=False,
            client_ip=visitor.client_ip,
            user_agent=visitor.user_agent[:200],
            created_ms=now_ms,
            last_used_ms=now_ms,
            proven_ms=now_ms,
        )
        await store.insert_session(tx, session, hash_secret(secret))
        return Opened(user.view(), session, secret, derive_csrf_token(secret))

    # --- users ----------------------------------------------------------------------------------------------------
    async def create(self, body: UserCreate, actor: Principal) -> UserView:
        """Add a user. Raises Invalid, Conflict, Forbidden (more than the actor has)."""
        check_reach(actor, user_permissions(body.role, body.grants), body.scope)
        user = await self._new_user(body, actor.name)
        async with self._database.transaction() as tx:
            await _insert_unique(tx, user)
            details = {"username": user.name, "role": user.role, "grants": sorted(user.grants), "scope": user.scope}
            await self._audit.record(tx, actor, "user.create", f"user:{user.id}", "done", details)
        return user.view()

    async def get(self, user_id: str) -> UserView:
        """Return one user. Raises NotFound."""
        return (await self._find(self._database, user_id)).view()

    async def list_page(self, query: UserQuery) -> Page[UserView]:
        """Return one page."""
        users, total = await store.list_users(self._database, query)
        return Page([user.view() for user in users], total)

    async def change(self, user_id: str, body: UserChange, actor: Principal) -> UserView:
        """Change a user; a new password, role, grants or scope, or disabling, ends the user's sessions.

        The user's API tokens do at once what is left to the user; their open sockets end.

        Raises NotFound, Invalid, Conflict (name taken), NotAllowed (last administrator), Forbidden (more than the
        actor has).
        """
        before = await self._find(self._database, user_id)
        _check_change(before, body)
        hashed = None if body.password is None else await self._passwords.hash(body.password)
        async with self._database.transaction() as tx:
            before = await self._find(tx, user_id)
            after = _changed(before, body, hashed)
            is_other = _powers(after) != _powers(before)
            if is_other and not after.is_disabled:
                check_reach(actor, user_permissions(after.role, after.grants), after.scope)
            await _update_unique(tx, after)
            await _check_an_admin_stays(tx, before)
            removed = await store.delete_sessions_of(tx, user_id) if is_other or after.is_disabled else []
            if _reach(after) != _reach(before):
                removed += await token_store.ids_of(tx, user_id)
            await self._audit.record(tx, actor, "user.change", f"user:{user_id}", "done", _what_changed(before, after))
        self._bus.publish(AccountsChanged())
        self._publish_revoked(removed)
        return after.view()

    async def change_own_password(self, body: PasswordChange, actor: Principal, visitor: Visitor) -> Opened:
        """Set one's own password, end all of one's sessions and open a new one.

        Raises Unauthenticated (old password), Invalid, NotAllowed (a token has none).
        """
        if actor.session_id is None:
            raise NotAllowed("an API token has no password")
        check_password(body.new_password, actor.name)
        await self._proofs.of_password(actor.name, body.old_password, visitor.client_ip)
        hashed = await self._passwords.hash(body.new_password)
        async with self._database.transaction() as tx:
            user = msgspec.structs.replace(await self._find(tx, actor.id), password_hash=hashed)
            await store.update_user(tx, user)
            removed = await store.delete_sessions_of(tx, user.id)
            opened = await self._open_session(tx, user, visitor)
            await self._audit.record(tx, actor, "user.change", f"user:{user.id}", "done", {"changed": ["password"]})
        self._publish_revoked(removed)
        return opened

    async def reset_totp(self, user_id: str, actor: Principal) -> None:
        """Switch a user's TOTP off, for somebody who lost phone and recovery codes; the user's sessions end.

        Raises NotFound, NotAllowed (it is off), Forbidden (the user may do more than the actor).
        """
        async with self._database.transaction() as tx:
            user = await self._find(tx, user_id)
            check_reach(actor, user_permissions(user.role, user.grants), user.scope)
            await self._factors.remove(tx, user_id, actor)
            removed = await store.delete_sessions_of(tx, user_id)
        self._publish_revoked(removed)

    async def delete(self, user_id: str, actor: Principal) -> None:
        """Remove a user with the user's sessions and API tokens. Raises NotFound, NotAllowed (last administrator)."""
        async with self._database.transaction() as tx:
            user = await self._find(tx, user_id)
            tokens = await token_store.ids_of(tx, user_id)
            removed = await store.delete_sessions_of(tx, user_id) + tokens
            await store.delete_user(tx, user_id)
            await _check_an_admin_stays(tx, user)
            details = {"username": user.name, "tokens": tokens}
            await self._audit.record(tx, actor, "user.delete", f"user:{user_id}", "done", details)
        self._publish_revoked(removed)

    # --- sessions -------------------------------------------------------------------------------------------------
    async def list_sessions(self, query: SessionQuery, actor: Principal) -> Page[SessionView]:
        """Return one page of sessions; an administrator sees everybody's."""
        if Permission.ADMIN not in actor.permissions:
            query = msgspec.structs.replace(query, user_id=actor.id)
        sessions, total = await store.list_sessions(self._database, query)
        return Page([session.view(actor.session_id) for session in sessions], total)

    async def revoke_session(self, session_id: str, actor: Principal) -> None:
        """End a session. Raises NotFound; somebody else's is not found by those who are no administrators."""
        async with self._database.transaction() as tx:
            session = await store.find_session(tx, session_id)
            is_own = session is not None and session.user_id == actor.id
            if session is None or not (is_own or Permission.ADMIN in actor.permissions):
                raise NotFound(f"there is no session {session_id}", id=session_id)
            await store.delete_session(tx, session_id)
            await self._audit.record(tx, actor, "session.close", f"user:{session.user_id}")
        self._publish_revoked([session_id])

    async def log_out(self, actor: Principal) -> None:
        """End the caller's session; a token has none and stays valid."""
        if actor.session_id is not None:
            await self.revoke_session(actor.session_id, actor)

    # --- inside ---------------------------------------------------------------------------------------------------
    async def _new_user(self, body: UserCreate, created_by: str) -> store.User:
        check_username(body.username)
        check_user_role(body.role)
        check_grants(body.grants, body.role)
        check_labels(body.scope, "scope")
        check_password(body.password, body.username)
        return store.User(
            id=spell_id("usr", secrets.token_bytes(10)),
            name=body.username,
            role=body.role,
            grants=tuple(sorted(set(body.grants))),
            scope=body.scope,
            password_hash=await self._passwords.hash(body.password),
            is_disabled=False,
            last_login_ms=None,
            created_ms=to_ms(self._clock.now()),
            created_by=created_by,
        )

    async def _find(self, db: Database | Transaction, user_id: str) -> store.User:
        user = await store.find_user(db, user_id)
        if user is None:
            raise NotFound(f"there is no user {user_id}", id=user_id)
        return user

    def _publish_revoked(self, session_ids: list[str]) -> None:
        if session_ids:
            self._bus.publish(SessionsRevoked(frozenset(session_ids)))


def _check_change(user: store.User, body: UserChange) -> None:
    after = _changed(user, body, None)
    check_username(after.name)
    check_user_role(after.role)
    check_grants(after.grants, after.role)
    check_labels(after.scope, "scope")
    if body.password is not None:
        check_password(body.password, after.name)


def _powers(user: store.User) -> tuple[object, ...]:
    """Return what a session was opened for: once it differs, the session ends."""
    return *_reach(user), user.password_hash


def _reach(user: store.User) -> tuple[object, ...]:
    """Return what limits the API tokens of a user."""
    return user.role, user.grants, user.scope, user.is_disabled


def _changed(user: store.User, body: UserChange, hashed: str | None) -> store.User:
    role = user.role if body.role is None else body.role
    kept = user.grants if role == user.role else ()
    return msgspec.structs.replace(
        user,
        name=user.name if body.username is None else body.username,
        role=role,
        grants=kept if body.grants is None else tuple(sorted(set(body.grants))),
        scope=user.scope if body.scope is None else body.scope,
        is_disabled=user.is_disabled if body.is_disabled is None else body.is_disabled,
        password_hash=user.password_hash if hashed is None else hashed,
    )


def _what_changed(before: store.User, after: store.User) -> dict[str, object]:
    old, new = msgspec.structs.asdict(before.view()), msgspec.structs.asdict(after.view())
    shown = ("username", "role", "grants", "scope", "is_disabled")
    details: dict[str, object] = {word: new[word] for word in shown if old[word] != new[word]}
    if before.password_hash != after.password_hash:
        details["changed"] = ["password"]
    return details


async def _insert_unique(tx: Transaction, user: store.User) -> None:
    try:
        await store.insert_user(tx, user)
    except Conflict as error:
        raise _name_taken(user.name) from error


async def _update_unique(tx: Transaction, user: store.User) -> None:
    try:
        await store.update_user(tx, user)
    except Conflict as error:
        raise _name_taken(user.name) from error


def _name_taken(name: str) -> Conflict:
    return Conflict(f"there is a user {name} already; choose another name", username=name)


async def _check_an_admin_stays(tx: Transaction, before: store.User) -> None:
    if before.role is Role.ADMIN and not before.is_disabled and not await store.count_admins(tx):
        raise NotAllowed("this is the last administrator: make another one first")
