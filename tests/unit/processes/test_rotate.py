import asyncio
import errno
import gzip
import importlib
import os
import threading

import pytest

from ops_system.processes import holes, logstate
from ops_system.processes.logstate import backups
from ops_system.processes.rotate import OutputLog, Piece, RotateRules
from ops_system.processes.tail import Place, describe, read_bytes, read_lines
from ops_system.runtime.tasks import running
from tests.fakes.logs import follow
from tests.fakes.outputs import everything, numbers_in, start_writer

RULES = RotateRules(max_size_bytes=100_000, max_backups=3)
LINES = b"".join(b"%09d and some words\n" % number for number in range(20_000))  # 500 000 bytes


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def rotate_all(log, rules=RULES):
    done = []
    while (rotation := log.rotate(rules)).archived_bytes:
        done.append(rotation)
    return done


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stdout.log"


@pytest.mark.parametrize("compress", [True, False])
def test_archives_are_numbered_and_end_with_a_line(path, compress):
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, compress=compress, flood_factor=100)
    append(path, LINES)
    assert len(rotate_all(OutputLog(path), rules)) == 5
    suffix = ".gz" if compress else ""
    assert [old.name for old in backups(path)] == [f"stdout.log.{number}{suffix}" for number in range(1, 6)]
    packed = [gzip.decompress(old.read_bytes()) if compress else old.read_bytes() for old in backups(path)]
    assert all(data.endswith(b"\n") and len(data) <= 100_000 for data in packed)
    assert numbers_in(everything(path)) == list(range(20_000))
    assert path.stat().st_size < 5 * 4096


def test_only_so_many_archives_are_kept(path):
    log = OutputLog(path)
    for start in range(0, 500_000, 100_000):
        append(path, LINES[start : start + 100_000])
        assert log.rotate(RULES).archived_bytes == 100_000
    assert len(backups(path)) == 3
    assert log.spans() == [(200_000, 500_000)]
    assert log.read(0, 25).offset == 200_000


def test_none_are_kept_when_none_are_wanted(path):
    append(path, LINES[:110_000])
    log = OutputLog(path)
    assert log.rotate(RotateRules(max_size_bytes=100_000, max_backups=0)).archived_bytes == 100_000
    assert backups(path) == []
    assert log.spans() == [(100_000, 110_000)]


def test_a_line_without_an_end_is_cut_and_said(path):
    append(path, b"x" * 150_000)
    done = OutputLog(path).rotate(RULES)
    assert (done.archived_bytes, done.is_line_cut) == (100_000, True)


def test_offsets_stay_true_through_rotations_and_a_new_worker(path):
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, flood_factor=100)
    append(path, LINES)
    log = OutputLog(path)
    before = read_lines(log, 100)
    rotate_all(log, rules)
    append(path, b"%09d and some words\n" % 20_000)
    for reader in (log, OutputLog(path)):
        page = read_lines(reader, 100, Place(before.lines[-1].offset + 25))
        assert page.lines == before.lines
        assert read_lines(reader, 1).lines[0].offset == 500_000
        assert describe(reader, "stdout").size_bytes == 500_025


def test_paging_backwards_goes_through_all_archives(path):
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, flood_factor=100)
    append(path, LINES)
    log = OutputLog(path)
    rotate_all(log, rules)
    numbers, before = [], None
    while True:
        page = read_lines(log, 1999, Place(before))
        numbers = [int(line.text[:9]) for line in page.lines] + numbers
        before = page.before
        if before is None:
            break
    assert numbers == list(range(20_000))


def test_a_download_has_every_byte(path):
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, flood_factor=100)
    append(path, LINES)
    log = OutputLog(path)
    rotate_all(log, rules)
    data, at = b"", 0
    while (answer := read_bytes(log, at, 70_000)).data:
        assert answer.offset == at
        data += answer.data
        at += len(answer.data)
    assert data == LINES


def test_a_flood_is_cut_off_at_its_old_end_and_the_gap_is_marked(path):
    append(path, LINES)
    log = OutputLog(path)
    first = log.rotate(RULES)
    assert first.dropped_bytes == 400_000
    marker, *rest = everything(path).splitlines(keepends=True)
    assert marker == b"[400000 bytes of output were dropped here: they came faster than they could be archived]\n"
    assert numbers_in(b"".join(rest)) == list(range(16_000, 20_000))
    assert log.read(5, 1000).data.startswith(marker)
    assert log.spans() == [(400_000 - len(marker), 500_000)]


def test_a_truncated_and_a_replaced_file_begin_anew_after_what_was(path):
    log = OutputLog(path)
    append(path, LINES[:150_000])
    log.rotate(RULES)
    path.write_bytes(b"")
    append(path, b"after\n")
    assert read_lines(log, 1).lines[0].text == "after"
    path.unlink()
    append(path, b"fresh\n")
    assert [line.text for line in read_lines(log, 1).lines] == ["fresh"]
    assert read_lines(log, 2).lines[0].text == "000003999 and some words"


def test_archives_that_somebody_removed_are_gone_and_no_trouble(path):
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, flood_factor=100)
    append(path, LINES)
    log = OutputLog(path)
    rotate_all(log, rules)
    for old in backups(path)[1:]:
        old.unlink()
    assert log.read(0, 25) == Piece(400_000, LINES[400_000:400_025])
    assert OutputLog(path).spans() == [(400_000, 500_000)]
    append(path, LINES[:100_000])
    assert log.rotate(rules).archived_bytes == 100_000
    assert log.spans() == [(400_000, 600_000)]


def test_a_full_disk_leaves_the_log_whole(path, monkeypatch):
    append(path, LINES[:150_000])

    def no_space(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("ops_system.processes.packs._write_all", "ops_system.processes.rotate.save"):
        with monkeypatch.context() as patched:
            patched.setattr(name, no_space)
            with pytest.raises(OSError, match="No space"):
                OutputLog(path).rotate(RULES)
        assert path.read_bytes() == LINES[:150_000]
        assert list(path.parent.iterdir()) == [path]


def test_a_flood_on_a_full_disk_is_cut_off_and_told(path, monkeypatch):
    append(path, LINES)
    log = OutputLog(path)

    def no_space(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ops_system.processes.packs._write_all", no_space)
    monkeypatch.setattr("ops_system.processes.rotate.save", no_space)
    assert log.rotate(RULES).dropped_bytes == 400_000
    assert path.stat().st_blocks * 512 <= 100_000 + 2 * 4096
    with pytest.raises(OSError, match="No space"):
        log.rotate(RULES)
    for reader in (log, OutputLog(path)):
        assert reader.read(0, 1_000_000).data == LINES[400_000:]


def test_old_files_go_by_age(path):
    append(path, LINES[:100_000])
    old = path.with_name("stdout.log.1")
    old.write_bytes(b"old\n")
    os.utime(old, (1000, 1000))
    OutputLog(path).rotate(RotateRules(max_size_bytes=100_000, max_age_s=100))
    assert [found.name for found in backups(path)] == ["stdout.log.1.gz"]


def test_a_damaged_archive_and_a_damaged_state_are_no_trouble(path):
    append(path, LINES[:250_000])
    log = OutputLog(path)
    log.rotate(RotateRules(max_size_bytes=100_000, flood_factor=100))
    packed = backups(path)[0]
    packed.write_bytes(packed.read_bytes()[:24] + b"\0" * 1000)
    assert log.read(0, 25) == Piece(100_000, LINES[100_000:100_025])
    path.with_name("stdout.log.state").write_bytes(b"{")
    assert numbers_in(path.read_bytes().lstrip(b"\0")) == list(range(4000, 10_000))
    assert OutputLog(path).read(0, 25).data == LINES[100_000:100_025]


STEPS = [
    ("packs.os.fsync", "before"),
    ("rotate.save", "before"),
    ("rotate.save", "after"),
    ("rotate._shift", "after"),
    ("rotate.sync_dir", "before"),
    ("holes.punch", "before"),
    ("holes.punch", "after"),
    ("holes.collapse", "before"),
    ("holes.collapse", "after"),
]


class Killed(BaseException):
    """Stands for kill -9: nothing that follows may run."""


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(("step", "when"), STEPS)
def test_a_crash_at_any_step_neither_loses_nor_doubles_a_line(path, monkeypatch, step, when, nth):
    """The rotation ends at the step, without cleaning up behind itself, and another worker goes on."""
    append(path, LINES[:250_000])
    rules = RotateRules(max_size_bytes=100_000, max_backups=10, flood_factor=100)
    module, _, name = f"ops_system.processes.{step}".rpartition(".")
    real = _resolve(module, name)
    calls = []

    def stepping(*args, **options):
        calls.append(args)
        if len(calls) == nth and when == "before":
            raise Killed
        result = real(*args, **options)
        if len(calls) == nth:
            raise Killed
        return result

    monkeypatch.setattr(f"{module}.{name}", stepping)
    monkeypatch.setattr("pathlib.Path.unlink", _leave_unfinished)
    with pytest.raises(Killed):
        rotate_all(OutputLog(path), rules)
    monkeypatch.undo()
    append(path, LINES[250_000:])
    after = OutputLog(path)
    assert _all_numbers(after) == list(range(20_000))
    assert after.spans() == [(0, 500_000)]
    rotate_all(after, rules)
    assert _all_numbers(after) == list(range(20_000))
    assert numbers_in(everything(path)) == list(range(20_000))


def _resolve(module, name):
    head, _, tail = module.rpartition(".")
    owner = importlib.import_module(head) if tail == "os" else importlib.import_module(module)
    return getattr(getattr(owner, tail) if tail == "os" else owner, name)


def _leave_unfinished(self, missing_ok=False):
    """A killed process does not clean up."""
    if not self.name.endswith(".rotating") and (self.exists() or not missing_ok):
        os.unlink(self)  # noqa: PTH108 - Path.unlink is what is replaced


def _all_numbers(log):
    data, at = b"", 0
    while (piece := log.read(at, 1_000_000)).data:
        data += piece.data
        at = piece.offset + len(piece.data)
    return numbers_in(data)


@pytest.mark.parametrize("way", ["collapse", "punch"])
async def test_a_million_lines_through_many_rotations(path, monkeypatch, way):
    """The archives, a follower and a reader each see every number once, in order."""
    if way == "punch":
        monkeypatch.setattr(holes, "collapse", lambda _fd, _length: False)
    count = 1_000_000
    rules = RotateRules(max_size_bytes=2_500_000, max_backups=100, flood_factor=1000)
    log = OutputLog(path)
    followed = bytearray()

    async def follow_all():
        async for data in follow(log, 0):
            followed.extend(data)

    async with running(follow_all(), "follower"):
        writer = start_writer(path, count)
        rotations = await asyncio.to_thread(_rotate_until_ended, log, rules, writer)
        async with asyncio.timeout(30):
            while len(followed) < count * 25:  # noqa: ASYNC110 - the follower has no end to wait for
                await asyncio.sleep(0.01)
    assert rotations >= 8
    assert numbers_in(bytes(followed)) == list(range(count))
    assert numbers_in(everything(path)) == list(range(count))
    assert _all_numbers(OutputLog(path)) == list(range(count))


def _rotate_until_ended(log, rules, writer):
    pause, rotations = threading.Event(), 0
    while writer.poll() is None:
        rotations += bool(log.rotate(rules).archived_bytes)
        pause.wait(0.002)
    return rotations + len(rotate_all(log, rules))


def test_without_holes_the_rest_is_written_back(path, monkeypatch):
    monkeypatch.setattr(holes, "punch", lambda _fd, _length: False)
    append(path, LINES)
    log = OutputLog(path)
    done = rotate_all(log, RotateRules(max_size_bytes=200_000, max_backups=10, flood_factor=100))
    assert all(rotation.is_lossy for rotation in done)
    assert path.stat().st_size == 100_000
    assert numbers_in(everything(path)) == list(range(20_000))
    assert _all_numbers(OutputLog(path)) == list(range(20_000))


def test_the_state_survives_as_it_is_written(path):
    state = logstate.LogState(1, 2, 3, 4, 5, (logstate.Archive(1, 2, 3),))
    logstate.save(path, state)
    assert logstate.load(path) == logstate.LogState(1, 2, 3, 4, 5)
