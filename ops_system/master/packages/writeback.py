"""Brings the bytes of uploads to the disk while more come in, so that little is left to wait for at the end.

Used by `parts`. A file is synced by at most one thread at a time.
"""

import asyncio
import os
from pathlib import Path

EVERY_BYTES = 32 * 1024 * 1024  # a sync of less costs more in journal than it saves in waiting


class Writeback:
    """The syncs under way, by file name."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[OSError | None]] = {}

    def start(self, path: Path) -> None:
        """Begin to bring what a file holds to the disk, unless that is under way or has failed."""
        before = self._running.get(path.name)
        if before is None or (before.done() and before.result() is None):
            self._running[path.name] = asyncio.get_running_loop().run_in_executor(None, sync_file, path)

    async def finish(self, path: Path) -> None:
        """Return when every byte is on the disk. Raises OSError, also for a sync that failed earlier."""
        before = self._running.pop(path.name, None)
        problem = await asyncio.shield(before) if before is not None else None
        problem = problem or await asyncio.to_thread(sync_file, path)
        if problem is not None:
            raise problem

    def forget(self, name: str) -> None:
        """Think no more of a file that is gone."""
        self._running.pop(name, None)


def sync_file(path: Path) -> OSError | None:
    """Sync a file and return what went wrong. One that is gone needs none. Blocking."""
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return None
    except OSError as problem:
        return problem
    return None
