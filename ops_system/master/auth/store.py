"""SQL of users and sessions."""

from typing import Any

import msgspec

from ops_system.master.auth.rules import user_permissions
from ops_system.master.auth.views import SessionQuery, SessionView, UserQuery, UserView
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import Permission, Role
from ops_system.model.stamps import from_ms, from_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_USER_SORTS = {
    "username": "name COLLATE NOCASE",
    "role": "role",
    "created_at": "created_ms",
    "last_login_at": "last_login_ms",
}
_SESSION_SORTS = {"created_at": "s.created_ms", "last_used_at": "s.last_used_ms", "username": "u.name COLLATE NOCASE"}
_SESSION = (
    "SELECT s.*, u.name AS user_name, u.role AS user_role, u.grants AS user_grants, u.scope AS user_scope,"
    " u.is_disabled AS user_is_disabled"
    " FROM sessions s JOIN users u ON u.id = s.user_id"
)


_USER = (
    "SELECT users.*, EXISTS (SELECT 1 FROM second_factors f WHERE f.user_id = users.id AND f.is_confirmed)"
    " AS has_totp FROM users"
)


class User(msgspec.Struct, frozen=True):
    """A user with what only this feature may see."""

    id: str
    name: str
    role: Role
    grants: tuple[Permission, ...]
    scope: dict[str, str]
    password_hash: str
    is_disabled: bool
    last_login_ms: int | None
    created_ms: int
    created_by: str
    has_totp: bool = False

    def view(self) -> UserView:
        """Return what may be shown."""
        return UserView(
            id=self.id,
            username=self.name,
            role=self.role,
            permissions=sorted(user_permissions(self.role, self.grants)),
            grants=sorted(self.grants),
            scope=self.scope,
            is_disabled=self.is_disabled,
            has_totp=self.has_totp,
            created_at=from_ms(self.created_ms),
            created_by=self.created_by,
            last_login_at=from_ms_or_none(self.last_login_ms),
        )


class Session(msgspec.Struct, frozen=True):
    """A session and whose it is."""

    id: str
    user_id: str
    user_name: str
    user_role: Role
    user_grants: tuple[Permission, ...]
    user_scope: dict[str, str]
    user_is_disabled: bool
    client_ip: str
    user_agent: str
    created_ms: int
    last_used_ms: int
    proven_ms: int

    def view(self, current_id: str | None) -> SessionView:
        """Return what may be shown."""
        return SessionView(
            id=self.id,
            user_id=self.user_id,
            username=self.user_name,
            client_ip=self.client_ip,
            user_agent=self.user_agent,
            created_at=from_ms(self.created_ms),
            last_used_at=from_ms(self.last_used_ms),
            is_current=self.id == current_id,
        )


async def count_admins(db: Queries) -> int:
    """Return how many administrators can log in."""
    row = await db.fetch_one("SELECT count(*) AS n FROM users WHERE role = 'admin' AND is_disabled = 0")
    assert row is not None
    return int(row["n"])


async def insert_user(tx: Transaction, user: User) -> None:
    """Add a user. Raises Conflict when the name is taken."""
    await tx.execute(
        "INSERT INTO users (id, name, role, grants, scope, password_hash, is_disabled, last_login_ms, created_ms,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (user.id, *_changeable(user), user.created_ms, user.created_by),
    )


async def update_user(tx: Transaction, user: User) -> None:
    """Write a user's changed fields. Raises Conflict when the new name is taken."""
    await tx.execute(
        "UPDATE users SET name = ?, role = ?, grants = ?, scope = ?, password_hash = ?, is_disabled = ?,"
        " last_login_ms = ? WHERE id = ?",
        (*_changeable(user), user.id),
    )


def _changeable(user: User) -> tuple[Any, ...]:
    grants, scope = msgspec.json.encode(user.grants).decode(), msgspec.json.encode(user.scope).decode()
    return user.name, user.role, grants, scope, user.password_hash, user.is_disabled, user.last_login_ms


async def delete_user(tx: Transaction, user_id: str) -> None:
    """Remove a user and the user's sessions."""
    await tx.execute("DELETE FROM users WHERE id = ?", (user_id,))


async def find_user(db: Queries, user_id: str) -> User | None:
    """Return the user with this id."""
    return _user(await db.fetch_one(f"{_USER} WHERE id = ?", (user_id,)))


async def find_user_by_name(db: Queries, name: str) -> User | None:
    """Return the user with this name, in whatever case it is written."""
    return _user(await db.fetch_one(f"{_USER} WHERE name = ?", (name,)))


async def list_users(db: Queries, query: UserQuery) -> tuple[list[User], int]:
    """Return one page of users and how many match."""
    where, values = "1", list[Any]()
    if query.role is not None:
        where, values = f"{where} AND role = ?", [*values, query.role]
    if query.q:
        where, values = f"{where} AND name LIKE ? ESCAPE '\\'", [*values, like(query.q)]
    order = order_by(query.sort, _USER_SORTS, "username")
    total = await db.fetch_one(f"SELECT count(*) AS n FROM users WHERE {where}", values)  # noqa: S608 - text made here
    rows = await db.fetch_all(
        f"{_USER} WHERE {where} ORDER BY {order}, id LIMIT ? OFFSET ?",
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [user for row in rows if (user := _user(row))], int(total["n"])


async def insert_session(tx: Transaction, session: Session, secret_hash: bytes) -> None:
    """Add a session."""
    await tx.execute(
        "INSERT INTO sessions (id, secret_hash, user_id, client_ip, user_agent, created_ms, last_used_ms,"
        " proven_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session.id,
            secret_hash,
            session.user_id,
            session.client_ip,
            session.user_agent,
            session.created_ms,
            session.last_used_ms,
            session.proven_ms,
        ),
    )


async def find_session_by_secret(db: Queries, secret_hash: bytes) -> Session | None:
    """Return the session a cookie opens."""
    row = await db.fetch_one(f"{_SESSION} WHERE s.secret_hash = ?", (secret_hash,))
    return _session(row) if row else None


async def find_session(db: Queries, session_id: str) -> Session | None:
    """Return the session with this id."""
    row = await db.fetch_one(f"{_SESSION} WHERE s.id = ?", (session_id,))
    return _session(row) if row else None


async def touch_session(tx: Transaction, session_id: str, last_used_ms: int) -> None:
    """Remember that a session was used."""
    await tx.execute("UPDATE sessions SET last_used_ms = ? WHERE id = ?", (last_used_ms, session_id))


async def prove_session(tx: Transaction, session_id: str, proven_ms: int) -> None:
    """Remember that the password was shown again."""
    await tx.execute("UPDATE sessions SET proven_ms = ? WHERE id = ?", (proven_ms, session_id))


async def delete_session(tx: Transaction, session_id: str) -> bool:
    """Remove one session; False when it is gone already."""
    return await tx.execute("DELETE FROM sessions WHERE id = ?", (session_id,)) > 0


async def delete_sessions_of(tx: Transaction, user_id: str, keep_newest: int = 0) -> list[str]:
    """Remove a user's sessions but the newest few; return the ids removed."""
    rows = await tx.fetch_all(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ?"
        " ORDER BY created_ms DESC, id LIMIT -1 OFFSET ?) RETURNING id",
        (user_id, keep_newest),
    )
    return [row["id"] for row in rows]


async def delete_dead_sessions(tx: Transaction, idle_before_ms: int, made_before_ms: int) -> list[str]:
    """Remove sessions over their limits; return the ids removed."""
    rows = await tx.fetch_all(
        "DELETE FROM sessions WHERE last_used_ms <= ? OR created_ms <= ? RETURNING id",
        (idle_before_ms, made_before_ms),
    )
    return [row["id"] for row in rows]


async def list_sessions(db: Queries, query: SessionQuery) -> tuple[list[Session], int]:
    """Return one page of sessions and how many match."""
    where, values = "1", list[Any]()
    if query.user_id:
        where, values = f"{where} AND s.user_id = ?", [*values, query.user_id]
    if query.q:
        where = f"{where} AND (u.name LIKE ? ESCAPE '\\' OR s.client_ip LIKE ? ESCAPE '\\')"
        values += [like(query.q)] * 2
    order = order_by(query.sort, _SESSION_SORTS, "-last_used_at")
    counted = f"SELECT count(*) AS n FROM sessions s JOIN users u ON u.id = s.user_id WHERE {where}"  # noqa: S608 - text made here
    total = await db.fetch_one(counted, values)
    rows = await db.fetch_all(
        f"{_SESSION} WHERE {where} ORDER BY {order}, s.id LIMIT ? OFFSET ?", (*values, query.limit, query.offset)
    )
    assert total is not None
    return [_session(row) for row in rows], int(total["n"])


def _user(row: Row | None) -> User | None:
    if row is None:
        return None
    return User(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        grants=_grants(row["grants"]),
        scope=_scope(row["scope"]),
        password_hash=row["password_hash"],
        is_disabled=bool(row["is_disabled"]),
        last_login_ms=row["last_login_ms"],
        created_ms=row["created_ms"],
        created_by=row["created_by"],
        has_totp=bool(row["has_totp"]),
    )


def _grants(text: str) -> tuple[Permission, ...]:
    return msgspec.json.decode(text, type=tuple[Permission, ...])


def _scope(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])


def _session(row: Row) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        user_name=row["user_name"],
        user_role=Role(row["user_role"]),
        user_grants=_grants(row["user_grants"]),
        user_scope=_scope(row["user_scope"]),
        user_is_disabled=bool(row["user_is_disabled"]),
        client_ip=row["client_ip"],
        user_agent=row["user_agent"],
        created_ms=row["created_ms"],
        last_used_ms=row["last_used_ms"],
        proven_ms=row["proven_ms"],
    )
