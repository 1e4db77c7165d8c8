"""Makes the hourly copy of the database in DATA/backups and removes the oldest. One of the master's parts.

A copy is written under another name, looked through, and renamed: what bears a copy's name is whole.
"""

import asyncio
import logging
import os
from pathlib import Path

from ops_system.master.backups.rules import is_due, name_of, superfluous
from ops_system.model.errors import OpsError, Unavailable
from ops_system.runtime.clock import Clock
from ops_system.runtime.files import sync_dir
from ops_system.runtime.tasks import every
from ops_system.storage.checks import find_damage
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

_LOOK_S = 60.0
_PARTIAL = "copy.part"


class Copies:
    """The folder of copies."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    async def run(self) -> None:
        """Look each minute whether a copy is due, until cancelled."""
        await every(_LOOK_S, self._tick, "backup")

    async def _tick(self) -> None:
        try:
            if is_due(self._names(), self._clock.now()):
                await self.make()
        except (OpsError, OSError) as error:
            _log.warning("no backup was made in %s: %s", self._folder, error)

    async def make(self) -> Path:
        """Make one copy now and return it. Raises StorageFull, Unavailable; then nothing half made stays."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        partial = self._folder / _PARTIAL
        partial.unlink(missing_ok=True)
        try:
            await self._database.backup(partial)
            target = self._folder / name_of(self._clock.now())
            await asyncio.to_thread(_finish, partial, target)
        finally:
            partial.unlink(missing_ok=True)
        for name in superfluous(self._names()):
            (self._folder / name).unlink(missing_ok=True)
        _log.info("backup %s, %d bytes", target, target.stat().st_size)
        return target

    def _names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []


def _finish(partial: Path, target: Path) -> None:
    damage = find_damage(partial, is_expected_filled=True)
    if damage:
        raise Unavailable(f"the copy {partial} is not usable: {damage}")
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.chmod(0o600)
    partial.replace(target)
    sync_dir(target.parent)
