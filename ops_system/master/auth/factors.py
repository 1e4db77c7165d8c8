"""The story of the second factor: enrol, confirm, use, renew the recovery codes, switch off.

none -> enrolled (a secret is shown, nothing is asked for yet) -> confirmed by a first code -> none
"""

import secrets

from ops_system.master.audit.service import Audit
from ops_system.master.auth import factor_store as store
from ops_system.master.auth.totp import (
    RECOVERY_BYTES,
    RECOVERY_CODES,
    SECRET_BYTES,
    find_step,
    hash_recovery_code,
    spell_recovery_code,
    spell_secret,
    spell_uri,
)
from ops_system.master.auth.views import RecoveryCodes, TotpEnrolment, TotpStatus
from ops_system.master.web.idempotency import Sealer
from ops_system.master.web.route import Principal
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction


class Factors:
    """TOTP secrets (sealed) and recovery codes (hashed) of all users."""

    def __init__(self, database: Database, audit: Audit, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._sealer = sealer
        self._clock = clock

    async def status(self, actor: Principal) -> TotpStatus:
        """Say whether the caller has a second factor. Raises NotAllowed for a token."""
        _check_person(actor)
        factor = await store.find_factor(self._database, actor.id)
        is_enabled = factor is not None and factor.is_confirmed
        left = await store.count_codes(self._database, actor.id) if is_enabled else 0
        return TotpStatus(is_enabled=is_enabled, recovery_codes_left=left)

    async def enrol(self, actor: Principal) -> TotpEnrolment:
        """Make a secret; it counts once `confirm` has seen a code of it. Raises NotAllowed (there is one, a token)."""
        _check_person(actor)
        secret = spell_secret(secrets.token_bytes(SECRET_BYTES))
        sealed = self._sealer.seal(secret.encode())
        async with self._database.transaction() as tx:
            before = await store.find_factor(tx, actor.id)
            if before is not None and before.is_confirmed:
                raise NotAllowed("TOTP is on already; switch it off first")
            await store.replace_factor(tx, store.Factor(actor.id, sealed, False, 0, to_ms(self._clock.now())))
            await self._audit.record(tx, actor, "totp.enrol", f"user:{actor.id}")
        return TotpEnrolment(secret=secret, uri=spell_uri(secret, actor.name))

    async def confirm(self, actor: Principal, code: str) -> RecoveryCodes:
        """Switch TOTP on by a first code; return the recovery codes, this once. Raises NotAllowed, Invalid."""
        _check_person(actor)
        async with self._database.transaction() as tx:
            factor = await store.find_factor(tx, actor.id)
            if factor is None or factor.is_confirmed:
                raise NotAllowed("there is nothing to confirm; enrol TOTP first")
            if not await self._use_totp(tx, factor, code):
                raise Invalid("totp: this is not the code of now; compare the clocks", problems=["totp: wrong"])
            codes = await _renew_codes(tx, actor.id)
            await self._audit.record(tx, actor, "totp.enable", f"user:{actor.id}")
        return codes

    async def renew_codes(self, actor: Principal) -> RecoveryCodes:
        """Make new recovery codes; the old ones are void. Raises NotAllowed."""
        _check_person(actor)
        async with self._database.transaction() as tx:
            factor = await store.find_factor(tx, actor.id)
            if factor is None or not factor.is_confirmed:
                raise NotAllowed("TOTP is off; there are no recovery codes")
            codes = await _renew_codes(tx, actor.id)
            await self._audit.record(tx, actor, "totp.renew_codes", f"user:{actor.id}")
        return codes

    async def disable(self, actor: Principal) -> None:
        """Switch the caller's TOTP off. Raises NotAllowed."""
        _check_person(actor)
        async with self._database.transaction() as tx:
            await self.remove(tx, actor.id, actor)

    async def remove(self, tx: Transaction, user_id: str, actor: Principal) -> None:
        """Switch a user's TOTP off inside `tx`. Raises NotAllowed when it is off."""
        if not await store.delete_factor(tx, user_id):
            raise NotAllowed("TOTP is off already")
        await self._audit.record(tx, actor, "totp.disable", f"user:{user_id}")

    async def prove_totp(self, user_id: str, code: str) -> bool:
        """True for a code of now that was not used before; it is used up by this."""
        async with self._database.transaction() as tx:
            factor = await store.find_factor(tx, user_id)
            return factor is not None and factor.is_confirmed and await self._use_totp(tx, factor, code)

    async def prove_any(self, actor: Principal, code: str) -> bool:
        """Like `prove_totp`, and also true for one of the user's recovery codes, which is used up and audited."""
        if await self.prove_totp(actor.id, code):
            return True
        async with self._database.transaction() as tx:
            if not await store.use_code(tx, actor.id, hash_recovery_code(code)):
                return False
            left = await store.count_codes(tx, actor.id)
            await self._audit.record(tx, actor, "totp.use_recovery", f"user:{actor.id}", "done", {"left": left})
        return True

    async def _use_totp(self, tx: Transaction, factor: store.Factor, code: str) -> bool:
        secret = self._sealer.unseal(factor.secret).decode()
        step = find_step(secret, code, self._clock.now().timestamp(), factor.last_step)
        if step is None:
            return False
        await store.use_step(tx, factor.user_id, step)
        return True


async def _renew_codes(tx: Transaction, user_id: str) -> RecoveryCodes:
    codes = [spell_recovery_code(secrets.token_bytes(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
    await store.replace_codes(tx, user_id, [hash_recovery_code(code) for code in codes])
    return RecoveryCodes(codes)


def _check_person(actor: Principal) -> None:
    if actor.session_id is None:
        raise NotAllowed("an API token has no second factor: log in as a user")
