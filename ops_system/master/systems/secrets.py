"""Secret environment values of modules: sealed in the database, unsealed only on the way to a worker (trust S16).

The sealed values are kept in memory too (a few KB), because the way to a worker does not wait for the database.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from ops_system.master.systems import store
from ops_system.model.ids import ModuleId
from ops_system.storage.database import Database, Transaction


class Sealer(Protocol):
    """Hides secrets at rest."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `Unavailable`."""
        ...


class Unsealed(msgspec.Struct, frozen=True):
    """The secrets of one wish, plain: for the way to the worker alone."""

    env: dict[str, str] = {}
    variables: dict[str, str] = {}

    def __repr__(self) -> str:
        return "Unsealed(…)"


class ModuleSecrets:
    """The one book of them, kept by the systems service."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._sealed: dict[ModuleId, dict[str, bytes]] = {}

    async def load(self, database: Database) -> None:
        """Read them all, sealed."""
        self._sealed = await store.list_sealed(database)

    async def write(self, tx: Transaction, module_id: ModuleId, changes: Mapping[str, str | None]) -> dict[str, bytes]:
        """Write values, None for one to remove; return all that are sealed now, for `keep` after the commit."""
        sealed = await store.find_sealed(tx, module_id)
        for name, value in changes.items():
            sealed.pop(name, None)
            if value is not None:
                sealed[name] = self._sealer.seal(value.encode())
        if changes:
            await store.save_sealed(tx, module_id, sealed)
        return sealed

    def keep(self, module_id: ModuleId, sealed: dict[str, bytes]) -> None:
        """Remember what is on disk now; nothing for a module that is gone."""
        self._sealed.pop(module_id, None)
        if sealed:
            self._sealed[module_id] = sealed

    def values(self, module_id: ModuleId, names: Iterable[str]) -> dict[str, str]:
        """Return the plain values of those that exist. Raises `Unavailable` when one cannot be read."""
        sealed = self._sealed.get(module_id, {})
        return {name: self._sealer.unseal(sealed[name]).decode() for name in names if name in sealed}
