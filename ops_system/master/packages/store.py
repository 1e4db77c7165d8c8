"""The SQL of packages and unfinished uploads. Used by the packages service alone."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from ops_system.master.packages.rules import PackageQuery, RetentionPolicy
from ops_system.master.web.paging import like, order_by
from ops_system.model.manifest import Manifest
from ops_system.model.packages import Package, PackageRef, PublisherSignature
from ops_system.model.stamps import from_ms, to_ms
from ops_system.model.versions import version_key
from ops_system.storage.database import Queries, Row, Transaction

_SORTS: Mapping[str, str] = {
    "name": "name",
    "version": "version_key",
    "created_at": "created_ms",
    "size_bytes": "size_bytes",
}


class Upload(msgspec.Struct, frozen=True):
    """An upload in parts, as it was announced."""

    id: str
    size_bytes: int
    sha256: str | None
    created_ms: int
    created_by: str
    sender_key: str | None = None


def _package(row: Row) -> Package:
    return Package(
        name=row["name"],
        version=row["version"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        manifest=msgspec.json.decode(row["manifest"], type=Manifest),
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        publisher=_publisher(row),
        tags=msgspec.json.decode(row["tags"], type=tuple[str, ...]),
        note=row["note"],
        is_pinned=bool(row["is_pinned"]),
        marked_at=None if row["marked_ms"] is None else from_ms(row["marked_ms"]),
        marked_by=row["marked_by"],
    )


def _publisher(row: Row) -> PublisherSignature | None:
    stored = row["publisher"]
    return None if stored is None else msgspec.json.decode(stored, type=PublisherSignature)


async def find(reader: Queries, name: str, version: str) -> Package | None:
    """Return one package."""
    row = await reader.fetch_one("SELECT * FROM packages WHERE name = ? AND version = ?", (name, version))
    return None if row is None else _package(row)


async def find_ref(reader: Queries, name: str, version: str) -> PackageRef | None:
    """Return what a worker needs to fetch one package."""
    row = await reader.fetch_one("SELECT * FROM packages WHERE name = ? AND version = ?", (name, version))
    if row is None:
        return None
    return PackageRef(
        name=name,
        version=version,
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        signature=row["signature"],
        publisher=_publisher(row),
    )


async def has_sha256(reader: Queries, sha256: str) -> bool:
    """Return whether any package has these bytes."""
    return await reader.fetch_one("SELECT 1 FROM packages WHERE sha256 = ?", (sha256,)) is not None


async def insert(tx: Transaction, package: Package, signature: str) -> None:
    """Write a new package."""
    await tx.execute(
        "INSERT INTO packages (name, version, version_key, sha256, size_bytes, signature, manifest, created_ms,"
        " created_by, publisher) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            package.name,
            package.version,
            version_key(package.version),
            package.sha256,
            package.size_bytes,
            signature,
            msgspec.json.encode(package.manifest).decode(),
            to_ms(package.created_at),
            package.created_by,
            None if package.publisher is None else msgspec.json.encode(package.publisher).decode(),
        ),
    )


async def save_marks(tx: Transaction, package: Package) -> None:
    """Write what people wrote on a version."""
    await tx.execute(
        "UPDATE packages SET tags = ?, note = ?, is_pinned = ?, marked_ms = ?, marked_by = ?"
        " WHERE name = ? AND version = ?",
        (
            msgspec.json.encode(package.tags).decode(),
            package.note,
            int(package.is_pinned),
            None if package.marked_at is None else to_ms(package.marked_at),
            package.marked_by,
            package.name,
            package.version,
        ),
    )


async def list_all(reader: Queries) -> list[Package]:
    """Return every version of every package."""
    return [_package(row) for row in await reader.fetch_all("SELECT * FROM packages ORDER BY name, version_key")]


async def note_to_free(tx: Transaction, sha256: str) -> None:
    """Remember that bytes are to be removed from the store, unless a package still names them."""
    await tx.execute(
        "INSERT OR IGNORE INTO blobs_to_free (sha256) SELECT ?1 WHERE NOT EXISTS"
        " (SELECT 1 FROM packages WHERE sha256 = ?1)",
        (sha256,),
    )


async def list_to_free(reader: Queries) -> list[str]:
    """Return the hashes of bytes that are to be removed from the store."""
    return [row["sha256"] for row in await reader.fetch_all("SELECT sha256 FROM blobs_to_free ORDER BY sha256")]


async def forget_to_free(tx: Transaction, sha256: str) -> None:
    """They are gone, or named again."""
    await tx.execute("DELETE FROM blobs_to_free WHERE sha256 = ?", (sha256,))


class RetentionRow(msgspec.Struct, frozen=True):
    """The policy, who set it, and when it was last carried out."""

    policy: RetentionPolicy
    changed_at: datetime
    changed_by: str
    ran_at: datetime | None


async def find_retention(reader: Queries) -> RetentionRow | None:
    """Return what was set; None: nothing was."""
    row = await reader.fetch_one("SELECT * FROM package_retention")
    if row is None:
        return None
    policy = RetentionPolicy(row["keep_versions"], row["keep_days"], bool(row["is_daily"]))
    ran_at = None if row["ran_ms"] is None else from_ms(row["ran_ms"])
    return RetentionRow(policy, from_ms(row["changed_ms"]), row["changed_by"], ran_at)


async def save_retention(tx: Transaction, row: RetentionRow) -> None:
    """Write the policy."""
    values = (row.policy.keep_versions, row.policy.keep_days, int(row.policy.is_daily))
    ran_ms = None if row.ran_at is None else to_ms(row.ran_at)
    await tx.execute(
        "INSERT OR REPLACE INTO package_retention"
        " (id, keep_versions, keep_days, is_daily, changed_ms, changed_by, ran_ms) VALUES (1, ?, ?, ?, ?, ?, ?)",
        (*values, to_ms(row.changed_at), row.changed_by, ran_ms),
    )


async def delete(tx: Transaction, name: str, version: str) -> None:
    """Remove one package's row."""
    await tx.execute("DELETE FROM packages WHERE name = ? AND version = ?", (name, version))


async def list_page(reader: Queries, query: PackageQuery) -> tuple[list[Package], int]:
    """Return one page and how many match in all; by name, the newest version first, unless `sort` says otherwise."""
    where, values = "name LIKE ? ESCAPE '\\'", [like(query.q)]
    if query.name:
        where, values = f"{where} AND name = ?", [*values, query.name]
    order = order_by(query.sort, _SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM packages WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM packages WHERE {where} ORDER BY {order}, name, version_key DESC LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_package(row) for row in rows], int(total["n"])


async def insert_upload(tx: Transaction, upload: Upload) -> None:
    """Write an announced upload."""
    await tx.execute(
        "INSERT INTO uploads (id, size_bytes, sha256, created_ms, created_by, sender_key) VALUES (?, ?, ?, ?, ?, ?)",
        (upload.id, upload.size_bytes, upload.sha256, upload.created_ms, upload.created_by, upload.sender_key),
    )


async def find_upload(reader: Queries, upload_id: str) -> Upload | None:
    """Return one announced upload."""
    row = await reader.fetch_one("SELECT * FROM uploads WHERE id = ?", (upload_id,))
    return None if row is None else _upload(row)


async def find_begun(reader: Queries, wanted: Upload) -> Upload | None:
    """Return the latest unfinished upload of the same bytes, or the same sender's file, by the same actor."""
    row = await reader.fetch_one(
        "SELECT * FROM uploads WHERE size_bytes = ? AND created_by = ? AND (sha256 = ? OR sender_key = ?)"
        " ORDER BY created_ms DESC",
        (wanted.size_bytes, wanted.created_by, wanted.sha256, wanted.sender_key),
    )
    return None if row is None else _upload(row)


async def list_uploads(reader: Queries) -> list[Upload]:
    """Return every announced upload."""
    return [_upload(row) for row in await reader.fetch_all("SELECT * FROM uploads")]


async def delete_upload(tx: Transaction, upload_id: str) -> None:
    """Forget one announced upload."""
    await tx.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))


def _upload(row: Row) -> Upload:
    return Upload(row["id"], row["size_bytes"], row["sha256"], row["created_ms"], row["created_by"], row["sender_key"])
