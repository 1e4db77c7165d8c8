"""Ending a POSIX session: its leader and everything that stayed in it. Used by `oneshot` and `pty`."""

import asyncio
import contextlib
import os
import signal

from ops_system.processes import procfs

_PAUSE_S = 0.02


def members_of(session_id: int) -> list[int]:
    """Return the living processes of a session."""
    return [row.pid for row in procfs.read_table().values() if row.sid == session_id and not row.is_dead]


async def kill_session(session_id: int) -> None:
    """Kill until nobody is left. The number stays the session's own while a member lives: nobody else can be hit."""
    while members := members_of(session_id):
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_PAUSE_S)
