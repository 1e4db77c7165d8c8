"""What the master asks workers for the sake of log rules, and what it keeps of the answers."""

import asyncio
import contextlib
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest

from ops_system.master.alerts import loglines
from ops_system.master.alerts.loglines import MAX_WATCHED, LogLooker
from ops_system.master.alerts.views import StoredRule
from ops_system.model.alerts import Condition, ConditionKind, NewRule
from ops_system.model.errors import NodeOffline, NotFound
from ops_system.protocol.frames import StreamClose, StreamData
from ops_system.protocol.logs import LogCounted, LogNotCounted, WatchedLog
from ops_system.protocol.pieces import Channel, encode_piece
from ops_system.runtime.streams import Stream
from ops_system.runtime.tasks import running
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from ops_system.worker import logwatch
from ops_system.worker.logs import InstanceLogs
from tests.fakes.clock import FakeClock
from tests.fakes.wishes import wish

WITHIN_S = 30.0


class Nodes:
    """Stands where the links are wanted: streams whose other end is the test's hand."""

    def __init__(self):
        self.opened, self.streams, self.trouble = [], [], None
        self._news = asyncio.Event()

    def open_stream(self, node_id, kind, body):
        assert kind == "log.watch"
        if self.trouble is not None:
            raise self.trouble
        stream = Stream(len(self.streams) + 1, lambda _frame: True, lambda _id: None)
        self.opened.append((node_id, body.logs))
        self.streams.append(stream)
        self._news.set()
        return stream

    async def until(self, ready):
        async with asyncio.timeout(WITHIN_S):
            while not ready():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._news.wait()

    def tell(self, word, index=-1):
        data = encode_piece(Channel.CONTROL, msgspec.json.encode(word))
        self.streams[index].on_data(StreamData(stream_id=1, data=data))

    def lose(self, code="node_offline"):
        self.streams[-1].on_close(StreamClose(stream_id=1, code=code, message="gone"))


@pytest.fixture
def nodes():
    return Nodes()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def database(tmp_path):
    folder = DataFolder(tmp_path / "data", tmp_path / "data/ops.db", tmp_path / "data/uploads")
    folder.create()
    opened = await Database.open(folder, load_migrations("ops_system.master"))
    yield opened
    await opened.close()


@pytest.fixture
async def looker(nodes, clock, database, monkeypatch):
    monkeypatch.setattr(loglines, "RETRY_S", 0.02)
    monkeypatch.setattr(logwatch, "LOOK_EVERY_S", 0.01)
    made = LogLooker(nodes, clock, database)
    await made.load()
    return made


def rule(clock, pattern="ERROR", *, is_regex=False):
    condition = Condition(
        kind=ConditionKind.LOG, log="stdout", pattern=pattern, regex=is_regex, fire_level=1, window_s=60
    )
    return StoredRule("rul_1", "", NewRule(name="r", condition=condition), clock.now(), "", clock.now())


def instance(clock, instance_id="ins_1", node_id="nod_1", age_s=60.0):
    return SimpleNamespace(id=instance_id, node_id=node_id, created_at=clock.now() - timedelta(seconds=age_s))


def counted(looker, instance_id="ins_1"):
    number, line = looker.count("rul_1", instance_id)
    return number, line and line.message


async def test_hits_count_for_the_window_and_are_told_at_once(looker, nodes, clock):
    told = []
    looker.on_hit = lambda: told.append(counted(looker))
    looker.watch([(rule(clock), instance(clock))])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        assert nodes.opened == [("nod_1", (WatchedLog("ins_1", "stdout", "ERROR"),))]
        nodes.tell(LogCounted(0, 10))
        nodes.tell(LogCounted(0, 30, 2, "ERROR two"))
        await nodes.until(lambda: told)
        clock.advance(50)
        nodes.tell(LogNotCounted(0, "invalid", "explodes"))
        nodes.tell(LogCounted(0, 40, 1, "ERROR three"))
        await nodes.until(lambda: len(told) == 2)
        assert told == [(2, "ERROR two"), (3, "ERROR three")]
        clock.advance(20)
        assert counted(looker)[0] == 1
        assert looker.count("rul_1", "ins_2") == (0, None)


async def test_a_broken_stream_goes_on_where_it_was(looker, nodes, clock):
    looker.watch([(rule(clock), instance(clock))])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        nodes.tell(LogCounted(0, 10))
        nodes.tell(LogCounted(0, 30, 2, "ERROR two"))
        await nodes.until(lambda: counted(looker)[0] == 2)
        nodes.trouble = NodeOffline("away")
        nodes.lose()
        await nodes.until(lambda: not looker._open)
        nodes.trouble = None
        await nodes.until(lambda: len(nodes.streams) == 2)
        assert nodes.opened[1][1][0].start == 30


async def test_a_restart_goes_on_where_it_was_and_knows_what_still_counts(looker, nodes, clock, database):
    wanted = [(rule(clock), instance(clock))]
    looker.watch(wanted)
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        nodes.tell(LogCounted(0, 10))
        nodes.tell(LogCounted(0, 30, 1, "ERROR two"))
        nodes.tell(LogCounted(0, 50))
        await nodes.until(lambda: looker._watched["rul_1", "ins_1"].at == 50)
        await looker.save()
    for expected in (1, 0):
        again = LogLooker(nodes, clock, database)
        await again.load()
        again.watch(wanted)
        assert (again._watched["rul_1", "ins_1"].at, counted(again)[0]) == (50, expected)
        clock.advance(62)
    looker.watch([])
    await looker.save()
    await again.load()
    assert again._saved == {}


async def test_a_flood_of_hits_is_kept_in_few_steps(looker, nodes, clock):
    looker.watch([(rule(clock), instance(clock))])
    watched = looker._watched["rul_1", "ins_1"]
    for _ in range(1000):
        watched.add(3, clock.monotonic_s())
        clock.advance(0.05)
    assert counted(looker)[0] == 3000
    assert len(watched.hits) <= 62


async def test_a_young_instance_is_looked_at_from_its_first_line_and_a_new_pattern_from_now_on(looker, nodes, clock):
    made = rule(clock)
    clock.advance(1)
    looker.watch([(made, instance(clock, age_s=0)), (made, instance(clock, "ins_2", age_s=100))])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        assert [log.start for log in nodes.opened[0][1]] == [0, None]
        nodes.tell(LogCounted(0, 30, 2, "ERROR two"))
        await nodes.until(lambda: counted(looker)[0] == 2)
        looker.watch([(made, instance(clock)), (made, instance(clock, "ins_2"))])
        assert counted(looker)[0] == 2
        looker.watch([(rule(clock, "WARN"), instance(clock))])
        await nodes.until(lambda: len(nodes.streams) == 2)
        assert (counted(looker)[0], nodes.opened[1][1][0].start) == (0, None)
        assert not nodes.streams[0].is_open
        nodes.tell(LogCounted(0, 99, 5, "ERROR of the old stream"), 0)
        nodes.tell(LogCounted(0, 40, 1, "WARN"))
        await nodes.until(lambda: counted(looker)[0] == 1)


async def test_there_is_a_bound_and_an_older_worker_is_left_alone_for_a_while(looker, nodes, clock):
    nodes.trouble = NotFound("is it older?")
    looker.watch([(rule(clock), instance(clock, f"ins_{number}")) for number in range(MAX_WATCHED + 5)])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: looker._rests_until_s)
        nodes.trouble = None
        clock.advance(loglines.REST_S + 1)
        await nodes.until(lambda: nodes.streams)
        assert len(nodes.opened[0][1]) == MAX_WATCHED


async def test_a_worker_that_tells_nonsense_is_left_alone(looker, nodes, clock):
    looker.watch([(rule(clock), instance(clock))])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        nodes.tell(LogCounted(7, 10))
        await nodes.until(lambda: not looker._open)
        assert looker._rests_until_s


@pytest.mark.parametrize(("pattern", "is_regex"), [("ERROR", False), (r"ERR\w+ \d", True)])
async def test_a_real_log_is_counted_as_it_grows(looker, nodes, tmp_path, pattern, is_regex):
    clock = looker._clock
    spec = wish()
    log = tmp_path / "logs" / spec.instance_id / "stdout.log"
    log.parent.mkdir(parents=True)
    log.write_text("ERROR 1 before\nhal")
    logs = InstanceLogs(tmp_path, {spec.instance_id: spec}.get)
    looker.watch([(rule(clock, pattern, is_regex=is_regex), instance(clock, spec.instance_id))])
    async with running(looker.run(), "looker"):
        await nodes.until(lambda: nodes.streams)
        (asked,) = nodes.opened[0][1]

        async def write(data):
            nodes.streams[0].on_data(StreamData(stream_id=1, data=data))

        watch = logwatch.LogWatch(logs.log, write, clock.monotonic_s)
        async with running(watch.run([asked]), "worker"):
            await nodes.until(lambda: looker._watched["rul_1", spec.instance_id].at == 15)
            with log.open("a") as more:
                more.write("f a line\nERROR 2 now\nERROR 3 now\n")
            await nodes.until(lambda: counted(looker, spec.instance_id) == (2, "ERROR 3 now"))
