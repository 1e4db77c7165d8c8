"""The SQL of publisher keys. Used by the publishers service alone."""

from collections.abc import Mapping

from ops_system.master.publishers.rules import PublisherKey
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.stamps import from_ms, to_ms
from ops_system.storage.database import Queries, Row, Transaction

_SORTS: Mapping[str, str] = {"name": "name", "created_at": "created_ms", "id": "id"}


async def find(reader: Queries, key_id: str) -> PublisherKey | None:
    """Return one key."""
    row = await reader.fetch_one("SELECT * FROM publisher_keys WHERE id = ?", (key_id,))
    return None if row is None else _key(row)


async def find_by_name(reader: Queries, name: str) -> PublisherKey | None:
    """Return the key of this name."""
    row = await reader.fetch_one("SELECT * FROM publisher_keys WHERE name = ?", (name,))
    return None if row is None else _key(row)


async def list_page(reader: Queries, query: ListQuery) -> tuple[list[PublisherKey], int]:
    """Return one page and how many match in all."""
    matching = "FROM publisher_keys WHERE name LIKE ?1 ESCAPE '\\' OR id LIKE ?1 ESCAPE '\\'"
    order = order_by(query.sort, _SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n {matching}", (like(query.q),))
    rows = await reader.fetch_all(
        f"SELECT * {matching} ORDER BY {order}, id LIMIT ?2 OFFSET ?3",
        (like(query.q), query.limit, query.offset),
    )
    assert total is not None
    return [_key(row) for row in rows], int(total["n"])


async def insert(tx: Transaction, key: PublisherKey) -> None:
    """Write a new key."""
    await tx.execute(
        "INSERT INTO publisher_keys (id, name, public_key, created_ms, created_by) VALUES (?, ?, ?, ?, ?)",
        (key.id, key.name, key.public_key, to_ms(key.created_at), key.created_by),
    )


async def delete(tx: Transaction, key_id: str) -> None:
    """Forget a key."""
    await tx.execute("DELETE FROM publisher_keys WHERE id = ?", (key_id,))


def _key(row: Row) -> PublisherKey:
    return PublisherKey(row["id"], row["name"], row["public_key"], from_ms(row["created_ms"]), row["created_by"])
