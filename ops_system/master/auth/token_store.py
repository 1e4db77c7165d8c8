"""SQL of API tokens and join tokens."""

import msgspec

from ops_system.master.auth.rules import join_scopes, user_permissions
from ops_system.master.auth.views import JoinTokenView, TokenView
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery, Permission, Principal, Role
from ops_system.model.stamps import from_ms, from_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_SORTS = {
    "name": "t.name COLLATE NOCASE",
    "role": "t.role",
    "created_at": "t.created_ms",
    "expires_at": "t.expires_ms",
    "last_used_at": "t.last_used_ms",
}
_JOIN_SORTS = {"created_at": "created_ms", "expires_at": "expires_ms", "uses_left": "uses_left"}


_OWNED = (
    "u.name AS owner_name, u.role AS owner_role, u.grants AS owner_grants, u.scope AS owner_scope,"
    " u.is_disabled AS owner_is_disabled"
)
_TOKEN = f"SELECT t.*, {_OWNED} FROM api_tokens t LEFT JOIN users u ON u.id = t.owner_id"  # noqa: S608 - constant text
_OWNER = f"SELECT u.id AS owner_id, {_OWNED} FROM users u"  # noqa: S608 - constant text


class Owner(msgspec.Struct, frozen=True):
    """The user a token belongs to, as far as it limits the token."""

    id: str
    name: str
    permissions: frozenset[Permission]
    scope: dict[str, str]
    is_disabled: bool


class Reach(msgspec.Struct, frozen=True):
    """What a token opens at this moment."""

    permissions: frozenset[Permission]
    scope: dict[str, str]


class ApiToken(msgspec.Struct, frozen=True):
    """An API token as stored. Without an owner it was made on the data folder."""

    id: str
    name: str
    role: Role
    permissions: tuple[Permission, ...]
    scope: dict[str, str]
    idc: str | None
    expires_ms: int | None
    last_used_ms: int | None
    created_ms: int
    created_by: str
    owner: Owner | None = None

    def reach(self) -> Reach | None:
        """Return what is both given to the token and left to its owner; None when it is void."""
        given = frozenset(self.permissions)
        if self.owner is None:
            return Reach(given, self.scope)
        scope = join_scopes(self.scope, self.owner.scope)
        if self.owner.is_disabled or scope is None:
            return None
        return Reach(given & self.owner.permissions, scope)

    def view(self) -> TokenView:
        """Return what may be shown."""
        reach = self.reach()
        return TokenView(
            id=self.id,
            name=self.name,
            role=self.role,
            owner=self.owner.name if self.owner else None,
            is_void=reach is None,
            permissions=sorted(reach.permissions if reach else ()),
            scope=reach.scope if reach else self.scope,
            idc=self.idc,
            expires_at=from_ms_or_none(self.expires_ms),
            last_used_at=from_ms_or_none(self.last_used_ms),
            created_at=from_ms(self.created_ms),
            created_by=self.created_by,
        )


class JoinToken(msgspec.Struct, frozen=True):
    """A join token as stored."""

    id: str
    secret_hash: bytes
    uses_left: int
    labels: dict[str, str]
    expires_ms: int
    created_ms: int
    created_by: str
    bound_macs: tuple[str, ...] | None = None  # good only for a machine with one of these cards; None: for any

    def view(self) -> JoinTokenView:
        """Return what may be shown."""
        return JoinTokenView(
            id=self.id,
            uses_left=self.uses_left,
            labels=self.labels,
            expires_at=from_ms(self.expires_ms),
            created_at=from_ms(self.created_ms),
            created_by=self.created_by,
        )


async def insert_token(tx: Transaction, token: ApiToken, secret_hash: bytes) -> None:
    """Add an API token."""
    await tx.execute(
        "INSERT INTO api_tokens (id, name, secret_hash, role, permissions, scope, idc, expires_ms, created_ms,"
        " created_by, owner_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.name,
            secret_hash,
            token.role,
            msgspec.json.encode(token.permissions).decode(),
            msgspec.json.encode(token.scope).decode(),
            token.idc,
            token.expires_ms,
            token.created_ms,
            token.created_by,
            token.owner.id if token.owner else None,
        ),
    )


async def find_owner(db: Queries, maker: Principal) -> Owner | None:
    """Return to whom belongs what `maker` makes: a user, the owner of a token, or nobody."""
    match maker.kind:
        case "user":
            row = await db.fetch_one(f"{_OWNER} WHERE u.id = ?", (maker.id,))
        case "token":
            row = await db.fetch_one(f"{_OWNER} JOIN api_tokens t ON t.owner_id = u.id WHERE t.id = ?", (maker.id,))
        case _:
            return None
    return _owner(row) if row else None


async def ids_of(db: Queries, user_id: str) -> list[str]:
    """Return the ids of the API tokens that belong to a user."""
    rows = await db.fetch_all("SELECT id FROM api_tokens WHERE owner_id = ? ORDER BY id", (user_id,))
    return [row["id"] for row in rows]


async def find_token(db: Queries, token_id: str) -> ApiToken | None:
    """Return the API token with this id."""
    row = await db.fetch_one(f"{_TOKEN} WHERE t.id = ?", (token_id,))
    return _token(row) if row else None


async def find_token_by_secret(db: Queries, secret_hash: bytes) -> ApiToken | None:
    """Return the API token a bearer opens."""
    row = await db.fetch_one(f"{_TOKEN} WHERE t.secret_hash = ?", (secret_hash,))
    return _token(row) if row else None


async def touch_token(tx: Transaction, token_id: str, last_used_ms: int) -> None:
    """Remember that a token was used."""
    await tx.execute("UPDATE api_tokens SET last_used_ms = ? WHERE id = ?", (last_used_ms, token_id))


async def delete_token(tx: Transaction, token_id: str) -> None:
    """Remove an API token."""
    await tx.execute("DELETE FROM api_tokens WHERE id = ?", (token_id,))


async def delete_expired(tx: Transaction, now_ms: int) -> list[str]:
    """Remove API tokens and join tokens whose time is over; return the ids of the API tokens."""
    await tx.execute("DELETE FROM join_tokens WHERE expires_ms <= ?", (now_ms,))
    rows = await tx.fetch_all("DELETE FROM api_tokens WHERE expires_ms <= ? RETURNING id", (now_ms,))
    return [row["id"] for row in rows]


async def list_tokens(db: Queries, query: ListQuery) -> tuple[list[ApiToken], int]:
    """Return one page of API tokens and how many match."""
    pattern = like(query.q)
    order = order_by(query.sort, _SORTS, "name")
    total = await db.fetch_one("SELECT count(*) AS n FROM api_tokens WHERE name LIKE ? ESCAPE '\\'", (pattern,))
    rows = await db.fetch_all(
        f"{_TOKEN} WHERE t.name LIKE ? ESCAPE '\\' ORDER BY {order}, t.id LIMIT ? OFFSET ?",
        (pattern, query.limit, query.offset),
    )
    assert total is not None
    return [_token(row) for row in rows], int(total["n"])


async def insert_join_token(tx: Transaction, token: JoinToken) -> None:
    """Add a join token."""
    await tx.execute(
        "INSERT INTO join_tokens (id, secret_hash, uses_left, labels, expires_ms, created_ms, created_by, bound_macs)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.secret_hash,
            token.uses_left,
            msgspec.json.encode(token.labels).decode(),
            token.expires_ms,
            token.created_ms,
            token.created_by,
            None if token.bound_macs is None else msgspec.json.encode(token.bound_macs).decode(),
        ),
    )


async def find_join_token(db: Queries, token_id: str) -> JoinToken | None:
    """Return the join token with this id."""
    row = await db.fetch_one("SELECT * FROM join_tokens WHERE id = ?", (token_id,))
    return _join_token(row) if row else None


async def use_join_token(tx: Transaction, token_id: str) -> None:
    """Count one use."""
    await tx.execute("UPDATE join_tokens SET uses_left = uses_left - 1 WHERE id = ?", (token_id,))


async def delete_join_token(tx: Transaction, token_id: str) -> None:
    """Remove a join token."""
    await tx.execute("DELETE FROM join_tokens WHERE id = ?", (token_id,))


async def list_join_tokens(db: Queries, query: ListQuery) -> tuple[list[JoinToken], int]:
    """Return one page of join tokens and how many match."""
    pattern = like(query.q)
    order = order_by(query.sort, _JOIN_SORTS, "-created_at")
    matches = "(id LIKE ? ESCAPE '\\' OR labels LIKE ? ESCAPE '\\')"
    total = await db.fetch_one(f"SELECT count(*) AS n FROM join_tokens WHERE {matches}", (pattern, pattern))  # noqa: S608 - constant text
    rows = await db.fetch_all(
        f"SELECT * FROM join_tokens WHERE {matches} ORDER BY {order}, id LIMIT ? OFFSET ?",  # noqa: S608 - constant text
        (pattern, pattern, query.limit, query.offset),
    )
    assert total is not None
    return [_join_token(row) for row in rows], int(total["n"])


def _token(row: Row) -> ApiToken:
    return ApiToken(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        permissions=msgspec.json.decode(row["permissions"], type=tuple[Permission, ...]),
        scope=msgspec.json.decode(row["scope"], type=dict[str, str]),
        idc=row["idc"],
        expires_ms=row["expires_ms"],
        last_used_ms=row["last_used_ms"],
        created_ms=row["created_ms"],
        created_by=row["created_by"],
        owner=_owner(row) if row["owner_id"] is not None else None,
    )


def _owner(row: Row) -> Owner:
    grants = msgspec.json.decode(row["owner_grants"], type=tuple[Permission, ...])
    return Owner(
        id=row["owner_id"],
        name=row["owner_name"],
        permissions=user_permissions(Role(row["owner_role"]), grants),
        scope=msgspec.json.decode(row["owner_scope"], type=dict[str, str]),
        is_disabled=bool(row["owner_is_disabled"]),
    )


def _join_token(row: Row) -> JoinToken:
    macs = row["bound_macs"]
    return JoinToken(
        bound_macs=None if macs is None else msgspec.json.decode(macs, type=tuple[str, ...]),
        id=row["id"],
        secret_hash=bytes(row["secret_hash"]),
        uses_left=row["uses_left"],
        labels=msgspec.json.decode(row["labels"], type=dict[str, str]),
        expires_ms=row["expires_ms"],
        created_ms=row["created_ms"],
        created_by=row["created_by"],
    )
