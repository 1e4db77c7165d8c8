"""Looks again and again whether packages can be stored and read, so that `/health` can say so without waiting."""

import asyncio
import logging

from ops_system.model.errors import OpsError, Unavailable
from ops_system.storage.blobs.base import BlobStore

_log = logging.getLogger(__name__)

WELL_S = 5.0
ILL_S = 2.0


class StoreWatch:
    """One watch over one store."""

    def __init__(self, store: BlobStore, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._problem = ""

    async def run(self) -> None:
        """Look, tidy the store as soon as it answers, and go on looking."""
        is_tidy = False
        while True:
            await self.look()
            if not self._problem and not is_tidy:
                is_tidy = await self._tidy()
            await asyncio.sleep(ILL_S if self._problem else WELL_S)

    async def look(self) -> None:
        """Look once. A change is logged."""
        try:
            await self._store.check()
        except OpsError as error:
            problem = error.message
        else:
            problem = ""
        if problem and problem != self._problem:
            _log.warning("packages cannot be stored: %s", problem)
        elif self._problem and not problem:
            _log.info("packages can be stored again")
        self._problem = problem

    async def check(self) -> None:
        """Raise `Unavailable` with what the last look found; a part of `/health`."""
        if self._problem:
            raise Unavailable(self._problem)

    def gauges(self) -> dict[str, float]:
        """Return `ops_storage_up` for Prometheus."""
        return {f'ops_storage_up{{type="{self._kind}"}}': 0.0 if self._problem else 1.0}

    async def _tidy(self) -> bool:
        try:
            ended = await self._store.tidy()
        except OpsError as error:
            _log.warning("what broken uploads left could not be removed: %s", error.message)
            return False
        if ended:
            _log.info("ended %d uploads in parts that had broken off", ended)
        return True
