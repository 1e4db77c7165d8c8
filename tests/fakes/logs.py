"""Logs as a reader sees them."""

import asyncio
from collections.abc import AsyncIterator

from ops_system.processes.tail import Follower, Log


async def follow(log: Log, offset: int) -> AsyncIterator[bytes]:
    """Yield what is written from `offset` on."""
    follower = Follower(log, offset)
    while True:
        if data := await follower.read():
            yield data
        else:
            await asyncio.sleep(0.01)
