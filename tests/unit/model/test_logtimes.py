from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.logtimes import LineTimes, fixed_zone

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TIMES = LineTimes(fixed_zone(3600), NOW)
ONE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-01-02T03:04:05Z hello", ONE),
        ("2026-01-02T03:04:05.678912345+00:00 x", ONE.replace(microsecond=678912)),
        ("2026-01-02 03:04:05,678 INFO x", ONE.replace(hour=2, microsecond=678000)),
        ("2026/01/02 03:04:05 [error] 7#7: x", ONE.replace(hour=2)),
        ("[2026-01-02 03:04:05 +0200] [1] [INFO]", ONE.replace(hour=1)),
        ('time="2026-01-02T03:04:05Z" level=info', ONE),
        ('{"level":"info","ts":"2026-01-02T03:04:05Z"}', ONE),
        ("\x1b[32mINFO\x1b[0m 2026-01-02T03:04:05Z x", ONE),
        ('10.0.0.1 - ann [02/Jan/2026:03:04:05 +0100] "GET / HTTP/1.1" 200 5', ONE.replace(hour=2)),
        ("Jan  2 03:04:05 host sshd[7]: x", ONE.replace(hour=2)),
        ("<34>Jan  2 03:04:05 host x", ONE.replace(hour=2)),
        ("Dec 31 03:04:05 host x", datetime(2025, 12, 31, 2, 4, 5, tzinfo=UTC)),
        ("1767323045 x", ONE),
        ("1767323045678 x", ONE.replace(microsecond=678000)),
        ("1767323045.5: x", ONE.replace(microsecond=500000)),
        ("2026-12-31T23:59:60Z leap", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("", None),
        ("plain words", None),
        ("2026-02-31 03:04:05 no such day", None),
        ("2026-01-02T03:04:05+99:00 no such zone", None),
        ("1234567890123456789 a number", None),
        ("0000000001 too early", None),
        ("GET /2026-01-02 without a clock", None),
        (" " * 100 + "2026-01-02T03:04:05Z far inside", None),
    ],
)
def test_times_of_lines(line: str, expected: datetime | None) -> None:
    assert TIMES.of(line) == expected


@given(st.text(max_size=120))
def test_any_text_is_taken(text: str) -> None:
    found = TIMES.of(text)
    assert found is None or found.tzinfo is UTC


@given(st.integers(0, 7_000_000_000_000_000), st.sampled_from(["T", " "]))
def test_what_python_writes_is_read_again(micros: int, between: str) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert TIMES.of(moment.isoformat(between, "microseconds")) == moment
