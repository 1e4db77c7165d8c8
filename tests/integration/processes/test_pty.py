"""The pseudo-terminal itself: its end is told, and told as unknown when somebody else has waited for the shell."""

import asyncio
import os
import signal

import pytest

from ops_system.processes import procfs
from ops_system.processes.pty import PtyEnd
from ops_system.processes.pty_posix import PosixPty


def open_shell(said: asyncio.Event, script: str) -> PosixPty:
    pty = PosixPty(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}, "/", (80, 24), lambda _data: said.set())
    pty.resume()
    return pty


@pytest.mark.parametrize(
    ("script", "end"), [("echo x; exit 4", PtyEnd(code=4)), ("echo x; kill -TERM $$", PtyEnd(signal_name="SIGTERM"))]
)
async def test_how_the_shell_ended_is_told(script, end):
    said, over = asyncio.Event(), asyncio.Event()
    pty = open_shell(said, script)
    pty._on_data = lambda data: None if data else over.set()
    async with asyncio.timeout(10):
        await over.wait()
    assert await pty.close() == end
    assert await pty.close() == end


async def test_a_shell_that_somebody_else_waited_for_has_an_unknown_end():
    said = asyncio.Event()
    pty = open_shell(said, "echo x; exec sleep 1000")
    async with asyncio.timeout(10):
        await said.wait()
    os.kill(pty.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pty.pid, 0)
    assert procfs.read_row(pty.pid) is None
    assert await pty.close() == PtyEnd()
