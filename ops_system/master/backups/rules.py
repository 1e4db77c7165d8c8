"""Names of copies, when the next one is due, and which go."""

from datetime import UTC, datetime, timedelta

INTERVAL = timedelta(hours=1)
KEEP = 24

_FORMAT = "ops-%Y%m%dT%H%M%SZ.db"


def name_of(at: datetime) -> str:
    """Return the file name of a copy made at `at`."""
    return at.astimezone(UTC).strftime(_FORMAT)


def time_of(name: str) -> datetime | None:
    """Return when a copy was made, None for a name that is not ours."""
    try:
        return datetime.strptime(name, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def is_due(names: list[str], now: datetime) -> bool:
    """Return whether the newest copy is an interval old. A copy from the future (a clock set back) does not count."""
    past = [at for at in map(time_of, names) if at is not None and at <= now]
    return not past or now - max(past) >= INTERVAL


def superfluous(names: list[str], keep: int = KEEP) -> list[str]:
    """Return the copies beyond the `keep` newest; names that are not ours are never among them."""
    ours = sorted((name for name in names if time_of(name) is not None), reverse=True)
    return ours[keep:]
