"""From a stream of bytes to batches of lines, and file names for downloads: pure."""

import re

import msgspec

MAX_LINE_BYTES = 64 * 1024
MAX_TAIL = 2000

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")


class LogQuery(msgspec.Struct, frozen=True):
    """`tail`: at most so many lines (1 to 2000); `before`: an offset of the last answer; `q`: a part of a line."""

    tail: int = 200
    before: int | None = None
    q: str = ""


class FollowedLine(msgspec.Struct, frozen=True):
    """One new line. `at` is None where the log carries no time."""

    text: str
    at: str | None = None


class FollowedLines(msgspec.Struct, frozen=True):
    """One text frame of a followed log."""

    lines: list[FollowedLine]


class FollowEnd(msgspec.Struct, frozen=True):
    """The last text frame, when following ended by itself: why."""

    code: str
    message: str


class FollowEnded(msgspec.Struct, frozen=True):
    """Wraps `FollowEnd`, so that a reader tells it from lines by its key."""

    end: FollowEnd


class LineSplitter:
    """Cuts bytes into lines; a line longer than `MAX_LINE_BYTES` is cut into several."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[FollowedLine]:
        """Return the lines that `chunk` completes."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            whole.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return [piece for line in whole for piece in _cut(line)]

    def flush(self) -> list[FollowedLine]:
        """Return what is left without a line end."""
        rest, self._rest = self._rest, b""
        return _cut(rest) if rest else []


def _cut(line: bytes) -> list[FollowedLine]:
    line = line.removesuffix(b"\r")
    starts = range(0, max(len(line), 1), MAX_LINE_BYTES)
    return [FollowedLine(line[start : start + MAX_LINE_BYTES].decode("utf-8", "replace")) for start in starts]


def file_name(instance_id: str, log_name: str) -> str:
    """Return a plain name for a downloaded log."""
    stem = _UNSAFE.sub("-", f"{instance_id}-{log_name.strip(' .')}").strip("-.")[:120]
    return stem if stem.endswith(".log") else f"{stem}.log"
