"""Short commands beside an instance: hooks, stop commands, command probes. Used by `probes` and `care`."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

OUTPUT_BYTES = 4096


class CommandResult(msgspec.Struct, frozen=True):
    """How a command ended; `output` is the tail of what it said, stdout and stderr together."""

    code: int
    output: str = ""

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


async def run_command(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], log_path: str | None = None
) -> CommandResult:
    """Run `argv` in its own session and wait for it. Cancelled or out of time: its whole group is killed.

    Output is appended to `log_path` when given, else its tail is in the result. Raises OSError and
    ValueError when it cannot be started.
    """
    output = asyncio.subprocess.PIPE if log_path is None else _open_log(log_path)
    try:
        process = await _start(argv, cwd, env, output)
    finally:
        if not isinstance(output, int):
            output.close()
    try:
        tail = b"" if process.stdout is None else await _read_tail(process.stdout)
        code = await process.wait()
    finally:
        _kill_group(process)
        await process.wait()
    return CommandResult(code, tail.decode(errors="replace"))


def _open_log(path: str) -> IO[bytes]:
    return open(path, "ab")  # noqa: PTH123 - closed by the caller once the child has it


async def _start(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], output: IO[bytes] | int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=sys.platform != "win32",
    )


async def _read_tail(stream: asyncio.StreamReader) -> bytes:
    tail = b""
    while data := await stream.read(65536):
        tail = (tail + data)[-OUTPUT_BYTES:]
    return tail


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill the command's group while its leader is not yet waited for, so that the number is still its own."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
