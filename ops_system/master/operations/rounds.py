"""Looks at open operations, one after the other, each when something about it may have changed. For their drivers.

A look that fails (`OpsError`: a full disk, a database that is busy) is made again. What a look finds is on disk, so a
look too many does no harm, and none is lost: who asks while one is under way is looked at after it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ops_system.model.errors import OpsError

_log = logging.getLogger(__name__)

RETRY_S = 1.0


class Rounds:
    """What is to be looked at. `run` ends only by cancellation. `what` names it in the log."""

    def __init__(self, look: Callable[[str], Awaitable[None]], what: str) -> None:
        self._look = look
        self._what = what
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()

    def look_at(self, operation_id: str) -> None:
        """Look at this operation soon."""
        self._due[operation_id] = None
        self._wake.set()

    def look_later(self, operation_id: str, after_s: float) -> None:
        """Look at this operation after a while."""
        asyncio.get_running_loop().call_later(after_s, self.look_at, operation_id)

    def look_again(self, operation_id: str) -> None:
        """Look once more after `RETRY_S`: something was not ready."""
        self.look_later(operation_id, RETRY_S)

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            for operation_id in due:
                await self._try(operation_id)

    async def _try(self, operation_id: str) -> None:
        try:
            await self._look(operation_id)
        except OpsError as problem:
            _log.warning("%s %s waits: %s", self._what, operation_id, problem.message)
            self.look_again(operation_id)
