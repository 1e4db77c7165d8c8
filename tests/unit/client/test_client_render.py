from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.client import render
from ops_system.client.render import Column, clean, cut, details, pad, table, width_of

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
COLUMNS = (
    Column("NAME", "name"),
    Column("CPU", "metrics.cpu", render.percent, is_number=True),
    Column("SEEN", "at|born", render.age),
)


def test_a_table_stands_in_columns_also_with_wide_characters():
    rows = [
        {"name": "数据库", "metrics": {"cpu": 3.4}, "at": "2026-01-31T11:55:00Z"},
        {"name": "web", "metrics": {}, "born": "2026-01-30T11:00:00+00:00"},
    ]
    assert table(rows, COLUMNS, NOW).splitlines() == [
        "NAME    CPU  SEEN",
        "数据库   3%  5m",
        "web       -  1d",
    ]


def test_a_narrow_screen_cuts_the_widest_column_and_marks_it():
    rows = [{"name": "x" * 80, "metrics": {"cpu": 100.0}, "at": "2026-01-31T12:00:07Z"}]
    line = table(rows, COLUMNS, NOW, 40).splitlines()[1]
    assert width_of(line) <= 40
    assert "…" in line
    assert line.endswith("100%  in 7s")


@given(st.text(), st.integers(1, 30))
def test_cutting_never_takes_more_than_it_may(text, width):
    assert width_of(cut(text, width)) <= width
    assert width_of(pad(cut(text, width), width)) >= min(width, width_of(text))


@given(st.text())
def test_what_nodes_say_moves_no_cursor(text):
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in clean(text))


def test_an_escape_sequence_is_text():
    assert clean("a\x1b[31mred\x1b]0;title\x07\n") == "a[31mred]0;title "


def test_one_object_stands_as_lines_and_yaml_below():
    shown = details({"name": "a", "empty": [], "labels": {"k": "v"}, "parts": [{"x": 1}], "ok": True})
    assert details({"diff": "-a\n+b\n"}).splitlines() == ["diff:", "  -a", "  +b"]
    assert shown.splitlines() == ["name    a", "empty   -", "labels  k=v", "parts:", "  - x: 1", "ok      yes"]


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (render.size, 1_500_000, "1.50 MB"),
        (render.seconds, 90, "1m30s"),
        (render.count, [1, 2], "2"),
        (render.reason, {"code": "x", "message": "why"}, "why"),
        (render.stamp, "2026-01-31T12:00:00.123Z", "2026-01-31T12:00:00Z"),
        (render.percent, float("nan"), "nan"),
        (render.plain, {"b": [1, 2], "a": 0.5}, "a=0.5,b=1,2"),
    ],
)
def test_values_are_shown_as_people_read_them(show, value, text):
    assert show(value, NOW) == text
