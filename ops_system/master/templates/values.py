"""Values that go down from the whole master over system and module to an instance: environment, variables of templates.

What is nearer to the instance wins. Secret values are sealed in the database and kept sealed in memory too, because the
way to a worker does not wait for the database. The environment of modules is not here: it stands with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from ops_system.storage.database import Database, Queries, Row, Transaction

GLOBAL = "global"
_COLUMNS = {"sys": "system_id", "mod": "module_id", "ins": "instance_id"}

Plain = Mapping[str, str | None]
"""Values to write; None removes one."""


class Kind(StrEnum):
    """What the values are for."""

    ENV = "env"
    VAR = "var"


class Sealer(Protocol):
    """Hides secrets at rest."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `Unavailable`."""
        ...


class Layer(msgspec.Struct, frozen=True):
    """What one owner says: plain values, and the names of secret ones."""

    owner: str
    plain: dict[str, str] = {}
    hidden: tuple[str, ...] = ()


Sealed = dict[tuple[Kind, str, str], bytes]  # kind, owner, name


class LayeredValues:
    """The one book of them. `load` before use; `keep` after the commit of what `write` returned."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._sealed: Sealed = {}

    async def load(self, database: Database) -> None:
        """Read the sealed ones."""
        rows = await database.fetch_all("SELECT * FROM layered_values WHERE sealed IS NOT NULL")
        self._sealed = {(Kind(row["kind"]), row["owner"], row["name"]): row["sealed"] for row in rows}

    async def layers(self, reader: Queries, kind: Kind, owners: Sequence[str]) -> list[Layer]:
        """Return what each owner says, in the order of `owners`."""
        marks = ", ".join("?" for _ in owners)
        rows = await reader.fetch_all(
            f"SELECT * FROM layered_values WHERE kind = ? AND owner IN ({marks}) ORDER BY name",  # noqa: S608 - marks alone
            (kind, *owners),
        )
        return [_layer(owner, [row for row in rows if row["owner"] == owner]) for owner in owners]

    async def write(self, tx: Transaction, kind: Kind, owner: str, plain: Plain, hidden: Plain) -> Sealed:
        """Write values, None for one to remove; return what `keep` must be told after the commit."""
        for name in {*plain, *hidden}:
            await tx.execute(
                "DELETE FROM layered_values WHERE kind = ? AND owner = ? AND name = ?", (kind, owner, name)
            )
        for name, value in plain.items():
            if value is not None:
                await _insert(tx, kind, owner, name, value, None)
        fresh = {name: self._sealer.seal(value.encode()) for name, value in hidden.items() if value is not None}
        for name, sealed in fresh.items():
            await _insert(tx, kind, owner, name, None, sealed)
        gone = {(kind, owner, name): b"" for name in {*plain, *hidden} - set(fresh)}
        return gone | {(kind, owner, name): sealed for name, sealed in fresh.items()}

    def keep(self, written: Sealed) -> None:
        """Remember what is on disk now; nothing sealed: the value is gone, or plain."""
        for key, sealed in written.items():
            self._sealed.pop(key, None)
            if sealed:
                self._sealed[key] = sealed

    def secrets(self, kind: Kind, owners: Iterable[str], names: Iterable[str]) -> dict[str, str]:
        """Return the plain values of secrets by name, of the last owner that has one. Raises `Unavailable`."""
        wanted, found = set(names), dict[str, bytes]()
        for owner in owners:
            found |= {name: self._sealed[kind, owner, name] for name in wanted if (kind, owner, name) in self._sealed}
        return {name: self._sealer.unseal(sealed).decode() for name, sealed in found.items()}


async def _insert(tx: Transaction, kind: Kind, owner: str, name: str, value: str | None, sealed: bytes | None) -> None:  # noqa: PLR0917 - one row
    owned = dict.fromkeys(_COLUMNS.values()) | {_COLUMNS.get(owner.partition("_")[0], ""): owner}
    await tx.execute(
        "INSERT INTO layered_values (kind, owner, name, value, sealed, system_id, module_id, instance_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (kind, owner, name, value, sealed, owned["system_id"], owned["module_id"], owned["instance_id"]),
    )


def _layer(owner: str, rows: Sequence[Row]) -> Layer:
    return Layer(
        owner=owner,
        plain={row["name"]: row["value"] for row in rows if row["value"] is not None},
        hidden=tuple(row["name"] for row in rows if row["value"] is None),
    )
