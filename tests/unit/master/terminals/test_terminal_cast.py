"""Recordings as asciicast lines, and which of them go."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.terminals.cast import CastWriter
from ops_system.master.terminals.rules import NewShare, Recording, check_share, expired_recordings
from ops_system.model.errors import Invalid

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@given(st.text(max_size=60), st.integers(1, 7))
def test_what_was_said_comes_back_however_it_was_cut(text, size):
    writer, data = CastWriter(), text.encode()
    lines = [writer.output(0.5, data[at : at + size]) for at in range(0, len(data), size)]
    events = [json.loads(line) for line in lines if line]
    assert "".join(said for _, _, said in events) == text
    assert all(line.count(b"\n") == 1 for line in lines if line)


def test_the_first_line_and_a_new_size():
    writer = CastWriter()
    header = json.loads(writer.header((80, 24), NOW, "web"))
    assert header == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": int(NOW.timestamp()),
        "title": "web",
        "env": {"TERM": "xterm-256color"},
    }
    assert json.loads(writer.resize(1.23456, 90, 20)) == [1.235, "r", "90x20"]
    assert json.loads(writer.output(2, b"\xff")) == [2, "o", "�"]


def recorded(name: str, age: timedelta, size_bytes: int = 10, *, has_ended: bool = True) -> Recording:
    at = NOW - age
    return Recording(name, "n", "n", "s", "", "", "a", at, 80, 24, at if has_ended else None, size_bytes=size_bytes)


def test_the_old_go_and_the_oldest_of_too_many():
    found = [
        recorded("new", DAY),
        recorded("big", 2 * DAY, 100),
        recorded("small", 3 * DAY),
        recorded("old", 40 * DAY),
        recorded("running", 50 * DAY, has_ended=False),
    ]
    gone = expired_recordings(found, NOW, 30 * DAY, max_bytes=90)
    assert [one.id for one in gone] == ["big", "old"]


@pytest.mark.parametrize("ttl_s", [0, -1, 59, 604_801, float("inf"), float("nan")])
def test_a_share_lasts_a_sensible_time(ttl_s):
    with pytest.raises(Invalid):
        check_share(NewShare(ttl_s))
