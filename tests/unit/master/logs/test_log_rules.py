from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.logs.rules import (
    MAX_LINE_BYTES,
    LineSplitter,
    LogQuery,
    LogSearchQuery,
    check_log_query,
    check_search_query,
    file_name,
    merge,
    read_cursor,
)
from ops_system.model.errors import Invalid
from ops_system.model.logtimes import LineTimes, fixed_zone
from ops_system.protocol.logs import LogLine, LogLines

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def taken(splitter):
    found = [line.text for line in splitter.lines]
    splitter.lines.clear()
    return found


def fed(splitter, chunk):
    splitter.feed(chunk)
    return taken(splitter)


def test_lines_are_cut_at_line_ends_only():
    splitter = LineSplitter()
    assert fed(splitter, b"one\ntw") == ["one"]
    assert fed(splitter, b"o\r\n\nthr") == ["two", ""]
    splitter.flush()
    assert taken(splitter) == ["thr"]
    splitter.flush()
    assert taken(splitter) == []


def test_a_character_split_between_chunks_is_whole():
    splitter = LineSplitter()
    data = "\u6d4b\u8bd5\n".encode()
    assert fed(splitter, data[:2]) == []
    assert fed(splitter, data[2:]) == ["\u6d4b\u8bd5"]


def test_a_line_without_end_does_not_grow_for_ever():
    splitter = LineSplitter()
    assert [len(text) for text in fed(splitter, b"x" * (3 * MAX_LINE_BYTES + 5))] == [MAX_LINE_BYTES] * 3
    splitter.flush()
    assert [(len(line.text), line.offset) for line in splitter.lines] == [(5, 3 * MAX_LINE_BYTES)]


def test_lines_have_their_place_and_time():
    splitter = LineSplitter()
    splitter.begin(1000, LineTimes(fixed_zone(3600), BEGAN).of)
    splitter.feed(b"before\n2026-01-02 04:04:05 one\n  more\r\n")
    splitter.begin(5000, LineTimes(fixed_zone(0), BEGAN).of)
    splitter.feed(b"far\n")
    assert [(line.offset, line.at) for line in splitter.lines] == [
        (1000, None),
        (1007, BEGAN),
        (1031, BEGAN),
        (5000, BEGAN),
    ]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_no_byte_is_lost_or_doubled(chunks):
    splitter = LineSplitter()
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.flush()
    whole = b"".join(chunks)
    expected = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in whole.split(b"\n")]
    if whole.split(b"\n")[-1] == b"":
        expected.pop()
    assert all(
        whole[line.offset :].startswith(line.text.encode()) for line in splitter.lines if "\ufffd" not in line.text
    )
    assert taken(splitter) == expected


def test_file_names_are_plain():
    assert file_name("ins_abcdef123456", "Access Log") == "ins_abcdef123456-Access-Log.log"
    assert file_name("../x", '"; rm\r\n.log') == "x-rm-.log"


@pytest.mark.parametrize(
    "query",
    [
        LogQuery(tail=0),
        LogQuery(tail=2001),
        LogQuery(before=-1),
        LogQuery(before=1, after=1),
        LogQuery(around=1, at=BEGAN),
        LogQuery(at=BEGAN.replace(tzinfo=None)),
    ],
)
def test_questions_out_of_range(query):
    with pytest.raises(Invalid):
        check_log_query(query)


@pytest.mark.parametrize(
    "query",
    [
        LogSearchQuery("x", limit=0),
        LogSearchQuery("x", start=-1),
        LogSearchQuery("x", since=BEGAN.replace(tzinfo=None)),
    ],
)
def test_searches_out_of_range(query):
    with pytest.raises(Invalid):
        check_search_query(query)
    check_search_query(LogSearchQuery("x", since=BEGAN, until=BEGAN, limit=2000, start=0))


class FakeLog:
    """A log of lines of 10 bytes at given seconds; None: without a time."""

    def __init__(self, seconds):
        times = [None if one is None else BEGAN + timedelta(seconds=one) for one in seconds]
        self.lines = [LogLine(at, f"line {n}", n * 10) for n, at in enumerate(times)]

    def page(self, tail, before):
        end = len(self.lines) * 10
        shown = [line for line in self.lines if before is None or line.offset < before][-tail:]
        return LogLines(tuple(shown), shown[0].offset if shown and shown[0].offset else None, None, 0, end)


def pages_of(logs, count):
    """Read all pages, the last first; return the lines as (instance, text)."""
    found, cursor = [], {}
    while True:
        asked = {one: log.page(count, cursor.get(one)) for one, log in logs.items() if not cursor or cursor.get(one)}
        lines, before = merge(asked, cursor, count)
        assert len(lines) <= count
        found = [(line.instance_id, line.text, line.at) for line in lines] + found
        if before is None:
            return found
        cursor = read_cursor(before)


@given(
    st.dictionaries(
        st.sampled_from(["ins_a", "ins_b", "ins_c"]),
        st.lists(st.integers(0, 20)).map(sorted).map(FakeLog),
        max_size=3,
    ),
    st.integers(1, 7),
)
def test_pages_of_many_logs_give_each_line_once_by_time(logs, count):
    found = pages_of(logs, count)
    assert [at for _, _, at in found] == sorted(at for _, _, at in found)
    for name, log in logs.items():
        assert [text for one, text, _ in found if one == name] == [line.text for line in log.lines]


def test_a_log_without_times_gives_its_share():
    logs = {"ins_a": FakeLog([None] * 10), "ins_b": FakeLog(range(10))}
    lines, before = merge({one: log.page(4, None) for one, log in logs.items()}, {}, 4)
    assert [(line.instance_id, line.text) for line in lines] == [("ins_b", f"line {n}") for n in range(6, 10)]
    assert read_cursor(before) == {"ins_a": 100, "ins_b": 60}
    assert {(one, text) for one, text, _ in pages_of(logs, 4)} == {
        (one, f"line {n}") for one in logs for n in range(10)
    }


@pytest.mark.parametrize("text", ["ins_a", "ins_a:x", "a:1:2"])
def test_a_cursor_that_is_none(text):
    with pytest.raises(Invalid):
        read_cursor(text)
