"""When a line of a log was written, read from its beginning: pure. Used by the worker, by the master for live lines.

Known are RFC 3339 and its everyday kin (`2026-01-02 03:04:05,678`, `2026/01/02 03:04:05`), the brackets of web servers
(`[02/Jan/2026:03:04:05 +0100]`), syslog (RFC 3164: `Jan  2 03:04:05`, no year), and Unix seconds or milliseconds.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

LOOK_CHARS = 80  # a date and time may stand behind a level, a colour, a key
_LOOK_FAR_CHARS = 256  # web servers write address and user first
_MONTHS = {name: n for n, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}  # noqa: SIM905 - read as a calendar
_MONTH = "|".join(_MONTHS)
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)"
_ISO = re.compile(
    rf"(?<!\d)(\d{{4}})([-/])(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])[T ]{_CLOCK}"
    r"(?:[.,](\d{1,9}))?\d*\s?(Z|[+-]\d\d:?\d\d)?",
)
_WEB = re.compile(rf"\[(0[1-9]|[12]\d|3[01])/({_MONTH})/(\d{{4}}):{_CLOCK}(?:\.(\d{{1,9}}))? ([+-]\d{{4}})\]")
_SYSLOG = re.compile(rf"(?:<\d{{1,3}}>)?({_MONTH}) ([ 0][1-9]|[12]\d|3[01]) {_CLOCK}(?=[ .:])")
_EPOCH = re.compile(r"\[?(\d{10})(?:(\d{3})|\.(\d{1,9}))?(?=[\] ,:\t|;]|$)")
_EPOCH_RANGE_S = range(946_684_800, 4_102_444_800)  # the years 2000 to 2099
_SOON = timedelta(days=1)


class LineTimes:
    """Reads times. `local_to_utc` takes a time without a zone; `now` tells the year that syslog leaves out."""

    def __init__(self, local_to_utc: Callable[[datetime], datetime], now: datetime) -> None:
        self._local_to_utc = local_to_utc
        self._now = now

    def of(self, text: str) -> datetime | None:
        """Return the time at the beginning of a line, None where it has none that makes sense."""
        try:
            return self._of(text)
        except (ValueError, OverflowError):
            return None  # the 31st of a short month, a zone of 99 hours

    def _of(self, text: str) -> datetime | None:
        if match := _ISO.search(text, 0, LOOK_CHARS):
            year, _, month, day, hour, minute, second, fraction, zone = match.groups()
            return self._made((year, month, day), (hour, minute, second), fraction, zone)
        if match := _EPOCH.match(text):
            return _from_epoch(*match.groups())
        if match := _SYSLOG.match(text):
            return self._from_syslog(*match.groups())
        if "[" in text and (match := _WEB.search(text, 0, _LOOK_FAR_CHARS)):
            day, name, year, hour, minute, second, fraction, zone = match.groups()
            return self._made((year, str(_MONTHS[name]), day), (hour, minute, second), fraction, zone)
        return None

    def _made(
        self, date: tuple[str, str, str], clock: tuple[str, str, str], fraction: str | None, zone: str | None
    ) -> datetime:
        year, month, day = map(int, date)
        hour, minute, second = map(int, clock)
        micros = int((fraction or "0").ljust(6, "0")[:6])
        found = datetime(year, month, day, hour, minute, min(second, 59), micros)  # noqa: DTZ001 - its zone follows
        return self._local_to_utc(found) if zone is None else found.replace(tzinfo=_zone(zone)).astimezone(UTC)

    def _from_syslog(self, name: str, day: str, *clock: str) -> datetime:
        hour, minute, second = clock
        found = self._made((str(self._now.year), str(_MONTHS[name]), day), (hour, minute, second), None, None)
        if found - self._now > _SOON:  # December, read in January
            found = self._made((str(self._now.year - 1), str(_MONTHS[name]), day), (hour, minute, second), None, None)
        return found


def fixed_zone(utc_offset_s: float) -> Callable[[datetime], datetime]:
    """Return the way to UTC from a place whose clocks are so far ahead of it."""
    zone = timezone(timedelta(seconds=utc_offset_s))
    return lambda naive: naive.replace(tzinfo=zone).astimezone(UTC)


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    ahead = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-ahead if text[0] == "-" else ahead)


def _from_epoch(seconds: str, millis: str | None, fraction: str | None) -> datetime | None:
    if int(seconds) not in _EPOCH_RANGE_S:
        return None
    micros = int(millis or 0) * 1000 + int((fraction or "0").ljust(6, "0")[:6])
    return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=micros)
