"""Wall-clock stamps at the edge of SQLite: aware UTC datetimes inside, integer milliseconds in columns named `*_ms`."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(at: datetime) -> int:
    """Return Unix milliseconds, rounded down."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(value_ms: int) -> datetime:
    """Return the aware UTC stamp of Unix milliseconds."""
    return _EPOCH + timedelta(milliseconds=value_ms)


def to_ms_or_none(at: datetime | None) -> int | None:
    """Like `to_ms`; None stays None."""
    return None if at is None else to_ms(at)


def from_ms_or_none(value_ms: int | None) -> datetime | None:
    """Like `from_ms`; None stays None."""
    return None if value_ms is None else from_ms(value_ms)
