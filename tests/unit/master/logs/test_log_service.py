from datetime import UTC, datetime

import pytest

from ops_system.master.logs.rules import LogQuery, LogSearchQuery, MergedLogQuery, MergedSearchQuery
from ops_system.master.logs.service import CHUNK_BYTES, MAX_MERGED, Logs, Member
from ops_system.model.errors import Invalid, NodeOffline, NotFound
from ops_system.protocol.logs import LogBytes, LogFiles, LogHits, LogLine, LogLines


class FakeInstances:
    async def node_of(self, instance_id):
        if instance_id != "ins_1":
            raise NotFound("no such instance")
        return "node_1"


class FakeWorker:
    """Answers as a worker with one log of `data`."""

    def __init__(self, data=b""):
        self.data = data
        self.asked = []
        self.is_away = False

    async def request(self, node_id, kind, body, reply_type, timeout_s=10.0):
        if self.is_away or node_id == "node_gone":
            raise NodeOffline("away")
        self.asked.append((node_id, kind, body))
        match kind:
            case "logs.list":
                return LogFiles(items=())
            case "logs.read":
                return LogLines(lines=(), before=None)
            case "logs.search":
                return LogHits((), None, 0, 0)
            case _:
                return LogBytes(self.data[body.offset : body.offset + body.length], len(self.data))


async def collect(pieces):
    return b"".join([piece async for piece in pieces])


async def test_reading_asks_the_node_of_the_instance():
    worker = FakeWorker()
    logs = Logs(FakeInstances(), worker)
    await logs.read("ins_1", "stdout", LogQuery(tail=5, before=9, q="x"))
    node, kind, body = worker.asked[0]
    assert (node, kind, body.name, body.tail, body.before, body.q) == ("node_1", "logs.read", "stdout", 5, 9, "x")
    with pytest.raises(NotFound):
        await logs.list_logs("ins_2")
    with pytest.raises(Invalid):
        await logs.read("ins_1", "stdout", LogQuery(tail=0))


async def test_a_download_ends_at_the_size_it_began_with():
    worker = FakeWorker(b"a" * (2 * CHUNK_BYTES + 7))
    pieces = Logs(FakeInstances(), worker).download("ins_1", "stdout")
    first = await anext(pieces)
    worker.data += b"b" * 100
    assert first + await collect(pieces) == b"a" * (2 * CHUNK_BYTES + 7)
    assert await collect(Logs(FakeInstances(), FakeWorker()).download("ins_1", "stdout")) == b""


async def test_a_log_that_shrinks_ends_its_download():
    worker = FakeWorker(b"a" * (3 * CHUNK_BYTES))
    pieces = Logs(FakeInstances(), worker).download("ins_1", "stdout")
    await anext(pieces)
    worker.data = b""
    assert await collect(pieces) == b""


async def test_a_node_that_is_away_is_told_before_following():
    worker = FakeWorker()
    worker.is_away = True
    with pytest.raises(NodeOffline):
        await Logs(FakeInstances(), worker).where("ins_1")


async def test_a_search_asks_the_node():
    worker = FakeWorker()
    found = await Logs(FakeInstances(), worker).search("ins_1", "stdout", LogSearchQuery("a+", regex=True, limit=7))
    _, kind, body = worker.asked[0]
    assert (kind, body.text, body.is_regex, body.limit, found.next) == ("logs.search", "a+", True, 7, None)


async def test_many_logs_are_read_as_one_and_what_is_missing_is_told():
    worker = FakeWorker()
    logs = Logs(FakeInstances(), worker)
    members = [Member(f"ins_{n}", "node_gone" if n == 1 else "node_1") for n in range(MAX_MERGED + 3)]
    found = await logs.read_merged(members, "stdout", MergedLogQuery(tail=5))
    assert [one.instance_id for one in found.unread] == ["ins_1"]
    assert (found.left_out, found.before, found.lines) == (3, None, [])
    assert len(worker.asked) == MAX_MERGED - 1
    with pytest.raises(Invalid):
        await logs.read_merged(members, "stdout", MergedLogQuery(tail=0))


class Searched(FakeWorker):
    """Every instance has a hit at each of the seconds 0 to 5, found two at a time, the latest first."""

    async def request(self, node_id, kind, body, reply_type, timeout_s=10.0):
        await super().request(node_id, kind, body, reply_type, timeout_s)
        end = 6 if body.start is None else body.start
        hits = [LogLine(datetime(2026, 1, 1, 0, 0, n, tzinfo=UTC), f"hit {n}", n) for n in range(end - 1, end - 3, -1)]
        return LogHits(tuple(hits), end - 2 or None, 0, 0)


async def test_many_logs_are_searched_as_one_until_each_is_at_its_end():
    members = [Member(f"ins_{n}", "node_gone" if n == 1 else "node_1") for n in range(3)]
    logs, query, found = Logs(FakeInstances(), Searched()), MergedSearchQuery("hit", limit=2), []
    while True:
        page = await logs.search_merged(members, "stdout", query)
        assert [line.at for line in page.hits] == sorted((line.at for line in page.hits), reverse=True)
        found += [(line.instance_id, line.offset) for line in page.hits]
        if page.next is None:
            break
        query = MergedSearchQuery("hit", limit=2, start=page.next)
    assert sorted(found) == [(name, offset) for name in ("ins_0", "ins_2") for offset in range(6)]
    for bad in (MergedSearchQuery("x", limit=0), MergedSearchQuery("x", start="nonsense")):
        with pytest.raises(Invalid):
            await logs.search_merged(members, "stdout", bad)
