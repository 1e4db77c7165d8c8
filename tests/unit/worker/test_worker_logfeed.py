import asyncio
from pathlib import PurePosixPath

import msgspec
import pytest

from ops_system.model.errors import Invalid
from ops_system.processes.filelog import FileLog
from ops_system.protocol.logs import FromLogFeed, LogDropped, LogPlace
from ops_system.protocol.pieces import Channel, PieceReader
from ops_system.runtime.tasks import running
from ops_system.worker import logfeed
from ops_system.worker.logfeed import feed

WITHIN_S = 30.0


class Listener:
    """The master's end: what is heard, in order. `gate` closed: it does not read."""

    def __init__(self):
        self.words = []
        self.data = b""
        self.at = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._heard = asyncio.Event()
        self._reader = PieceReader()

    async def write(self, data):
        await self.gate.wait()
        for channel, piece in self._reader.feed(data):
            if channel is Channel.CONTROL:
                word = msgspec.json.decode(piece, type=FromLogFeed)
                self.words.append(word)
                self.at = word.offset if isinstance(word, LogPlace) else self.at
            else:
                self.data += piece
                self.at += len(piece)
        self._heard.set()

    async def until(self, ready):
        async with asyncio.timeout(WITHIN_S):
            while not ready():
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").write_bytes(b"old\n")
    return FileLog(tmp_path, PurePosixPath("log"))


async def test_what_is_written_comes_with_its_place(log):
    listener = Listener()
    async with running(feed(log, None, listener.write), "feed"):
        await listener.until(lambda: listener.words)
        with log.path.open("a", newline="\n") as file:
            file.write("new\n")
        await listener.until(lambda: listener.data)
    assert listener.words == [LogPlace(4, listener.words[0].utc_offset_s)]
    assert listener.data == b"new\n"


async def test_a_listener_that_lags_gets_the_end_and_the_exact_count_of_what_is_left_out(log, monkeypatch):
    monkeypatch.setattr(logfeed, "MAX_LAG_BYTES", 300_000)
    monkeypatch.setattr(logfeed, "KEPT_BYTES", 50_000)
    listener = Listener()
    async with running(feed(log, None, listener.write), "feed"):
        await listener.until(lambda: listener.words)
        listener.gate.clear()
        with log.path.open("a", newline="\n") as file:
            for number in range(100_000):
                file.write(f"{number:09d}\n")
        listener.gate.set()
        await listener.until(lambda: listener.at == 1_000_004)
    dropped = [word for word in listener.words if isinstance(word, LogDropped)]
    assert sum(word.lines for word in dropped) + listener.data.count(b"\n") == 100_000
    assert sum(word.bytes for word in dropped) + len(listener.data) == 1_000_000
    assert listener.data.endswith(b"\n000099999\n")
    assert dropped


async def test_what_becomes_no_file_ends_it_with_a_reason(log):
    listener = Listener()

    async def write(data):
        await listener.write(data)
        log.path.unlink()
        log.path.symlink_to("/dev/zero")

    with pytest.raises(Invalid, match="link"):
        async with asyncio.timeout(WITHIN_S):
            await feed(log, None, write)
