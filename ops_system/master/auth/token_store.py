"""SQL of API tokens and join tokens."""

import msgspec

from ops_system.master.auth.views import JoinTokenView, TokenView
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery, Permission, Role
from ops_system.model.stamps import from_ms, from_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_SORTS = {
    "name": "name COLLATE NOCASE",
    "role": "role",
    "created_at": "created_ms",
    "expires_at": "expires_ms",
    "last_used_at": "last_used_ms",
}
_JOIN_SORTS = {"created_at": "created_ms", "expires_at": "expires_ms", "uses_left": "uses_left"}


class ApiToken(msgspec.Struct, frozen=True):
    """An API token as stored."""

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

    def view(self) -> TokenView:
        """Return what may be shown."""
        return TokenView(
            id=self.id,
            name=self.name,
            role=self.role,
            permissions=sorted(self.permissions),
            scope=self.scope,
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
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )


async def find_token(db: Queries, token_id: str) -> ApiToken | None:
    """Return the API token with this id."""
    row = await db.fetch_one("SELECT * FROM api_tokens WHERE id = ?", (token_id,))
    return _token(row) if row else None


async def find_token_by_secret(db: Queries, secret_hash: bytes) -> ApiToken | None:
    """Return the API token a bearer opens."""
    row = await db.fetch_one("SELECT * FROM api_tokens WHERE secret_hash = ?", (secret_hash,))
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
        f"SELECT * FROM api_tokens WHERE name LIKE ? ESCAPE '\\' ORDER BY {order}, id LIMIT ? OFFSET ?",  # noqa: S608 - names from the table above
        (pattern, query.limit, query.offset),
    )
    assert total is not None
    return [_token(row) for row in rows], int(total["n"])


async def insert_join_token(tx: Transaction, token: JoinToken) -> None:
    """Add a join token."""
    await tx.execute(
        "INSERT INTO join_tokens (id, secret_hash, uses_left, labels, expires_ms, created_ms, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.secret_hash,
            token.uses_left,
            msgspec.json.encode(token.labels).decode(),
            token.expires_ms,
            token.created_ms,
            token.created_by,
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
    )


def _join_token(row: Row) -> JoinToken:
    return JoinToken(
        id=row["id"],
        secret_hash=bytes(row["secret_hash"]),
        uses_left=row["uses_left"],
        labels=msgspec.json.decode(row["labels"], type=dict[str, str]),
        expires_ms=row["expires_ms"],
        created_ms=row["created_ms"],
        created_by=row["created_by"],
    )
