"""Killing a whole process tree and proving that nothing of it is left. Used by `care`."""

import asyncio
import logging
from collections.abc import Callable

from ops_system.processes.base import Handle, Member, Platform

_log = logging.getLogger(__name__)

CANNOT_KILL_AFTER_S = 5.0
EXIT_WAIT_S = 2.0
_FIRST_PAUSE_S = 0.011  # longer than a scan may be old, so that two empty scans are two scans
_LAST_PAUSE_S = 0.5


async def empty_tree(platform: Platform, handle: Handle, on_alive: Callable[[tuple[int, ...]], None]) -> None:
    """Kill every member until two scans in a row are empty. Never gives up; `on_alive` tells who does not die."""
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    pause_s = _FIRST_PAUSE_S
    empty_scans = 0
    while empty_scans < 2:  # noqa: PLR2004 - two scans
        members = platform.members(handle)
        empty_scans = 0 if members else empty_scans + 1
        if members:
            platform.kill_at_once(handle)
        _kill(platform, members)
        if members and loop.time() - since_s > CANNOT_KILL_AFTER_S:
            on_alive(tuple(member.identity.pid for member in members))
        if empty_scans < 2:  # noqa: PLR2004 - two scans
            await asyncio.sleep(pause_s)
            pause_s = _FIRST_PAUSE_S if not members else min(pause_s * 1.5, _LAST_PAUSE_S)


def _kill(platform: Platform, members: tuple[Member, ...]) -> None:
    for member in members:
        try:
            platform.signal(member.identity, "SIGKILL")
        except PermissionError as error:
            _log.warning("cannot kill pid %d: %s", member.identity.pid, error)


async def wait_for_exit(exited: asyncio.Event) -> None:
    """Wait, but not for ever, until the end of an emptied tree's leader is told."""
    try:
        async with asyncio.timeout(EXIT_WAIT_S):
            await exited.wait()
    except TimeoutError:
        _log.warning("the keeper of an emptied tree told no exit code")
