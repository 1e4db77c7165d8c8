"""The matcher: a small process that looks for a regular expression in lines, so that one that explodes can be killed.

Used by `matching`, which starts it as a program of its own: nothing but the standard library here.

    in    flags and pattern, then blocks of whole lines            each after its length, 4 bytes, big endian
    out   an empty answer or what is wrong with the pattern, then for each block the offsets of the lines that match
"""

import contextlib
import os
import re
import struct
import sys
from typing import BinaryIO

ARGUMENT = "ops-matcher"  # how a frozen worker is told to be one
IGNORE_CASE = 1
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 120  # an end for one whose worker was killed while it matched
_LENGTH = struct.Struct(">I")


def main() -> int:
    """Serve standard input until it ends."""
    _restrain()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    wish = _read(source)
    if wish is None:
        return 0
    try:
        pattern = re.compile(wish[1:].decode(), re.IGNORECASE if wish[0] & IGNORE_CASE else 0)
    except (re.error, OverflowError, RecursionError, MemoryError, ValueError) as problem:
        _write(target, (str(problem) or type(problem).__name__).encode())
        return 0
    _write(target, b"")
    while (block := _read(source)) is not None:
        offsets = find(pattern, block)
        _write(target, struct.pack(f">{len(offsets)}I", *offsets))
    return 0


def find(pattern: "re.Pattern[str]", block: bytes) -> list[int]:
    """Return where the lines begin that hold a match. Bytes that are no UTF-8 stand as U+FFFD."""
    search = pattern.search
    offsets, at = [], 0
    if block.isascii():
        for line in block.decode("ascii").split("\n"):
            if search(line):
                offsets.append(at)
            at += len(line) + 1
    else:
        for raw in block.split(b"\n"):
            if search(raw.decode("utf-8", "replace")):
                offsets.append(at)
            at += len(raw) + 1
    if offsets and offsets[-1] == len(block) and block.endswith(b"\n"):
        offsets.pop()  # nothing stands behind the last line feed
    return offsets


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    data = source.read(size)
    return data if len(data) == size else None


def _write(target: BinaryIO, data: bytes) -> None:
    target.write(_LENGTH.pack(len(data)) + data)
    target.flush()


def _restrain() -> None:
    """Take no more than is needed, and step back behind the services."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)


if __name__ == "__main__":
    sys.exit(main())
