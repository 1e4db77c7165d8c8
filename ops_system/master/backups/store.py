"""The SQL of backups: settings, the last restore, and what looks at backups found. Used by the service alone."""

from datetime import datetime

import msgspec

from ops_system.master.backups.renewal import Note
from ops_system.master.backups.rules import Contents, Place
from ops_system.model.stamps import from_ms, to_ms
from ops_system.storage.database import Queries, Transaction

_PUT_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class Kept(msgspec.Struct, frozen=True):
    """The settings as they are kept; `passphrase` is sealed."""

    place: Place = "local"
    artefacts: bool = True
    keep_count: int = 14
    keep_days: int = 0
    passphrase: bytes | None = None


class Look(msgspec.Struct, frozen=True):
    """What the last look at a backup found. It counts for a file of the same size."""

    size_bytes: int
    at: datetime
    problem: str
    contents: Contents | None


async def read_settings(reader: Queries) -> Kept:
    """Return the settings, those of a new master where nobody set any."""
    row = await reader.fetch_one("SELECT value FROM meta WHERE key = 'backup_settings'")
    return Kept() if row is None else msgspec.json.decode(row["value"], type=Kept)


async def save_settings(tx: Transaction, kept: Kept) -> None:
    """Write the settings."""
    await tx.execute(_PUT_META, ("backup_settings", msgspec.json.encode(kept).decode()))


async def read_restored(reader: Queries) -> tuple[int, Note | None]:
    """Return the epoch, and the last restore if there was one."""
    rows = await reader.fetch_all("SELECT key, value FROM meta WHERE key IN ('epoch', 'restored')")
    found = {row["key"]: row["value"] for row in rows}
    note = msgspec.json.decode(found["restored"], type=Note) if "restored" in found else None
    return int(found.get("epoch", "1")), note


async def list_package_hashes(reader: Queries) -> list[str]:
    """Return the SHA-256 of every package on record."""
    return [row["sha256"] for row in await reader.fetch_all("SELECT DISTINCT sha256 FROM packages")]


async def list_looks(reader: Queries) -> dict[str, Look]:
    """Return every look by the name of the backup."""
    rows = await reader.fetch_all("SELECT * FROM backup_looks")
    return {
        row["name"]: Look(
            row["size_bytes"],
            from_ms(row["looked_ms"]),
            row["problem"],
            None if row["contents"] is None else msgspec.json.decode(row["contents"], type=Contents),
        )
        for row in rows
    }


async def save_look(tx: Transaction, name: str, look: Look) -> None:
    """Write what was found; the list of files is left out."""
    contents = None
    if look.contents is not None:
        contents = msgspec.json.encode(msgspec.structs.replace(look.contents, files=())).decode()
    await tx.execute(
        "INSERT INTO backup_looks (name, size_bytes, looked_ms, problem, contents) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET size_bytes = excluded.size_bytes, looked_ms = excluded.looked_ms,"
        " problem = excluded.problem, contents = coalesce(excluded.contents, contents)",
        (name, look.size_bytes, to_ms(look.at), look.problem, contents),
    )


async def delete_look(tx: Transaction, name: str) -> None:
    """Forget a backup that is gone."""
    await tx.execute("DELETE FROM backup_looks WHERE name = ?", (name,))
