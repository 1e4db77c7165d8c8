import gzip
import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Invalid, NotFound
from ops_system.processes import gzips
from ops_system.processes.filelog import FileLog
from ops_system.processes.gzips import GzipText
from ops_system.processes.tail import Follower, Place, read_lines


@pytest.fixture
def home(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path


def log_of(home, name="logs/access.log", kept=None):
    return FileLog(home, PurePosixPath(name), kept)


def offset_of(log, text):
    return next(line.offset for line in read_lines(log, 2000).lines if line.text == text)


def line_at(log, offset):
    return next((line.text for line in read_lines(log, 10, Place(around=offset)).lines if line.offset == offset), None)


LONG = "x" * 300 + "\n"


def write(path, text, mode="a", mtime_s=None):
    with path.open(mode, newline="\n") as file:
        file.write(text)
    if mtime_s is not None:
        os.utime(path, (mtime_s, mtime_s))


def pack(path, mtime_s):
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, (mtime_s, mtime_s))
    path.unlink()


def texts(log, place=None):
    return [line.text for line in read_lines(log, 2000, place or Place()).lines]


def whole(log):
    spans = log.spans()
    data, at = b"", spans[0][0]
    while piece := log.read(at, 7).data:
        data += piece
        at += len(piece)
    return data.decode()


def test_old_files_of_every_naming_are_read_with_the_live_one(home):
    live = home / "logs/access.log"
    write(live.with_name("access.log-20260101"), "one\n", mtime_s=100)
    pack(live.with_name("access.log-20260101"), 100)
    write(live.with_name("access.log.2"), "two\n", mtime_s=200)
    pack(live.with_name("access.log.2"), 200)
    write(live.with_name("access.log.1"), "three\n", mtime_s=300)
    write(live, "four\n")
    write(live.with_name("access.log.bak"), "no\n")
    write(live.with_name("other.log"), "no\n")
    log = log_of(home)
    assert texts(log) == ["one", "two", "three", "four"]
    assert whole(log) == "one\ntwo\nthree\nfour\n"
    assert log.spans() == [(0, 19)]


async def test_offsets_and_followers_go_through_a_rotation_by_renaming(home):
    live = home / "logs/access.log"
    write(live, "one\ntwo\n")
    log = log_of(home)
    follower = await Follower.at_end(log)
    write(live, "three\n")
    live.rename(live.with_name("access.log.1"))
    write(live, "four\n")
    assert await follower.read() + await follower.read() == b"three\nfour\n"
    pack(live.with_name("access.log.1"), 50)
    write(live, "five\n")
    assert await follower.read() == b"five\n"
    lines = read_lines(log).lines
    assert [(line.offset, line.text) for line in lines] == [
        (0, "one"),
        (4, "two"),
        (8, "three"),
        (14, "four"),
        (19, "five"),
    ]


async def test_a_copy_that_is_then_truncated_is_shown_once(home):
    live = home / "logs/access.log"
    write(live, "one\n")
    log = log_of(home)
    follower = await Follower.at_end(log)
    write(live, "two\n")
    write(live.with_name("access.log.1"), "one\ntwo\n")
    write(live, "3\n", "w")
    assert await follower.read() + await follower.read() == b"two\n3\n"
    assert texts(log) == ["one", "two", "3"]


async def test_truncation_and_recreation_go_on_behind(home):
    live = home / "logs/access.log"
    write(live, "one\n")
    log = log_of(home)
    follower = await Follower.at_end(log)
    write(live, "2\n", "w")
    assert await follower.read() == b"2\n"
    live.unlink()
    assert await follower.read() == b""
    write(live, "three\n")
    assert await follower.read() == b"three\n"
    assert texts(log) == ["three"]
    assert log.spans()[-1][1] == follower.offset


def test_the_oldest_file_may_go_without_moving_the_rest(home):
    live = home / "logs/access.log"
    write(live.with_name("access.log.1"), "one\n", mtime_s=100)
    write(live, "two\n")
    log = log_of(home)
    assert texts(log) == ["one", "two"]
    live.with_name("access.log.1").unlink()
    assert [(line.offset, line.text) for line in read_lines(log).lines] == [(4, "two")]


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "device"])
async def test_what_becomes_no_file_is_told_and_nothing_hangs(home, kind):
    live = home / "logs/access.log"
    write(live, "one\n")
    log = log_of(home)
    follower = await Follower.at_end(log)
    live.unlink()
    match kind:
        case "fifo":
            os.mkfifo(live)
        case "link":
            live.symlink_to("/etc/passwd")
        case "folder":
            live.mkdir()
        case _:
            live.symlink_to("/dev/zero")
    with pytest.raises(Invalid):
        await follower.read()
    with pytest.raises(Invalid):
        log.check()
    with pytest.raises(Invalid):
        read_lines(log)


async def test_a_folder_that_becomes_a_link_leads_nowhere(home):
    write(home / "logs/access.log", "one\n")
    secret = home / "secret"
    secret.mkdir()
    write(secret / "access.log", "the key\n")
    log = log_of(home)
    follower = await Follower.at_end(log)
    (home / "logs").rename(home / "gone")
    (home / "logs").symlink_to(secret)
    with pytest.raises(Invalid, match="link"):
        await follower.read()
    with pytest.raises(Invalid, match="link"):
        log.spans()


def test_an_old_file_that_is_a_link_or_a_pipe_is_left_out(home):
    live = home / "logs/access.log"
    write(live, "one\n")
    live.with_name("access.log.1").symlink_to("/etc/passwd")
    os.mkfifo(live.with_name("access.log.2"))
    assert texts(log_of(home)) == ["one"]


def test_a_missing_file_is_empty_and_told_by_check(home):
    log = log_of(home)
    assert log.spans() == []
    assert log.read(0, 10).data == b""
    with pytest.raises(NotFound, match="not written yet"):
        log.check()
    assert log_of(home, "none/access.log").spans() == []


def test_a_damaged_old_file_ends_early(home):
    live = home / "logs/access.log"
    write(live.with_name("access.log.1"), "".join(f"line {n}\n" for n in range(50_000)), mtime_s=100)
    pack(live.with_name("access.log.1"), 100)
    packed = live.with_name("access.log.1.gz")
    data = bytearray(packed.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = b"\0" * 200
    packed.write_bytes(data)
    write(live.with_name("access.log.2.gz"), "this is no gzip file", mtime_s=50)
    write(live, "last\n")
    found = texts(log_of(home), Place(after=0))
    assert found[:2] == ["line 0", "line 1"]
    assert texts(log_of(home))[-1] == "last"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=8), st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 500))))
def test_any_place_of_a_gzip_file_in_members(tmp_path_factory, members, reads):
    path = tmp_path_factory.mktemp("gz") / "x.gz"
    path.write_bytes(b"".join(gzip.compress(member) for member in members))
    data = b"".join(members)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzips, "MARK_BYTES", 64)
        patch.setattr(gzips, "MAX_MARKS", 4)
        patch.setattr(gzips, "READ_BYTES", 48)
        text = GzipText(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
        try:
            for offset, length in [*reads, (0, 5000)]:
                assert text.read(offset, length) == data[offset : offset + length]
        finally:
            text.close()


@pytest.mark.parametrize("meanwhile", ["nothing", "written", "renamed", "packed", "copied", "swept"])
def test_places_hold_over_a_restart_whatever_happened_meanwhile(home, meanwhile):
    kept, live = home / "places.json", home / "logs/access.log"
    old, packed = live.with_name("access.log.1"), live.with_name("access.log.2")
    write(packed, "first\n", mtime_s=50)
    pack(packed, 50)
    write(old, "one\n" + LONG, mtime_s=100)
    write(live, "two\n" + LONG)
    places = {text: offset_of(log_of(home, kept=kept), text) for text in ("first", "one", "two")}
    write(live, "three\n")
    match meanwhile:
        case "written":
            write(live, "more\n")
        case "renamed" | "packed" | "swept":
            packed.with_name("access.log.2.gz").rename(live.with_name("access.log.3.gz"))
            old.rename(packed)
            live.rename(old)
            write(live, "four\n")
            if meanwhile != "renamed":
                pack(packed, 100)
                pack(old, 150)
            if meanwhile == "swept":
                live.with_name("access.log.3.gz").unlink()
        case "copied":
            old.rename(packed)
            packed.with_name("access.log.2.gz").rename(live.with_name("access.log.3.gz"))
            write(old, live.read_text(), mtime_s=200)
            write(live, "four\n", "w")
    log = log_of(home, kept=kept)
    found = {text: line_at(log, offset) for text, offset in places.items()}
    assert found == {"first": None if meanwhile == "swept" else "first", "one": "one", "two": "two"}
    assert texts(log)[-1] in {"three", "more", "four"}
    assert offset_of(log, "three") == places["two"] + 4 + len(LONG)


@pytest.mark.parametrize("size", [1, 40])
def test_no_place_is_given_twice_when_a_log_was_replaced_meanwhile(home, size):
    kept, live = home / "places.json", home / "logs/access.log"
    write(live, "one\ntwo\n")
    place = offset_of(log_of(home, kept=kept), "two")
    write(live, "three\n" * 10)
    live.unlink()
    write(live, "other\n" * size)
    log = log_of(home, kept=kept)
    assert line_at(log, place) is None
    assert log.spans()[0][0] > place
    again = log_of(home, kept=kept)
    assert again.spans() == log.spans()


def test_a_log_that_began_empty_is_known_by_what_it_holds_later(home):
    kept, live = home / "places.json", home / "logs/access.log"
    write(live, "")
    log = log_of(home, kept=kept)
    assert log.spans() == []
    write(live, LONG + "two\n")
    place = offset_of(log, "two")
    live.rename(live.with_name("access.log.1"))
    pack(live.with_name("access.log.1"), 50)
    assert line_at(log_of(home, kept=kept), place) == "two"


def test_damaged_places_begin_anew_and_a_folder_that_takes_none_is_no_end(home):
    kept, live = home / "places.json", home / "logs/access.log"
    write(live, "one\n")
    kept.write_text("no places")
    assert texts(log_of(home, kept=kept)) == ["one"]
    assert texts(log_of(home, kept=live / "places.json")) == ["one"]
