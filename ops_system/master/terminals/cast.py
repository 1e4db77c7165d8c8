"""Asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a header line, then one JSON line an event. Pure.

The clock is an argument: `at_s` counts from the beginning of the recording and never goes back.
"""

import codecs
from datetime import datetime

import msgspec

_encode = msgspec.json.encode


class _Header(msgspec.Struct, frozen=True):
    version: int
    width: int
    height: int
    timestamp: int  # Unix seconds
    title: str
    env: dict[str, str]


class CastWriter:
    """Turns what a terminal says into lines. Bytes that are no UTF-8 are shown as U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def header(self, size: tuple[int, int], at: datetime, title: str) -> bytes:
        """Return the first line."""
        env = {"TERM": "xterm-256color"}
        return _encode(_Header(2, *size, int(at.timestamp()), title, env)) + b"\n"

    def output(self, at_s: float, data: bytes) -> bytes:
        """Return the line of what was said; empty when it ends inside a character."""
        text = self._decoder.decode(data)
        return _event(at_s, "o", text) if text else b""

    def resize(self, at_s: float, cols: int, rows: int) -> bytes:
        """Return the line of a new size."""
        return _event(at_s, "r", f"{cols}x{rows}")


def _event(at_s: float, kind: str, text: str) -> bytes:
    return _encode((round(at_s, 3), kind, text)) + b"\n"
