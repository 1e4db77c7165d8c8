import asyncio
import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.processes import loglines
from ops_system.processes.filelog import FileLog
from ops_system.processes.tail import Place, describe, read_bytes, read_lines
from tests.fakes.logs import follow


def file_log(path):
    return FileLog(path.parent, PurePosixPath(path.name))


def texts(found):
    return [line.text for line in found.lines]


def test_the_last_lines_with_their_offsets(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\nthree\nfo")
    found = read_lines(file_log(log), 2)
    assert [(line.offset, line.text) for line in found.lines] == [(8, "three"), (14, "fo")]
    earlier = read_lines(file_log(log), 5, Place(found.before))
    assert texts(earlier) == ["one", "two"]
    assert earlier.before is None


def test_search_looks_through_all_lines(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(30_000)))
    assert texts(read_lines(file_log(log), 2, q="line 7"))[-1] == "line 7999"
    assert texts(read_lines(file_log(log), 5, q="line 12345")) == ["line 12345"]


def test_a_missing_log_is_empty_and_odd_files_are_refused(tmp_path):
    assert read_lines(file_log(tmp_path / "none")).lines == ()
    assert describe(file_log(tmp_path / "none"), "stdout").size_bytes == 0
    assert read_bytes(file_log(tmp_path / "none"), 0, 10).data == b""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("fifo", "link"):
        with pytest.raises(Invalid):
            read_lines(file_log(tmp_path / name))


def test_bytes_are_read_in_pieces(tmp_path):
    (tmp_path / "log").write_bytes(b"0123456789")
    found = read_bytes(file_log(tmp_path / "log"), 4, 3)
    assert (found.data, found.size_bytes) == (b"456", 10)
    assert read_bytes(file_log(tmp_path / "log"), 10, 3).data == b""


def test_invalid_utf8_is_shown_not_raised(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe\n")
    assert texts(read_lines(file_log(tmp_path / "log"))) == ["\ufffd\ufffd"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"").replace(b"\xff", b"")), max_size=40),
    st.booleans(),
    st.integers(1, 7),
)
def test_paging_backwards_gives_every_line_once(tmp_path_factory, lines, is_complete, page):
    log = tmp_path_factory.mktemp("log") / "log"
    data = b"\n".join(lines) + (b"\n" if is_complete and lines else b"")
    log.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loglines, "BLOCK_BYTES", 16)
        seen, before = [], None
        while True:
            found = read_lines(file_log(log), page, Place(before))
            seen = list(found.lines) + seen
            before = found.before
            if before is None:
                break
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line.text for line in seen] == [line.decode(errors="replace").removesuffix("\r") for line in expected]
    assert all(data[line.offset :].startswith(raw) for line, raw in zip(seen, expected, strict=True))


def test_a_line_without_an_end_comes_in_pieces(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n" + b"x" * 300_000 + b"\nlast\n")
    found = read_lines(file_log(log), 100)
    assert texts(found)[0] == "first"
    assert texts(found)[-1] == "last"
    assert sum(map(len, texts(found)[1:-1])) == 300_000
    assert max(map(len, texts(found))) < 3 * loglines.MAX_LINE_BYTES


async def test_follow_sees_growth_truncation_and_replacement(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"old")
    async with asyncio.timeout(30):
        log.write_bytes(b"old+new")
        assert await anext(follow(file_log(log), 3)) == b"+new"
        pieces = b""
        growing = follow(file_log(log), 0)
        pieces += await anext(growing)
        log.write_bytes(b"x")
        assert await anext(growing) == b"x"
        fresh = tmp_path / "fresh"
        fresh.write_bytes(b"fresh")
        fresh.replace(log)
        assert await anext(growing) == b"fresh"
        assert pieces == b"old+new"
        await growing.aclose()


async def test_follow_waits_for_a_file_that_is_not_there_yet(tmp_path):
    log = tmp_path / "log"

    async def write():
        log.write_bytes(b"here")

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(write())
        assert await anext(follow(file_log(log), 0)) == b"here"
