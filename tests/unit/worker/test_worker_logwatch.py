"""What a worker tells of the lines it counts for rules."""

import asyncio
import os
from pathlib import PurePosixPath

import msgspec
import pytest

from ops_system.model.errors import NotFound
from ops_system.model.ids import InstanceId
from ops_system.processes import matching
from ops_system.processes.filelog import FileLog
from ops_system.protocol.logs import FromLogWatch, LogCounted, LogNotCounted, WatchedLog
from ops_system.protocol.pieces import PieceReader
from ops_system.runtime.tasks import running
from ops_system.worker import logwatch
from ops_system.worker.logwatch import LogWatch
from tests.fakes.clock import FakeClock

WITHIN_S = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(logwatch, "LOOK_EVERY_S", 0.01)


class Site:
    """One log `log`, the watch on it, and what was told."""

    def __init__(self, folder):
        self.path, self.clock = folder / "log", FakeClock()
        self.log = FileLog(folder, PurePosixPath("log"))
        self.words, self._heard = [], asyncio.Event()

    def find(self, _instance_id, name):
        if name != "log":
            raise NotFound("not written yet")
        self.log.check()
        return self.log

    async def write(self, data):
        for _, piece in PieceReader().feed(data):
            self.words.append(msgspec.json.decode(piece, type=FromLogWatch))
        self._heard.set()

    def add(self, text):
        with self.path.open("a", newline="\n") as file:
            file.write(text)

    def watching(self, text="ERROR", *, is_regex=False, start=None, name="log"):
        wish = WatchedLog(InstanceId("ins_1"), name, text, is_regex, start)
        watch = LogWatch(self.find, self.write, self.clock.monotonic_s)
        return running(watch.run([wish]), "watch")

    async def until(self, ready):
        async with asyncio.timeout(WITHIN_S):
            while not ready():
                self._heard.clear()
                await self._heard.wait()

    async def until_hits(self, count):
        await self.until(lambda: self.hits >= count)
        assert self.hits == count

    @property
    def hits(self):
        return sum(word.hits for word in self.words if isinstance(word, LogCounted))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def test_a_line_counts_once_it_is_whole_even_when_its_beginning_was_there_before(site):
    site.add("ERROR old\nERR")
    async with site.watching():
        await site.until(lambda: site.words)
        assert site.words == [LogCounted(0, 10)]
        site.add("OR one\nfine\nERROR tw")
        await site.until_hits(1)
        assert site.words[-1] == LogCounted(0, 25, 1, "ERROR one")
        site.add("o\n")
        await site.until_hits(2)


async def test_a_last_line_without_an_end_counts_when_nothing_more_comes(site):
    site.add("ok\n")
    async with site.watching(start=0):
        await site.until(lambda: site.words)
        site.add("ERROR and no end")
        async with asyncio.timeout(WITHIN_S):
            while not site.hits:
                site.clock.advance(1)
                await asyncio.sleep(0.01)
    assert (site.words[-1].line, site.words[-1].position) == ("ERROR and no end", 19)


async def test_rotations_lose_nothing_and_what_is_gone_is_counted(site):
    site.add("first\n" + "x" * 300 + "\n")
    async with site.watching(start=0):
        await site.until(lambda: site.words)
        site.add("ERROR one\n")
        site.path.rename(site.path.with_name("log.1"))
        site.add("ERROR two\n")
        await site.until_hits(2)
    place = site.words[-1].position
    site.add("ERROR three\nERROR four\n" + "y" * 400 + "\n")
    site.path.rename(site.path.with_name("log.2"))
    site.add("ERROR five\n")
    assert site.log.spans()
    site.path.with_name("log.2").unlink()
    site.words.clear()
    async with site.watching(start=place):
        await site.until_hits(1)
    assert (site.words[0].line, site.words[0].missed_bytes) == ("ERROR five", 424)


async def test_it_goes_on_at_the_place_it_is_given_and_a_log_to_come_is_new_from_its_first_line(site):
    site.add("ERROR one\nERROR two\n")
    async with site.watching(start=10):
        await site.until_hits(1)
    site.words.clear()
    async with site.watching(name="later"):
        await site.until(lambda: site.words)
    assert site.words == [LogCounted(0, 0)]


async def test_an_expression_that_explodes_is_told_and_rests(site, monkeypatch):
    monkeypatch.setattr(matching, "BLOCK_WITHIN_S", 2.0)
    site.add("fine\n")
    async with site.watching("(a+)+$|bad", is_regex=True, start=0):
        await site.until(lambda: site.words)
        site.add("bad\n")
        await site.until_hits(1)
        site.add("a" * 60 + "b\n")
        await site.until(lambda: isinstance(site.words[-1], LogNotCounted))
        assert "too long" in site.words[-1].message
        site.clock.advance(logwatch.REST_S + 1)
        await site.until(lambda: isinstance(site.words[-1], LogCounted))
        site.add("bad again\n")
        await site.until_hits(2)


@pytest.mark.parametrize("kind", ["fifo", "link"])
async def test_what_becomes_no_file_is_told_and_looked_at_again_later(site, kind):
    site.add("fine\n")
    async with site.watching():
        await site.until(lambda: site.words)
        site.path.unlink()
        if kind == "fifo":
            os.mkfifo(site.path)
        else:
            site.path.symlink_to("/dev/zero")
        await site.until(lambda: isinstance(site.words[-1], LogNotCounted))
        site.path.unlink()
        site.add("quiet\n")
        told = len(site.words)
        site.clock.advance(logwatch.REST_S + 1)
        await site.until(lambda: len(site.words) > told)
        site.add("ERROR\n")
        await site.until_hits(1)


async def test_a_flood_is_looked_through_in_turns(site, monkeypatch):
    monkeypatch.setattr(logwatch, "MAX_LOOK_BYTES", 4096)
    site.add("".join(f"line {number} {'ERROR' if number % 10 == 0 else 'fine'}\n" for number in range(5000)))
    async with site.watching(start=0):
        await site.until_hits(500)
    assert len(site.words) > 10
