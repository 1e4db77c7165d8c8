"""Durations and sizes as people write them: `1h30m` is 5400.0 seconds, `50MB` is 50 000 000 bytes, `50MiB` 52 428 800.

Used wherever such a string is read (service.json, configuration, command lines) or shown.
"""

import re
from decimal import Decimal

from ops_system.model.errors import Unreadable

MAX_DURATION_S = 100 * 365 * 86400.0
MAX_SIZE_BYTES = 2**63 - 1

_DURATION_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_NUMBER = r"[0-9]{1,19}(?:\.[0-9]{1,6})?"
DURATION_PATTERN = rf"^(?:{_NUMBER}(?:ms|s|m|h|d))+$"
SIZE_PATTERN = rf"^{_NUMBER}(?:[kKmMgGtT]?[bB]|[kKmMgGtT][iI][bB])?$"

_DURATION = re.compile(DURATION_PATTERN.replace("$", r"\Z"))
_SIZE = re.compile(SIZE_PATTERN.replace("$", r"\Z"))
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_SIZE_PARTS = re.compile(rf"({_NUMBER})([a-zA-Z]*)")


def parse_duration_s(text: str) -> float:
    """Return the seconds of `250ms`, `10s`, `5m`, `1h`, `1d` or a sum such as `1h30m`. Raises Invalid."""
    trimmed = text.strip()
    if not _DURATION.match(trimmed):
        raise Unreadable(
            '"{text}" is not a duration; write a number with ms, s, m, h or d, such as "10s" or "1h30m"', text=text
        )
    parts = _DURATION_PART.findall(trimmed)
    total = float(sum(Decimal(number) * _DURATION_UNITS[unit] for number, unit in parts))
    if total > MAX_DURATION_S:
        raise Unreadable('"{text}" is longer than a hundred years; write a shorter duration', text=text)
    return total


def parse_size_bytes(text: str) -> int:
    """Return the bytes of `4096`, `512KB` (powers of 1000) or `50MiB` (powers of 1024). Raises Invalid."""
    trimmed = text.strip()
    if not _SIZE.match(trimmed):
        raise Unreadable(
            '"{text}" is not a size; write a number with B, KB, MB, GB, KiB, MiB or GiB, such as "50MB"', text=text
        )
    match = _SIZE_PARTS.match(trimmed)
    assert match is not None
    exact = Decimal(match[1]) * _SIZE_UNITS[match[2].lower()]
    if exact != exact.to_integral_value():
        raise Unreadable('"{text}" is not a whole number of bytes', text=text)
    if exact > MAX_SIZE_BYTES:
        raise Unreadable('"{text}" is too large; the limit is {most} bytes', text=text, most=MAX_SIZE_BYTES)
    return int(exact)


def format_duration(seconds: float) -> str:
    """Return the shortest exact spelling, rounded to milliseconds: 90.0 is `1m30s`, 0.25 is `250ms`, 0 is `0s`."""
    left_ms = round(seconds * 1000)
    if left_ms < 0:
        raise Unreadable("{seconds} s is negative; a duration is 0 or more", seconds=seconds)
    parts: list[str] = []
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(size_bytes: int) -> str:
    """Return a size for people, three digits: 1536 is `1.54 KB`, 50 000 000 is `50.0 MB`."""
    value = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 999.5:  # noqa: PLR2004 - rounds to 1000 of this unit, so the next one reads better
            return f"{size_bytes} B" if unit == "B" else f"{_three_digits(value)} {unit}"
        value /= 1000
    return f"{_three_digits(value)} TB"


def format_size_exact(size_bytes: int) -> str:
    """Return a spelling that `parse_size_bytes` reads back unchanged: `50MB`, `64MiB`, `1234`."""
    if size_bytes:
        for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "KB", "KiB"):
            count, rest = divmod(size_bytes, _SIZE_UNITS[unit.lower()])
            if rest == 0:
                return f"{count}{unit}"
    return str(size_bytes)


def _three_digits(value: float) -> str:
    decimals = max(0, 3 - len(str(int(abs(value)))))
    return f"{value:.{decimals}f}"
