"""Checks what people show: password, TOTP, recovery code. All of it stands behind one limiter (trust S3)."""

from collections.abc import Awaitable, Callable

from ops_system.master.audit.service import Audit
from ops_system.master.auth import store
from ops_system.master.auth.factors import Factors
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.rules import LoginLimiter
from ops_system.master.auth.views import LoginBody
from ops_system.master.web.route import Principal
from ops_system.model.errors import Unauthenticated
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database

Check = Callable[[store.User | None], Awaitable[bool]]

_WRONG_LOGIN = "user name or password is wrong"
_WRONG_CODE = "the code is wrong, or was used before"


class Proofs:
    """Only failures count for the limiter; a right password without the code it needs counts neither way."""

    def __init__(self, database: Database, audit: Audit, clock: Clock, passwords: Passwords, factors: Factors) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._passwords = passwords
        self._factors = factors
        self._limiter = LoginLimiter()

    async def of_login(self, body: LoginBody, client_ip: str) -> store.User:
        """Return the user who logs in. Raises RateLimited, Unauthenticated.

        `details.totp_required` is true where the password was right and a code is missing or wrong.
        """
        user = await self._try(body.username, client_ip, self._password_check(body.password), has_more=True)
        if not user.has_totp:
            self._limiter.succeed(body.username)
            return user
        if not body.totp:
            raise Unauthenticated("this account needs the code of its authenticator, too", totp_required=True)
        code = body.totp

        async def check(found: store.User | None) -> bool:
            actor = Principal("user", user.id, user.name, role=user.role)
            return found is not None and await self._factors.prove_any(actor, code)

        return await self._try(body.username, client_ip, check, words=_WRONG_CODE, totp_required=True)

    async def of_password(self, username: str, password: str, client_ip: str) -> store.User:
        """Return the user whose password this is. Raises RateLimited, Unauthenticated."""
        return await self._try(username, client_ip, self._password_check(password))

    async def of_totp(self, username: str, code: str, client_ip: str) -> store.User:
        """Return the user whose authenticator shows this code. Raises RateLimited, Unauthenticated."""

        async def check(user: store.User | None) -> bool:
            return user is not None and await self._factors.prove_totp(user.id, code)

        return await self._try(username, client_ip, check, words=_WRONG_CODE)

    def _password_check(self, password: str) -> Check:
        async def check(user: store.User | None) -> bool:
            return await self._passwords.verify(password, user.password_hash if user else None)

        return check

    async def _try(
        self,
        username: str,
        client_ip: str,
        check: Check,
        *,
        words: str = _WRONG_LOGIN,
        has_more: bool = False,
        totp_required: bool = False,
    ) -> store.User:
        """Run one check in one of the few turns. `has_more`: another check decides whether failures are forgotten."""
        self._limiter.check(username, client_ip, self._clock.monotonic_s())
        async with self._passwords:
            self._limiter.check(username, client_ip, self._clock.monotonic_s())  # others failed while we waited
            user = await store.find_user_by_name(self._database, username)
            is_right = await check(user)
            if user is not None and is_right and not user.is_disabled:
                if not has_more:
                    self._limiter.succeed(username)
                return user
            self._limiter.fail(username, client_ip, self._clock.monotonic_s())
        stranger = Principal("anonymous", client_ip, username[:64])
        target = f"user:{user.id}" if user else "user:unknown"
        details = {"from": client_ip, "reason": "totp" if totp_required else "password"}
        await self._audit.record_alone(stranger, "session.open", target, "denied", details)
        raise Unauthenticated(words, **({"totp_required": True} if totp_required else {}))
