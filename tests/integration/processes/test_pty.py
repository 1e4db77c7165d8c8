"""The pseudo-terminal itself: its end is told, and told as unknown when somebody else has waited for the shell."""

import asyncio
import os
import signal

import pytest

from ops_system.processes import procfs
from ops_system.processes.pty import PtyEnd
from ops_system.processes.pty_posix import PosixPty
from ops_system.processes.sessions import members_of


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
    async with asyncio.timeout(60):
        await over.wait()
    assert await pty.close() == end
    assert await pty.close() == end


async def test_a_shell_that_somebody_else_waited_for_has_an_unknown_end():
    said = asyncio.Event()
    pty = open_shell(said, "echo x; exec sleep 1000")
    async with asyncio.timeout(60):
        await said.wait()
    os.kill(pty.pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitpid, pty.pid, 0)
    assert procfs.read_row(pty.pid) is None
    assert await pty.close() == PtyEnd()


@pytest.mark.parametrize("job", ["sleep 1000", "yes"])
async def test_a_job_in_the_background_does_not_keep_a_shell_alive_that_has_ended(job):
    said, over = bytearray(), asyncio.Event()
    pty = open_shell(asyncio.Event(), f"trap '' HUP; {job} & echo last words; exit 5")
    pty._on_data = lambda data: said.extend(data) if data else over.set()
    async with asyncio.timeout(60):
        await over.wait()
    assert b"last words" in said
    assert await pty.close() == PtyEnd(code=5)
    assert members_of(pty.pid) == []


async def test_the_last_words_of_a_shell_are_kept_until_they_are_read():
    said, over, ended = bytearray(), asyncio.Event(), asyncio.Event()
    pty = open_shell(asyncio.Event(), "seq 1 300; exit 0")
    pty.pause()
    pty._on_data = lambda data: said.extend(data) if data else over.set()
    pty._watch.add(pty.pid, ended.set)
    async with asyncio.timeout(60):
        await ended.wait()
        pty.resume()
        await over.wait()
    assert said.endswith(b"300\r\n")
    assert await pty.close() == PtyEnd(code=0)
