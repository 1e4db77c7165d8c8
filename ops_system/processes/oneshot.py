"""One command from start to end, its output handed on while it runs. Called by the worker for remote commands.

The command leads a session of its own; out of time or cancelled, everything in that session is killed.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from ops_system.processes.sessions import kill_session

READ_BYTES = 16 * 1024
DRAIN_S = 1.0

OnOutput = Callable[[bool, bytes], Awaitable[None]]
"""Hears (is it stderr, bytes); while it waits, the command waits."""


class OneShotEnd(msgspec.Struct, frozen=True):
    """How it ended. `code` and `signal_name` are both None when it was out of time."""

    code: int | None = None
    signal_name: str | None = None
    timed_out: bool = False


class _Ending(asyncio.subprocess.SubprocessStreamProtocol):
    """Tells the end of the process itself; asyncio's own `wait` waits for everybody who holds its pipes, too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=READ_BYTES, loop=loop)
        self.ended = asyncio.Event()

    def process_exited(self) -> None:
        """See `asyncio.SubprocessProtocol`."""
        super().process_exited()
        self.ended.set()


async def run_oneshot(
    argv: Sequence[str], *, cwd: str, env: Mapping[str, str], timeout_s: float, on_output: OnOutput
) -> OneShotEnd:
    """Run `argv` and return its end; output that daemons of it go on writing is read for `DRAIN_S` more.

    Raises OSError and ValueError when it cannot be started.
    """
    loop = asyncio.get_running_loop()
    transport, ending = await loop.subprocess_exec(
        lambda: _Ending(loop),
        *argv,
        cwd=cwd,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=sys.platform != "win32",
    )
    try:
        async with asyncio.timeout(timeout_s):
            await _read_to_end(ending, on_output)
    except TimeoutError:
        return OneShotEnd(timed_out=True)
    finally:
        await _kill_session(transport, ending)
        transport.close()
    code = transport.get_returncode() or 0
    return OneShotEnd(signal_name=signal.Signals(-code).name) if code < 0 else OneShotEnd(code=code)


async def _read_to_end(ending: _Ending, on_output: OnOutput) -> None:
    """Hand the output on until both pipes end, or `DRAIN_S` after the command itself has ended."""
    async with asyncio.TaskGroup() as group:
        readers = [
            group.create_task(_pump(stream, is_error, on_output), name="read a command's output")
            for stream, is_error in ((ending.stdout, False), (ending.stderr, True))
            if stream is not None
        ]
        await ending.ended.wait()
        await asyncio.wait(readers, timeout=DRAIN_S)
        for reader in readers:
            reader.cancel()


async def _pump(stream: asyncio.StreamReader, is_error: bool, on_output: OnOutput) -> None:
    while data := await stream.read(READ_BYTES):
        await on_output(is_error, data)


async def _kill_session(transport: asyncio.SubprocessTransport, ending: _Ending) -> None:
    """Kill the command and everything that is still in its session, and wait for the command itself."""
    if sys.platform == "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            transport.kill()
    else:
        await kill_session(transport.get_pid())
    await ending.ended.wait()
