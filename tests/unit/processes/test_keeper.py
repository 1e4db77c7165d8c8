import os
import signal
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.processes import keeper
from ops_system.processes.base import Exit
from ops_system.processes.keeper import ARGUMENT, Frames, Start, pack, parse_note
from ops_system.processes.keepers import is_keeper

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no keeper")

FIELDS = st.lists(st.binary(max_size=40).filter(lambda field: b"\0" not in field), min_size=1, max_size=6)


@given(st.lists(FIELDS, max_size=6), st.integers(1, 7))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames, step):
    stream = b"".join(pack(*fields) for fields in frames)
    reader = Frames()
    found = [fields for at in range(0, len(stream), step) for fields in reader.feed(stream[at : at + step])]
    assert found == frames


def test_a_field_with_a_nul_or_too_much_is_refused():
    with pytest.raises(ValueError, match="null byte"):
        pack("start", "a\0b")
    with pytest.raises(ValueError, match="too long"):
        pack("start", "x" * (keeper.MAX_FRAME_BYTES + 1))


def test_a_request_is_read_as_it_was_written():
    frame = pack("start", "i1", 7, "/run/i1", "/home", "/out", "/err", 2, "/bin/a", "b c", "A=1", "B=x=y", "C=")
    ((kind, *fields),) = Frames().feed(frame)
    start = Start(fields)
    assert kind == b"start"
    assert (start.instance_id, int(start.number), start.run_dir, start.dir) == (b"i1", 7, b"/run/i1", b"/home")
    assert start.argv == [b"/bin/a", b"b c"]
    assert start.env == {b"A": b"1", b"B": b"x=y", b"C": b""}


def test_a_note_counts_only_complete_and_of_its_own_start():
    assert parse_note(b"3 256\n", 3) == 256
    assert parse_note(b"3 256\n", 0) == 256
    assert [parse_note(data, 3) for data in (b"", b"3 7", b"2 7\n", b"3\n", b"3 x\n", b"x 7\n")] == [None] * 6


def test_an_exit_with_143_is_not_a_sigterm():
    from ops_system.processes.notes import exit_of_status

    assert exit_of_status(143 << 8) == Exit(code=143)
    assert exit_of_status(signal.SIGTERM) == Exit(signal="SIGTERM")
    assert exit_of_status(signal.SIGSEGV | 0x80) == Exit(signal="SIGSEGV")
    assert exit_of_status(signal.SIGRTMIN + 3) == Exit(signal="SIGRTMIN+3")


def test_a_keeper_is_known_by_its_command_line():
    assert is_keeper((sys.executable, "-I", "-S", keeper.__file__, "/state"))
    assert is_keeper(("/opt/worker", ARGUMENT, "/state"))
    assert not is_keeper(("/bin/sh", "-c", "keeper.py"))
    assert not is_keeper(())


def test_start_time_of_this_process_and_of_none():
    assert keeper.read_start_time(os.getpid()) > 0
    assert keeper.read_start_time(0) == 0


def test_a_slow_group_holds_back_its_own_process_alone(tmp_path):
    fifo = tmp_path / "slow"
    os.mkfifo(fifo)  # opening it waits for a reader, as the kernel sometimes waits
    groups = keeper.Groups()
    groups.take(os.fsencode(fifo), 71)
    groups.settle(70)
    waiting = threading.Thread(target=groups.settle, args=(71,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    assert fifo.read_bytes() == b"71"
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_group_that_is_gone_holds_nothing_back(tmp_path):
    groups = keeper.Groups()
    groups.take(os.fsencode(tmp_path / "gone" / "procs"), 71)
    groups.settle(71)


@pytest.mark.parametrize("may_have_thread", [True, False])
def test_where_no_thread_may_be_a_group_is_joined_at_once(tmp_path, monkeypatch, may_have_thread):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    procs = tmp_path / "procs"
    procs.touch()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    groups = keeper.Groups(may_have_thread=may_have_thread)
    groups.take(os.fsencode(procs), 71)
    groups.settle(71)
    assert procs.read_bytes() == b"71"
