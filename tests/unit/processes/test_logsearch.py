import asyncio
import gzip
import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.logtimes import LineTimes, fixed_zone
from ops_system.processes import loglines, matcher, matching
from ops_system.processes.filelog import FileLog
from ops_system.processes.loglines import Block, blocks_backward, blocks_forward
from ops_system.processes.logsearch import search
from ops_system.processes.matching import open_matcher
from ops_system.processes.tail import Place, read_lines
from ops_system.protocol.logs import SearchLog

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
TIMES = LineTimes(fixed_zone(0), BEGAN)
LINES = 60_000


def stamp(number):
    return BEGAN + timedelta(seconds=number)


def line(number):
    own = f"{stamp(number).isoformat(' ')[:19]} request {number} took {number % 97} ms"
    return own if number % 10 else f"  continued {number}"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    home = tmp_path_factory.mktemp("search")
    text = [line(number) + "\n" for number in range(LINES)]
    (home / "app.log.2.gz").write_bytes(gzip.compress("".join(text[:20_000]).encode(), 1))
    (home / "app.log.1").write_text("".join(text[20_000:40_000]))
    (home / "app.log").write_text("".join(text[40_000:]))
    for age, name in enumerate(["app.log.1", "app.log.2.gz"]):
        os.utime(home / name, (1000 - age, 1000 - age))
    return FileLog(home, PurePosixPath("app.log"))


def wish(text, **more):
    return SearchLog(InstanceId("ins_1"), "app", text, **{"within_s": 60.0, **more})


async def hits(log, wanted, clock=lambda: 0.0):
    async with open_matcher(wanted.text, is_regex=wanted.is_regex, ignore_case=wanted.ignore_case) as looking:
        return await search(log, wanted, looking, TIMES.of, clock)


def texts(found):
    return [one.text for one in found.hits]


async def test_text_is_found_through_all_files_the_latest_first(log):
    found = await hits(log, wish("took 96 ms", limit=2000))
    expected = [line(n) for n in range(LINES) if "took 96 ms" in line(n)]
    assert texts(found) == expected[::-1]
    assert found.next is None
    assert found.done_bytes == found.total_bytes == log.spans()[-1][1]
    assert found.hits[0].at == stamp(int(found.hits[0].text.split()[3]))


@pytest.mark.parametrize("is_forward", [True, False])
async def test_pages_of_hits_give_each_once(log, is_forward):
    seen, start = [], None
    for _ in range(1000):
        found = await hits(log, wish("took 96 ms", limit=50, start=start, is_forward=is_forward))
        seen += texts(found)
        start = found.next
        if start is None:
            break
    expected = [line(n) for n in range(LINES) if "took 96 ms" in line(n)]
    assert seen == (expected if is_forward else expected[::-1])


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        (r"request (12345|54321) ", {"is_regex": True}, [54321, 12345]),
        (r"^  CONTINUED 7\d0$", {"is_regex": True, "ignore_case": True}, list(range(790, 690, -10))),
        ("REQUEST 777 ", {"ignore_case": True}, [777]),
        ("REQUEST 777 ", {}, []),
        ("request 3 (", {}, []),
    ],
)
async def test_expressions_and_case(log, text, more, expected):
    assert texts(await hits(log, wish(text, **more))) == [line(number) for number in expected]


async def test_a_search_is_bounded_by_time_of_lines(log):
    found = await hits(log, wish("took 9", since=stamp(30_001), until=stamp(30_100), limit=2000))
    expected = [line(n) for n in range(30_001, 30_100) if "took 9" in line(n)]
    assert texts(found) == expected[::-1]
    assert found.total_bytes < 10_000


async def test_it_stops_when_its_time_is_over_and_goes_on_where_it_was(log):
    ticks = itertools.count()
    seen, start, rounds = [], None, 0
    while True:
        found = await hits(log, wish("took 96 ms", limit=2000, start=start, within_s=0.5), lambda: float(next(ticks)))
        seen += texts(found)
        rounds += 1
        start = found.next
        if start is None:
            break
        assert 0 < found.done_bytes < found.total_bytes
    assert rounds > 1
    assert seen == [line(n) for n in range(LINES) if "took 96 ms" in line(n)][::-1]


@pytest.mark.parametrize("number", [1, 5, 20_003, 39_999, 59_999])
def test_jump_to_a_time(log, number):
    found = read_lines(log, 40, Place(at=stamp(number)), time_of=TIMES.of)
    assert found.at_offset is not None
    at = next(one for one in found.lines if one.offset == found.at_offset)
    assert at.text == line(number)
    assert len(found.lines) >= 10 if number < 10 or number == LINES - 1 else len(found.lines) == 40


def test_jump_before_and_behind_all_times(log, tmp_path):
    assert read_lines(log, 3, Place(at=stamp(-5)), time_of=TIMES.of).at_offset == log.spans()[0][0] + len(line(0)) + 1
    assert read_lines(log, 3, Place(at=stamp(10**7)), time_of=TIMES.of).lines[-1].text == line(LINES - 1)
    (tmp_path / "app.log").write_text("no time here\n" * 50_000)
    timeless = FileLog(tmp_path, PurePosixPath("app.log"))
    found = read_lines(timeless, 3, Place(at=stamp(5)), time_of=TIMES.of)
    assert (found.at_offset, len(found.lines)) == (None, 3)


def test_lines_after_and_around_a_place(log):
    first = read_lines(log, 100, Place(after=0), time_of=TIMES.of)
    assert [one.text for one in first.lines] == [line(n) for n in range(100)]
    assert first.before is None
    second = read_lines(log, 100, Place(after=first.after), time_of=TIMES.of)
    assert [one.text for one in second.lines] == [line(n) for n in range(100, 200)]
    around = read_lines(log, 10, Place(around=second.lines[50].offset + 3), time_of=TIMES.of)
    assert [one.text for one in around.lines] == [line(n) for n in range(145, 155)]
    assert read_lines(log, 10, Place(after=10**9)).lines == ()
    assert read_lines(log, 10, Place(around=10**9)).lines[-1].text == line(LINES - 1)


def test_a_line_without_a_time_has_the_one_before(log):
    found = read_lines(log, 3, Place(around=log.spans()[-1][1] - 5), time_of=TIMES.of)
    assert found.lines[-1].at == stamp(LINES - 1)
    page = read_lines(log, 10, Place(after=found.before), time_of=TIMES.of)
    assert all(one.at is not None for one in page.lines)
    ten = read_lines(log, 12, Place(after=0), time_of=TIMES.of).lines
    assert (ten[0].at, ten[10].at) == (None, stamp(9))


async def test_an_expression_that_explodes_is_told_and_its_process_ended(log, monkeypatch, tmp_path):
    monkeypatch.setattr(matching, "BLOCK_WITHIN_S", 0.3)
    (tmp_path / "app.log").write_text("a" * 200 + "!\n")
    evil = FileLog(tmp_path, PurePosixPath("app.log"))
    processes = []
    begin = asyncio.create_subprocess_exec

    async def started(*argv, **more):
        processes.append(await begin(*argv, **more))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    with pytest.raises(Invalid, match="takes too long"):
        await hits(evil, wish("(a+)+$", is_regex=True))
    assert processes[0].returncode is not None


@pytest.mark.parametrize(
    ("text", "is_regex"), [("", False), ("x" * 1001, False), ("a\nb", False), ("(", True), ("a{9999999999}", True)]
)
async def test_what_cannot_be_looked_for(log, text, is_regex):
    with pytest.raises(Invalid):
        await hits(log, wish(text, is_regex=is_regex))


async def test_unicode_without_regard_to_case(tmp_path):
    (tmp_path / "app.log").write_bytes("Ärger\nFEHLER \xff\n".encode("latin-1") + "ÄRGER 错误\n".encode())
    log = FileLog(tmp_path, PurePosixPath("app.log"))
    assert texts(await hits(log, wish("ärger", ignore_case=True))) == ["ÄRGER 错误"]
    assert texts(await hits(log, wish("错.$", is_regex=True))) == ["ÄRGER 错误"]
    assert texts(await hits(log, wish("^FEHLER .$", is_regex=True))) == ["FEHLER \ufffd"]


async def test_an_empty_log_has_no_hits(tmp_path):
    found = await hits(FileLog(tmp_path, PurePosixPath("app.log")), wish("x"))
    assert (found.hits, found.next, found.total_bytes) == ((), None, 0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"b\n", b"\n", b"cccccccccc", b"c" * 40 + b"\n"]), max_size=60))
def test_blocks_both_ways_hold_every_byte_once(tmp_path_factory, pieces):
    data = b"".join(pieces)
    home = tmp_path_factory.mktemp("blocks")
    (home / "log").write_bytes(data)
    log = FileLog(home, PurePosixPath("log"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loglines, "SCAN_BYTES", 16)
        patch.setattr(loglines, "WINDOW_BYTES", 48)
        back = list(blocks_backward(log, 0, len(data)))[::-1]
    for found in (back, list(blocks_forward(log, 0, len(data), 16))):
        assert b"".join(block.data for block in found) == data
        assert all(data[block.offset : block.end] == block.data for block in found)
        long_line = max((len(one) for one in data.split(b"\n")), default=0) >= 15
        assert long_line or all(block.data.endswith(b"\n") for block in found[:-1])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=8), max_size=12), st.booleans())
def test_the_matcher_tells_the_lines_that_match(lines, is_complete):
    block = "\n".join(lines).encode() + (b"\n" if is_complete and lines else b"")
    found = matcher.find(matcher.re.compile("^.?a|^$"), block)
    whole = block.split(b"\n")
    if block.endswith(b"\n"):
        whole.pop()
    starts = [0, *itertools.accumulate(len(one) + 1 for one in whole)]
    expected = [at for at, raw in zip(starts, whole, strict=False) if matcher.re.search("^.?a|^$", raw.decode())]
    assert found == expected
    assert Block(3, b"ab").end == 5
