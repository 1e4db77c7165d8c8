"""The stories of API tokens (programs) and join tokens (new workers)."""

import secrets
from collections.abc import Callable, Collection

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.auth import token_store as store
from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.auth.rules import (
    GRANTS,
    check_grants,
    check_idc,
    check_labels,
    check_reach,
    check_token_name,
    hash_secret,
    is_same_secret,
    parse_ttl_s,
    permissions_of,
    spell_join_token,
)
from ops_system.master.auth.views import (
    JoinCommands,
    JoinTokenCreate,
    JoinTokenView,
    NewJoinToken,
    NewToken,
    TokenCreate,
    TokenView,
)
from ops_system.master.bus import Bus
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from ops_system.model.ids import spell_id
from ops_system.model.stamps import to_ms
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

MAX_USES = 10_000
_RENEW = "make a new one: Nodes > Add node, or ops-master join-token create"


class ApiTokens:
    """Tokens `ops_…` for programs."""

    def __init__(self, database: Database, audit: Audit, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._clock = clock

    async def create(self, body: TokenCreate, actor: Principal) -> NewToken:
        """Make a token; its text is in the answer and nowhere else.

        It belongs to the user who makes it, or whose token makes it. Raises Invalid naming the field, Forbidden for
        more than the actor has.
        """
        check_token_name(body.name)
        check_grants(body.grants, body.role)
        check_labels(body.scope, "scope")
        check_idc(body.idc, body.role)
        permissions = permissions_of(body.role, body.grants)
        check_reach(actor, permissions, body.scope)
        now_ms = to_ms(self._clock.now())
        token = store.ApiToken(
            id=spell_id("tok", secrets.token_bytes(10)),
            name=body.name,
            role=body.role,
            permissions=tuple(sorted(permissions)),
            scope=body.scope,
            idc=body.idc,
            expires_ms=None if body.ttl is None else now_ms + int(parse_ttl_s(body.ttl) * 1000),
            last_used_ms=None,
            created_ms=now_ms,
            created_by=actor.name,
        )
        secret = f"ops_{secrets.token_urlsafe(32)}"
        async with self._database.transaction() as tx:
            owner = await store.find_owner(tx, actor)
            token = msgspec.structs.replace(token, owner=owner)
            await store.insert_token(tx, token, hash_secret(secret))
            await self._audit.record(tx, actor, "token.create", f"token:{token.id}", "done", _audit_of(token))
        return NewToken(**msgspec.structs.asdict(token.view()), token=secret)

    async def get(self, token_id: str) -> TokenView:
        """Return one token. Raises NotFound."""
        token = await store.find_token(self._database, token_id)
        if token is None:
            raise NotFound(f"there is no API token {token_id}", id=token_id)
        return token.view()

    async def list_page(self, query: ListQuery) -> Page[TokenView]:
        """Return one page."""
        tokens, total = await store.list_tokens(self._database, query)
        return Page([token.view() for token in tokens], total)

    async def delete(self, token_id: str, actor: Principal) -> None:
        """Revoke a token; its sockets are closed. Raises NotFound."""
        await self.get(token_id)
        async with self._database.transaction() as tx:
            await store.delete_token(tx, token_id)
            await self._audit.record(tx, actor, "token.delete", f"token:{token_id}")
        self._bus.publish(SessionsRevoked(frozenset({token_id})))


class JoinTokens:
    """Tokens `opsj1.…` that let new workers in."""

    def __init__(
        self,
        database: Database,
        audit: Audit,
        clock: Clock,
        *,
        ca_key_sha256: str,
        master_url: Callable[[], str],
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._ca_key_sha256 = ca_key_sha256
        self._master_url = master_url

    async def create(self, body: JoinTokenCreate, actor: Principal) -> NewJoinToken:
        """Make a token with ready commands; its text is in the answer and nowhere else. Raises Invalid."""
        token, text = await self._make(body, actor, None)
        return NewJoinToken(
            **msgspec.structs.asdict(token.view()), token=text, commands=join_commands(self._master_url(), text)
        )

    async def create_bound(self, body: JoinTokenCreate, macs: tuple[str, ...], actor: Principal) -> tuple[str, str]:
        """Make a token that is good only for a machine with one of these cards; return its id and its text."""
        token, text = await self._make(body, actor, macs)
        return token.id, text

    async def _make(
        self, body: JoinTokenCreate, actor: Principal, macs: tuple[str, ...] | None
    ) -> tuple[store.JoinToken, str]:
        if not 1 <= body.uses <= MAX_USES:
            raise Invalid(f"uses: from 1 to {MAX_USES}", problems=["uses: out of range"])
        check_labels(body.labels)
        now_ms, secret = to_ms(self._clock.now()), secrets.token_urlsafe(32)
        token = store.JoinToken(
            id=spell_id("join", secrets.token_bytes(10)),
            secret_hash=hash_secret(secret),
            uses_left=body.uses,
            labels=body.labels,
            expires_ms=now_ms + int(parse_ttl_s(body.ttl) * 1000),
            created_ms=now_ms,
            created_by=actor.name,
            bound_macs=macs,
        )
        details = {"uses": body.uses, "ttl": body.ttl, "labels": body.labels}
        async with self._database.transaction() as tx:
            await store.insert_join_token(tx, token)
            await self._audit.record(tx, actor, "join_token.create", f"join_token:{token.id}", "done", details)
        return token, spell_join_token(self._ca_key_sha256, token.id, secret)

    async def list_page(self, query: ListQuery) -> Page[JoinTokenView]:
        """Return one page; tokens whose time is over are gone."""
        tokens, total = await store.list_join_tokens(self._database, query)
        return Page([token.view() for token in tokens], total)

    async def get(self, token_id: str) -> JoinTokenView:
        """Return one token. Raises NotFound."""
        token = await store.find_join_token(self._database, token_id)
        if token is None:
            raise NotFound(f"there is no join token {token_id}", id=token_id)
        return token.view()

    async def delete(self, token_id: str, actor: Principal) -> None:
        """Take a token back; workers that joined with it stay. Raises NotFound."""
        await self.get(token_id)
        async with self._database.transaction() as tx:
            await store.delete_join_token(tx, token_id)
            await self._audit.record(tx, actor, "join_token.delete", f"join_token:{token_id}")

    async def redeem(self, tx: Transaction, token_id: str, secret: str, macs: Collection[str] = ()) -> dict[str, str]:
        """Use a token once inside the enrolment's transaction and return the labels it gives.

        `macs`: the cards of the machine that joins. Raises Unauthenticated for an unknown or wrong one, Forbidden for
        one that is used up, expired, or bound to another machine.
        """
        token = await store.find_join_token(tx, token_id)
        if token is None or not is_same_secret(secret, token.secret_hash):
            words = f"this join token is not known here (wrong, taken back or long expired); {_RENEW}"
            raise Unauthenticated(words, reason="unknown")
        if token.expires_ms <= to_ms(self._clock.now()):
            raise Forbidden(f"this join token has expired; {_RENEW}", reason="expired")
        if token.uses_left < 1:
            raise Forbidden(f"this join token is used up; {_RENEW}", reason="used")
        if token.bound_macs is not None and not set(token.bound_macs) & {mac.lower() for mac in macs}:
            raise Forbidden("this join token was made for another machine", reason="other_machine")
        await store.use_join_token(tx, token_id)
        return token.labels


def join_commands(master_url: str, token: str) -> JoinCommands:
    """Return a line to run on the machine that joins, by its system."""
    arguments = f"-master {master_url} -token {token}"
    return JoinCommands(
        linux=f"ops-worker {arguments}", windows=f"ops-worker.exe {arguments}", darwin=f"ops-worker {arguments}"
    )


def _audit_of(token: store.ApiToken) -> dict[str, object]:
    separate = sorted(set(token.permissions) & GRANTS)
    return {
        "name": token.name,
        "role": token.role,
        "grants": separate,
        "scope": token.scope,
        "idc": token.idc,
        "expires_ms": token.expires_ms,
    }
