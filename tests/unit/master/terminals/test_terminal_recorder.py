"""A recording takes what a session says, whatever else comes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops_system.master.terminals.recorder import Recorder
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.protocol.terminals import TerminalExit, TerminalReady
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.streams import Stream

READY = TerminalReady("s", "web", "", 80, 24, 0, read_only=True)


def said(*pieces: tuple[Channel, bytes]) -> Stream:
    stream = Stream(1, lambda _frame: True, lambda _id: None)
    for channel, data in pieces:
        assert stream.on_data(StreamData(stream_id=1, data=encode_piece(channel, data)))
    return stream


def make(path: Path, max_bytes: int = 10_000) -> Recorder:
    return Recorder(path, SystemClock(), datetime(2026, 5, 4, tzinfo=UTC), "web", max_bytes)


def word(struct: msgspec.Struct) -> tuple[Channel, bytes]:
    return Channel.CONTROL, msgspec.json.encode(struct)


async def test_words_of_a_newer_worker_are_passed_over(tmp_path):
    path, news = tmp_path / "a.cast", (Channel.CONTROL, b'{"type": "news"}')
    stream = said(word(READY), news, (Channel.STDOUT, b"hello"), (Channel.CONTROL, b"{"), word(TerminalExit(0, None)))
    recorder = make(path)
    assert await recorder.record(stream) is None
    assert [json.loads(line)[2] for line in path.read_text().splitlines()[1:]] == ["hello"]
    assert recorder.size_bytes == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600


async def test_why_it_ended_early_is_told(tmp_path):
    lost = said(word(READY))
    lost.on_close(StreamClose(stream_id=1, code="unavailable", message="gone"))
    full = said(word(READY), (Channel.STDOUT, b"x" * 1000))
    unwritable = said(word(READY))
    reasons = [
        await make(tmp_path / "b.cast").record(lost),
        await make(tmp_path / "c.cast", 500).record(full),
        await make(tmp_path / "none" / "d.cast").record(unwritable),
    ]
    assert [reason.code for reason in reasons if reason] == [
        "recording_lost",
        "recording_full",
        "recording_unwritable",
    ]


async def test_a_session_that_is_over_before_its_last_words_are_read_has_ended_well(tmp_path):
    stream = said(word(READY), (Channel.STDOUT, b"bye"), word(TerminalExit(0, None)))
    stream.on_close(StreamClose(stream_id=1))
    assert await make(tmp_path / "e.cast").record(stream) is None
    assert "bye" in (tmp_path / "e.cast").read_text()
