"""Finding lines in blocks: plain text here, regular expressions in a process that is killed when one explodes.

Used by `logsearch` and the worker's `logwatch`. See `matcher` for the protocol.
"""

import asyncio
import contextlib
import os
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Protocol

from ops_system.model.errors import Invalid, Unavailable
from ops_system.processes import matcher

MAX_PATTERN_CHARS = 1000
BLOCK_WITHIN_S = 2.0  # for REGEX_BLOCK_BYTES; an expression that takes longer grows faster than its input
START_WITHIN_S = 10.0
REGEX_BLOCK_BYTES = 256 * 1024
MAX_KEPT = 4  # about 10 MB each
_LENGTH = struct.Struct(">I")
_PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")


class Matcher(Protocol):
    """Looks for one thing."""

    async def find(self, block: bytes) -> list[int]:
        """Return where the lines of the block begin that hold it. Raises Invalid when that takes too long."""
        ...


class TextMatcher:
    """Looks for a text as it is, or without regard to the case of ASCII letters."""

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._wanted = text.lower().encode() if ignore_case else text.encode()

    async def find(self, block: bytes) -> list[int]:
        """See `Matcher`."""
        return find_text(block.lower() if self._ignore_case else block, self._wanted)


def find_text(block: bytes, wanted: bytes) -> list[int]:
    """Return where the lines begin that hold `wanted`."""
    found = []
    at = block.find(wanted)
    while at >= 0:
        found.append(block.rfind(b"\n", 0, at) + 1)
        line_end = block.find(b"\n", at)
        at = block.find(wanted, line_end + 1) if line_end >= 0 else -1
    return found


class RegexMatcher:
    """Asks the matcher process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, pattern: str, *, ignore_case: bool) -> None:
        """Hand over the expression. Raises Invalid when it is none, or takes too long to prepare."""
        flags = bytes([matcher.IGNORE_CASE if ignore_case else 0])
        problem = await self._ask(flags + pattern.encode(), START_WITHIN_S)
        if problem:
            raise Invalid(f"the regular expression is wrong: {problem.decode(errors='replace')}")

    async def find(self, block: bytes) -> list[int]:
        """See `Matcher`."""
        found: list[int] = []
        at = 0
        while at < len(block):
            piece = _cut(block, at)
            data = await self._ask(piece, BLOCK_WITHIN_S)
            found += [at + offset for offset in struct.unpack(f">{len(data) // _LENGTH.size}I", data)]
            at += len(piece)
        return found

    async def _ask(self, data: bytes, within_s: float) -> bytes:
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        try:
            async with asyncio.timeout(within_s):
                writer.write(_LENGTH.pack(len(data)) + data)
                await writer.drain()
                (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                return await reader.readexactly(size)
        except TimeoutError as problem:
            raise Invalid(
                "the regular expression takes too long; make it simpler (nested repeats such as (a+)+ explode)"
            ) from problem
        except (asyncio.IncompleteReadError, ConnectionError) as problem:
            raise Unavailable("the process that matches the regular expression ended; try a simpler one") from problem


@contextlib.asynccontextmanager
async def open_matcher(text: str, *, is_regex: bool, ignore_case: bool = False) -> AsyncIterator[Matcher]:
    """Give what looks for `text`. Raises Invalid for a text or an expression that cannot be looked for."""
    if not text or "\n" in text or len(text) > MAX_PATTERN_CHARS:
        raise Invalid(f"what is searched for has 1 to {MAX_PATTERN_CHARS} characters and no line break")
    if not is_regex and (text.isascii() or not ignore_case):
        yield TextMatcher(text, ignore_case=ignore_case)
        return
    pattern = text if is_regex else re.escape(text)
    env = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("_PYI", "_MEI"))}
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=None, env=env
        )
    except OSError as problem:
        raise Unavailable(f"the process that matches regular expressions cannot start: {problem}") from problem
    try:
        found = RegexMatcher(process)
        await found.begin(pattern, ignore_case=ignore_case)
        yield found
    finally:
        await _end(process)


class Matchers:
    """Keeps matchers that are used again and again, MAX_KEPT processes at most."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bool], tuple[contextlib.AsyncExitStack, Matcher]] = OrderedDict()

    async def get(self, text: str, *, is_regex: bool) -> Matcher:
        """Return what looks for `text`. Raises like `open_matcher`."""
        key = (text, is_regex)
        if key not in self._kept:
            stack = contextlib.AsyncExitStack()
            self._kept[key] = stack, await stack.enter_async_context(open_matcher(text, is_regex=is_regex))
            if len(self._kept) > MAX_KEPT:
                await self._end_of(next(iter(self._kept)))
        self._kept.move_to_end(key)
        return self._kept[key][1]

    async def drop(self, text: str, *, is_regex: bool) -> None:
        """End one that failed; the next `get` starts another."""
        await self._end_of((text, is_regex))

    async def close(self) -> None:
        """End them all."""
        for key in list(self._kept):
            await self._end_of(key)

    async def _end_of(self, key: tuple[str, bool]) -> None:
        stack, _ = self._kept.pop(key, (None, None))
        if stack is not None:
            await stack.aclose()


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _cut(block: bytes, at: int) -> bytes:
    """Return about REGEX_BLOCK_BYTES from `at` that end with a line, or the rest."""
    piece = block[at : at + REGEX_BLOCK_BYTES]
    if at + len(piece) == len(block):
        return piece
    return piece[: piece.rfind(b"\n") + 1] or piece


def _command() -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable, matcher.ARGUMENT]
    return [sys.executable, "-I", "-S", matcher.__file__]
