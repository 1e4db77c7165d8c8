"""Commands that people at the master run on this node: the stream `exec`. Registered by `commands`.

The node's own policy comes first; each command, who asked for it and how it ended stand in the node's log, its text
only there where the master's audit has it as well.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping

import msgspec

from ops_system.model.errors import Invalid, RateLimited
from ops_system.model.ids import InstanceId
from ops_system.processes.base import MARKER, child_env
from ops_system.processes.oneshot import OneShotEnd, run_oneshot
from ops_system.protocol.codec import encode_body
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.protocol.requests import CommandEnd, RunCommand
from ops_system.runtime.streams import Stream
from ops_system.worker.policy import Policy

_log = logging.getLogger(__name__)

MAX_AT_ONCE = 16
MAX_TIMEOUT_S = 3600.0


class Execution:
    """See the module. `user_prefix` gives what to put before a command to run it as another user."""

    def __init__(
        self, policy: Policy, user_prefix: Callable[[str], tuple[str, ...]], env: Mapping[str, str] | None = None
    ) -> None:
        self._policy = policy
        self._user_prefix = user_prefix
        self._env = dict(os.environ if env is None else env)
        self._running = 0

    async def run(self, stream: Stream, body: RunCommand) -> None:
        """Answer the stream `exec`. Raises `Forbidden`, `Invalid`, `RateLimited`."""
        self._policy.check_exec(body.user)
        argv = (*self._user_prefix(body.user), *argv_of(body))
        if not 0 < body.timeout_s <= MAX_TIMEOUT_S:
            raise Invalid(f"timeout_s: above 0, at most {MAX_TIMEOUT_S:.0f}, not {body.timeout_s}")
        if self._running >= MAX_AT_ONCE:
            raise RateLimited(f"{MAX_AT_ONCE} commands are running on this node already; try again when one has ended")
        self._running += 1
        _log.info("command of %s begins: %s", body.asked_by or "the master", argv_of(body)[0])
        try:
            end = await self._run(stream, argv, body)
        finally:
            self._running -= 1
        _log.info("command of %s ended: %s", body.asked_by or "the master", msgspec.json.encode(end).decode())
        await stream.write(encode_piece(Channel.CONTROL, bytes(encode_body(end))))

    async def _run(self, stream: Stream, argv: tuple[str, ...], body: RunCommand) -> CommandEnd:
        loop = asyncio.get_running_loop()
        began_s, said_bytes = loop.time(), 0

        async def hand_on(is_error: bool, data: bytes) -> None:
            nonlocal said_bytes
            room = max(0, body.max_output_bytes - said_bytes)
            said_bytes += len(data)
            if room:
                await stream.write(encode_piece(Channel.STDERR if is_error else Channel.STDOUT, data[:room]))

        try:
            ended = await run_oneshot(
                argv, cwd=_home(), env=_environment(self._env), timeout_s=body.timeout_s, on_output=hand_on
            )
        except (OSError, ValueError) as problem:
            raise Invalid(f"the command cannot be started: {problem}") from problem
        return _tell(ended, loop.time() - began_s, is_truncated=said_bytes > body.max_output_bytes)


def argv_of(body: RunCommand) -> tuple[str, ...]:
    """Return what is executed. Raises `Invalid` when there is nothing, or both."""
    if bool(body.argv) == bool(body.command):
        raise Invalid("give either argv (a list) or command (a line for the shell)")
    if body.argv:
        return body.argv
    return ("cmd.exe", "/d", "/s", "/c", body.command) if sys.platform == "win32" else ("/bin/sh", "-c", body.command)


def _tell(end: OneShotEnd, duration_s: float, *, is_truncated: bool) -> CommandEnd:
    return CommandEnd(end.code, end.signal_name, end.timed_out, is_truncated, round(duration_s, 3))


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what services get, too, without a marker: nothing of the worker's own."""
    env = child_env({}, dict(inherited), InstanceId(""))
    del env[MARKER]
    return env


def _home() -> str:
    return os.path.expanduser("~") if sys.platform == "win32" else "/"  # noqa: PTH111 - the worker may have no home
