"""Browsers' sockets over the real web floor: snapshot, change, resume, slow viewers, revoked sessions."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import aiohttp
import msgspec
import pytest

from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.bus import Bus, Changed
from ops_system.master.live import api
from ops_system.master.live.hub import Hub
from ops_system.master.live.rules import MAX_PART_BYTES, Topic, shape_fleet, shape_series
from ops_system.master.metrics.rules import MetricsQuery
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.web.route import Permission
from ops_system.model.errors import NotFound
from ops_system.model.ids import NodeId
from ops_system.runtime.clock import SystemClock
from tests.bench.sim import make_sample
from tests.fakes.web import Site, serve_table

WITHIN_S = 20.0


class Thing(msgspec.Struct, frozen=True):
    id: str
    text: str


@dataclass
class Stage:
    bus: Bus
    hub: Hub
    site: Site
    client: aiohttp.ClientSession
    things: dict[str, Thing] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def viewer(self, bearer="viewer", **options):
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        async with self.client.ws_connect(f"{self.site.url}/api/v1/live", headers=headers, **options) as socket:
            yield socket

    def put(self, key, text):
        self.things[key] = Thing(key, text)
        self.bus.publish(Changed("things", key, self.things[key]))

    def drop(self, key):
        del self.things[key]
        self.bus.publish(Changed("things", key, None))


@pytest.fixture
async def stage(tmp_path):
    bus = Bus()
    hub = Hub(bus, SystemClock())
    bus.subscribe(SessionsRevoked, lambda event: hub.close_sessions(event.ids))
    async with serve_table(api.routes(hub), tmp_path / "web") as site, aiohttp.ClientSession() as client:
        stage = Stage(bus, hub, site, client)

        async def things(_name, _principal):
            return list(stage.things.items())

        async def missing(name, _principal):
            raise NotFound(f"nothing behind {name}")

        hub.register(Topic("things", Permission.VIEW, things))
        hub.register(Topic("admin", Permission.ADMIN, things))
        hub.register(Topic("missing:", Permission.VIEW, missing))
        yield stage


async def say(socket, **message):
    await socket.send_str(json.dumps(message))


async def hear(socket):
    async with asyncio.timeout(WITHIN_S):
        return json.loads(await socket.receive_str())


async def until(condition):
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition belongs to the code under test, which has no event for it
            await asyncio.sleep(0.005)


async def test_a_snapshot_then_what_changes(stage):
    stage.put("a", "one")
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["part"], snapshot["last"]) == ("snapshot", 0, True)
        assert snapshot["data"] == {"items": [{"id": "a", "text": "one"}], "removed": []}
        stage.put("b", "two")
        stage.drop("a")
        change = await hear(socket)
        assert (change["type"], change["seq"], change["epoch"]) == ("change", snapshot["seq"] + 1, snapshot["epoch"])
        assert change["data"] == {"items": [{"id": "b", "text": "two"}], "removed": ["a"]}


async def test_an_empty_topic_still_has_a_snapshot(stage):
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        assert (await hear(socket))["data"] == {"items": [], "removed": []}


async def test_only_the_newest_of_a_key_is_sent(stage):
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        await hear(socket)
        for number in range(1000):
            stage.put("a", str(number))
        change = await hear(socket)
        while change["data"]["items"][-1]["text"] != "999":
            change = await hear(socket)
        assert len(change["data"]["items"]) == 1


async def test_ping_refusals_and_nonsense_are_answered(stage):
    async with stage.viewer() as socket:
        await say(socket, ping=7)
        assert await hear(socket) == {"pong": 7}
        await say(socket, subscribe=["nothing", "admin", "missing:x"])
        codes = {message["topic"]: message["data"]["code"] for message in [await hear(socket) for _ in range(3)]}
        assert codes == {"nothing": "not_found", "admin": "forbidden", "missing:x": "not_found"}
        await socket.send_str("nonsense")
        assert (await hear(socket))["data"]["code"] == "invalid"
        await say(socket, ping=8)
        assert await hear(socket) == {"pong": 8}
    assert not stage.hub.is_watched("nothing")


async def test_each_subscribe_is_the_complete_set(stage):
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        await hear(socket)
        await say(socket, subscribe=[], ping=1)
        assert await hear(socket) == {"pong": 1}
        stage.put("a", "unseen")
        await say(socket, ping=2)
        assert await hear(socket) == {"pong": 2}
        await say(socket, subscribe=["things"])
        assert (await hear(socket))["type"] == "snapshot"


async def test_a_short_break_resumes_without_a_snapshot(stage):
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        last = await hear(socket)
    stage.put("a", "while away")
    stage.put("b", "gone again")
    stage.drop("b")
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"], resume={"things": {"epoch": last["epoch"], "seq": last["seq"]}})
        change = await hear(socket)
        assert change["type"] == "change"
        assert change["data"] == {"items": [{"id": "a", "text": "while away"}], "removed": ["b"]}
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"], resume={"things": {"epoch": "another", "seq": last["seq"]}})
        assert (await hear(socket))["type"] == "snapshot"


async def test_a_scoped_viewer_hears_nothing_of_what_it_never_saw(stage):
    within = {"mine", "moves"}

    async def show(_name, _principal):
        return list(stage.things.items())

    def is_visible(_principal, _name, key):
        return key in within

    stage.hub.register(Topic("fenced", Permission.VIEW, show, is_visible=is_visible))
    for key in ("mine", "moves", "alien"):
        stage.put(key, "one")
    async with stage.viewer("scoped") as socket, stage.viewer() as other:
        for each in (socket, other):
            await say(each, subscribe=["fenced"])
        first = await hear(socket)
        assert [item["id"] for item in first["data"]["items"]] == ["mine", "moves"]
        assert len((await hear(other))["data"]["items"]) == 3
        within.remove("moves")
        for key, thing in (("alien", None), ("moves", Thing("moves", "two")), ("mine", None)):
            stage.bus.publish(Changed("fenced", key, thing))
        assert (await hear(socket))["data"] == {"items": [], "removed": ["mine", "moves"]}
        assert set((await hear(other))["data"]["removed"]) == {"alien", "mine"}
    async with stage.viewer("scoped") as socket:  # what it had before the break is not known: it starts anew
        await say(socket, subscribe=["fenced"], resume={"fenced": {"epoch": first["epoch"], "seq": first["seq"]}})
        assert (await hear(socket))["type"] == "snapshot"


async def test_a_large_snapshot_comes_in_parts(stage):
    for number in range(60):
        stage.put(f"k{number:02d}", "x" * 20_000)
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        keys, parts = [], 0
        while True:
            async with asyncio.timeout(WITHIN_S):
                text = await socket.receive_str()
            assert len(text) <= MAX_PART_BYTES
            message = json.loads(text)
            assert message["part"] == parts
            parts += 1
            keys += [item["id"] for item in message["data"]["items"]]
            if message["last"]:
                break
        assert parts >= 5
        assert keys == sorted(stage.things)


async def test_a_viewer_that_never_reads_starves_nobody_and_is_closed(stage):
    async with stage.viewer(max_msg_size=0) as stuck, stage.viewer() as healthy:
        await say(stuck, subscribe=["things"])
        stuck._reader._protocol.pause_reading()  # the kernel's buffers fill up behind it
        await say(healthy, subscribe=["things"])
        await hear(healthy)
        await until(lambda: stage.hub.viewers == 2)
        held_bytes = []
        for number in range(400):
            stage.put("a", f"{number} " + "x" * 60_000)
            change = await hear(healthy)
            while not change["data"]["items"] or not change["data"]["items"][0]["text"].startswith(f"{number} "):
                change = await hear(healthy)
            held_bytes += [one._transport.get_write_buffer_size() for one in stage.hub._watchers]
            if stage.hub.viewers == 1:
                break
        assert stage.hub.viewers == 1
        assert 60_000 < max(held_bytes) < 300_000  # one message, whatever came behind it
        stuck._conn.transport.abort()  # else its own polite close waits for an answer it does not read


async def test_a_burst_that_changes_everything_closes_nobody(stage, monkeypatch):
    monkeypatch.setattr("ops_system.master.live.viewer.LAG_GRACE_S", 60.0)  # however slow this machine is
    async with stage.viewer(max_msg_size=0) as socket:
        await say(socket, subscribe=["things"])
        await hear(socket)
        for burst in range(6):  # more than the kernel's buffers take
            for number in range(200):
                stage.put(f"k{number}", f"{burst} " + "x" * 19_000)
            await until(lambda: not stage.hub._watched["things"].log.has_changes)
        seen = {}
        while len(seen) < 200 or any(not text.startswith("5 ") for text in seen.values()):
            seen |= {item["id"]: item["text"] for item in (await hear(socket))["data"]["items"]}
        assert stage.hub.viewers == 1


async def test_a_snapshot_that_is_not_read_ends_in_time(tmp_path):
    hub = Hub(Bus(), SystemClock())

    async def things(_name, _principal):
        return [(str(number), "x" * 100_000) for number in range(300)]

    hub.register(Topic("things", Permission.VIEW, things))
    async with (
        serve_table(api.routes(hub, send_timeout_s=0.2), tmp_path / "web") as site,
        aiohttp.ClientSession(headers={"Authorization": "Bearer viewer"}) as client,
        client.ws_connect(f"{site.url}/api/v1/live") as socket,
    ):
        await say(socket, subscribe=["things"])
        await until(lambda: hub.viewers == 1)
        socket._reader._protocol.pause_reading()
        await until(lambda: hub.viewers == 0)
        socket._conn.transport.abort()


async def test_a_revoked_session_closes_its_sockets(stage):
    async with stage.viewer() as socket, stage.viewer("admin") as other:
        await say(socket, subscribe=["things"])
        await hear(socket)
        await say(other, ping=1)
        await hear(other)
        stage.bus.publish(SessionsRevoked(frozenset({"tok_v"})))
        async with asyncio.timeout(20.0):
            message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        await say(other, ping=2)
        assert await hear(other) == {"pong": 2}
        assert stage.hub.viewers == 1


async def test_a_stranger_gets_no_socket(stage):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with stage.viewer(bearer=""):
            pass
    assert refused.value.status == 401


async def test_leaving_frees_the_topic_after_a_while(stage, monkeypatch):
    monkeypatch.setattr("ops_system.master.live.hub.KEEP_S", 0.05)
    async with stage.viewer() as socket:
        await say(socket, subscribe=["things"])
        await hear(socket)
        assert stage.hub.is_watched("things")
    await until(lambda: not stage.hub.is_watched("things"))
    assert stage.hub.viewers == 0


async def test_the_fleet_is_told_at_most_once_a_second(stage):
    clock = SystemClock()
    book = MetricsBook(stage.bus, clock, budget_bytes=10**7)
    book.tell(stage.hub.is_watched)

    async def fleet(_name, _principal):
        return book.fleet()

    stage.hub.register(Topic("metrics:fleet", Permission.VIEW, fleet, shape_fleet, interval_s=1.0))
    async with stage.viewer() as socket:
        await say(socket, subscribe=["metrics:fleet"])
        snapshot = await hear(socket)
        assert set(snapshot["data"]) == {"at_s", "nodes", "instances"}
        for _ in range(20):
            for node in ("n1", "n2"):
                book.ingest(NodeId(node), make_sample(clock.now().timestamp()))
            await asyncio.sleep(0.01)
        change = await hear(socket)
        assert len(change["data"]["nodes"]["n1"]) == 8
        last = await hear(socket)
        assert set(last["data"]["nodes"]) == {"n1", "n2"}
        assert stage.hub._watched["metrics:fleet"].log.seq - snapshot["seq"] < 10  # of 20 rounds


async def test_series_of_a_node_start_with_their_history(stage):
    clock = SystemClock()
    book = MetricsBook(stage.bus, clock, budget_bytes=10**7)
    book.tell(stage.hub.is_watched)
    book.ingest(NodeId("n1"), make_sample(clock.now().timestamp()))

    async def history(name, _principal):
        return book.query_node(NodeId(name.removeprefix("metrics:node:")), MetricsQuery(series="*")).series.items()

    stage.hub.register(Topic("metrics:node:", Permission.VIEW, history, shape_series, interval_s=1.0))
    async with stage.viewer() as socket:
        await say(socket, subscribe=["metrics:node:n1"])
        snapshot = (await hear(socket))["data"]
        assert len(snapshot["series"]["cpu_percent"]) == 1
        book.ingest(NodeId("n1"), make_sample(clock.now().timestamp()))
        change = (await hear(socket))["data"]
        assert set(change) == {"at_s", "values"}
        assert "disk:/:used_percent" in change["values"]
