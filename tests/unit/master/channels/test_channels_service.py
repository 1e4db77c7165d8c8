import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import sqlite3
from datetime import timedelta
from typing import ClassVar

import msgspec
import pytest
from aiohttp import web

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.channels.rules import (
    KEPT_DELIVERIES,
    MAX_CHANNELS,
    ChannelKind,
    ChannelPatch,
    DeliveryQuery,
    EventKind,
    NewChannel,
    Notice,
    Severity,
)
from ops_system.master.channels.service import Channels
from ops_system.master.outbound.client import Outbound
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound
from ops_system.runtime.tasks import running
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.orchestration import ANN
from tests.fakes.receiver import receiver
from tests.fakes.web import PlainSealer

SECRET = "hush-81"


class Desk:
    """Channels on a real database and real sockets; the clock is the test's."""

    def __init__(self, database, site):
        self.database, self.site = database, site
        self.clock, self.bus = FakeClock(), Bus()
        self.open()

    def open(self):
        """Build the service anew, as a restart does."""
        self.bus = Bus()
        self.audit = Audit(self.database, self.clock)
        self.channels = Channels(
            database=self.database,
            audit=self.audit,
            bus=self.bus,
            clock=self.clock,
            sealer=PlainSealer(),
            outbound=Outbound(allow=["127.0.0.1"], within_s=3),
            public_url=lambda: "https://ops.example",
        )

    async def add(self, name="ops", path="/hook", **fields):
        body = NewChannel(name, ChannelKind.WEBHOOK, url=self.site.url(path), secret=SECRET, **fields)
        return (await self.channels.create(body, ANN)).id

    def note(self, *numbers, event=EventKind.NODE_OFFLINE):
        for number in numbers:
            params = {"name": f"n{number}", "node": "n1"}
            subject = f"node:n{number}"
            self.bus.publish(Notice(event, subject, Severity.CRITICAL, event, params, self.clock.now()))

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.channels.wake()

    async def log(self, channel_id):
        return (await self.channels.list_deliveries(channel_id, DeliveryQuery())).items

    async def until(self, channel_id, is_so):
        """Return the log once it is as wanted."""
        async with asyncio.timeout(30):
            while not is_so(log := await self.log(channel_id)):
                self.advance(0.25)
                await asyncio.sleep(0.01)
        return log


@pytest.fixture
async def desk(tmp_path):
    folder = DataFolder(tmp_path / "data", tmp_path / "data/ops.db", tmp_path / "data/uploads")
    folder.create()
    async with receiver() as site:
        database = await Database.open(folder, load_migrations("ops_system.master"))
        try:
            yield Desk(database, site)
        finally:
            await database.close()


def told(site):
    return [json.loads(got.body) for got in site.got]


def ended(count):
    return lambda log: len([row for row in log if row.state != "pending"]) == count


def answering(status):
    async def say(_request):
        return web.Response(status=status)

    return say


async def test_what_happens_together_is_one_message_and_goes_at_once(desk):
    channel = await desk.add()
    async with running(desk.channels.run(), "channels"):
        desk.note(*range(402))
        await desk.until(channel, ended(1))
    (body,) = told(desk.site)
    assert (body["total"], len(body["items"])) == (402, 20)
    assert body["title"] == "402 events: nodes offline 402"


async def test_one_message_in_ten_seconds(desk):
    channel = await desk.add()
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        (first,) = await desk.until(channel, ended(1))
        for number in (2, 3, 4):
            desk.note(number)
            desk.advance(1)
        second, _ = await desk.until(channel, ended(2))
    assert [body["total"] for body in told(desk.site)] == [1, 3]
    assert second.ended_at - first.created_at >= timedelta(seconds=10)


async def test_what_flaps_is_told_once_in_ten_minutes(desk):
    channel = await desk.add()
    async with running(desk.channels.run(), "channels"):
        for _ in range(50):
            desk.note(1)
        await desk.until(channel, ended(1))
        desk.advance(300)
        desk.note(1)
        desk.note(1, event=EventKind.NODE_QUARANTINED)  # another matter
        await desk.until(channel, ended(2))
        desk.advance(301)
        desk.note(1)
        await desk.until(channel, ended(3))
    assert [body["items"][0]["code"] for body in told(desk.site)] == [
        "node_offline",
        "node_quarantined",
        "node_offline",
    ]


async def test_a_restart_does_not_forget_what_was_told(desk):
    channel = await desk.add()
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, ended(1))
    desk.open()
    async with running(desk.channels.run(), "channels"):
        desk.advance(60)
        desk.note(1)
        desk.note(2)
        await desk.until(channel, ended(2))
    assert [[item["subject"] for item in body["items"]] for body in told(desk.site)] == [["node:n1"], ["node:n2"]]


async def test_retries_survive_a_restart_and_come_to_an_end(desk):
    channel = await desk.add()
    desk.site.say = answering(500)
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda log: log and log[0].attempts == 1)
    desk.open()
    async with running(desk.channels.run(), "channels"):
        for attempts, wait_s in ((2, 30), (3, 120), (4, 600), (5, 3600)):
            desk.advance(wait_s)
            log = await desk.until(channel, lambda log, wanted=attempts: log[0].attempts == wanted)
    (row,) = log
    assert (row.state, row.error.code, row.error.params, row.next_attempt_at) == (
        "failed",
        "answered",
        {"status": 500},
        None,
    )
    assert len({body["id"] for body in told(desk.site)}) == 1
    assert len(desk.site.got) == 5
    assert (await desk.channels.get(channel)).last_delivery.state == "failed"


async def test_a_message_that_fails_holds_up_no_other(desk):
    channel = await desk.add()
    desk.site.say = answering(500)
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda log: log and log[0].attempts == 1)
        desk.site.say = None
        desk.note(2)
        second, first = await desk.until(channel, lambda log: log[0].state == "sent")
        assert (first.state, first.attempts) == ("pending", 1)
        desk.advance(30)
        await desk.until(channel, ended(2))
    assert second.events == 1


async def test_a_channel_that_hangs_holds_up_no_other(desk):
    let_go = asyncio.Event()

    async def hang(request):
        if request.path == "/slow":
            await let_go.wait()
        return web.Response()

    desk.site.say = hang
    slow, quick = await desk.add("slow", "/slow"), await desk.add("quick")
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(quick, ended(1))
        assert (await desk.log(slow))[0].state == "pending"
        let_go.set()
        await desk.until(slow, ended(1))


async def test_what_happens_while_a_message_goes_out_is_told_by_the_next(desk):
    let_go = asyncio.Event()

    async def hang(_request):
        await let_go.wait()
        return web.Response()

    desk.site.say = hang
    channel = await desk.add()
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda _log: desk.site.got)
        desk.note(2)
        await desk.until(channel, lambda log: sum(row.events for row in log) == 2)
        let_go.set()
        await desk.until(channel, ended(2))
    assert [body["total"] for body in told(desk.site)] == [1, 1]


async def test_a_clock_set_back_by_days_holds_nothing_up(desk):
    channel = await desk.add()
    desk.site.say = answering(500)
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda log: log and log[0].attempts == 1)
        desk.site.say = None
        desk.clock.jump(-3 * 86400)
        desk.channels.wake()
        await desk.until(channel, ended(1))


async def test_what_waited_for_a_day_is_given_up(desk):
    channel = await desk.add()
    desk.site.say = answering(500)
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda log: log and log[0].attempts == 1)
    desk.open()
    desk.site.say = None
    desk.clock.advance(86400)
    async with running(desk.channels.run(), "channels"):
        (row,) = await desk.until(channel, ended(1))
    assert (row.state, row.error.code, len(desk.site.got)) == ("failed", "too_old", 1)
    assert dict(desk.channels.counts) == {"failed": 1}


async def test_only_what_a_channel_wants_and_only_while_it_is_on(desk):
    offline = await desk.add("offline", events=(EventKind.NODE_OFFLINE,))
    everything = await desk.add("all")
    off = await desk.add("off", enabled=False)
    async with running(desk.channels.run(), "channels"):
        desk.note(1, event=EventKind.INSTANCE_FAILED)
        await desk.until(everything, ended(1))
    assert (await desk.log(offline), await desk.log(off)) == ([], [])


async def test_a_channel_that_is_switched_off_gives_up_what_waits(desk):
    channel = await desk.add()
    desk.site.say = answering(500)
    async with running(desk.channels.run(), "channels"):
        desk.note(1)
        await desk.until(channel, lambda log: log and log[0].attempts == 1)
        await desk.channels.change(channel, ChannelPatch(enabled=False), ANN)
    (row,) = await desk.log(channel)
    assert (row.state, row.error.code) == ("failed", "channel_disabled")


async def test_a_test_message_tells_how_it_went(desk):
    channel = await desk.add(enabled=False)
    good = await desk.channels.test(channel, ANN)
    assert (good.state, good.error, good.title) == ("sent", None, "Test message of channel ops")
    desk.site.say = answering(403)
    bad = await desk.channels.test(channel, ANN)
    assert (bad.state, bad.error.params, bad.next_attempt_at) == ("failed", {"status": 403}, None)
    assert [row.state for row in await desk.log(channel)] == ["failed", "sent"]
    assert (await desk.channels.list_page(ListQuery())).items[0].last_delivery.error.code == "answered"
    with pytest.raises(NotFound):
        await desk.channels.test("chn_none", ANN)


async def test_the_log_is_bounded(desk):
    channel = await desk.add()
    for _ in range(3):
        await desk.channels.test(channel, ANN)
    async with desk.database.transaction() as tx:
        await tx.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
            " INSERT INTO deliveries (channel_id, bundle, state, attempts, created_ms)"
            " SELECT d.channel_id, d.bundle, 'sent', 1, 0 FROM n, (SELECT * FROM deliveries LIMIT 1) d"
        )
    await desk.channels.test(channel, ANN)
    assert (await desk.channels.list_deliveries(channel, DeliveryQuery(limit=1))).total == KEPT_DELIVERIES


async def test_secrets_are_sealed_and_never_told(desk, tmp_path):
    channel = await desk.add(path="/token-82")
    await desk.channels.change(channel, ChannelPatch(name="new"), ANN)
    await desk.channels.test(channel, ANN)
    shown = repr((await desk.channels.get(channel), await desk.log(channel)))
    audit = repr((await desk.audit.list_page(AuditQuery())).items)
    with contextlib.closing(sqlite3.connect(tmp_path / "data/ops.db")) as connection:
        stored = "\n".join(connection.iterdump())
    for text in (shown, audit, stored):
        assert SECRET not in text
        assert "token-82" not in text
    assert desk.site.got[0].path == "/token-82"
    for action in ("channel.create", "channel.change", "channel.test"):
        assert action in audit


async def test_the_book_refuses_what_cannot_be(desk):
    channel = await desk.add()
    with pytest.raises(Conflict):
        await desk.add()
    other = await desk.add("other")
    with pytest.raises(Conflict):
        await desk.channels.change(other, ChannelPatch(name="ops"), ANN)
    with pytest.raises(Invalid):
        await desk.channels.change(other, ChannelPatch(url="nowhere"), ANN)
    await desk.channels.delete(channel, ANN)
    for act in (desk.channels.get(channel), desk.channels.delete(channel, ANN), desk.log(channel)):
        with pytest.raises(NotFound):
            await act
    for number in range(MAX_CHANNELS - 1):
        await desk.add(f"c{number}")
    with pytest.raises(NotAllowed):
        await desk.add("one too many")


async def test_messages_are_found_by_the_alert_they_tell_of(desk):
    channel = await desk.add()
    alert = Notice(EventKind.ALERT, "node:n1", Severity.INFO, "node_back", {"name": "n1"}, desk.clock.now())
    async with desk.channels.writing() as tx:
        await desk.channels.enqueue(tx, [msgspec.structs.replace(alert, alert_id=f"alt_{n}") for n in range(30)])
    for alert_id, count in (("alt_2", 1), ("alt_29", 1), ("alt_", 0), ("alt_30", 0)):
        page = await desk.channels.list_deliveries(channel, DeliveryQuery(alert_id=alert_id))
        assert (alert_id, page.total) == (alert_id, count)


class Robot:
    """The server of a chat as its documents say: it checks signature, shape, size and rate, and refuses the rest."""

    LIMITS: ClassVar = {"dingtalk": (20_000, 20), "wecom": (2048, 20), "feishu": (20_000, 100), "slack": (40_000, 60)}

    def __init__(self, kind, clock):
        self.kind, self.clock = kind, clock
        self.max_bytes, self.max_a_minute = self.LIMITS[kind]
        self.came_s, self.texts, self.refused = [], [], []

    async def say(self, request):
        body = json.loads(await request.read())
        fault = self.fault_of(request, body)
        now_s = self.clock.monotonic_s()
        self.came_s = [at_s for at_s in self.came_s if now_s - at_s < 60] + [now_s]
        if fault is None and len(self.came_s) > self.max_a_minute:
            fault = "too many"
        if fault is not None:
            self.refused.append(fault)
        if self.kind == "slack":
            return web.Response(text="ok" if fault is None else fault, status=200 if fault is None else 400)
        code = "code" if self.kind == "feishu" else "errcode"
        return web.json_response({code: 0 if fault is None else 310000})

    def fault_of(self, request, body):
        match self.kind:
            case "dingtalk":
                stamp, text = request.query["timestamp"], body["text"]["content"]
                made = sign(SECRET, f"{stamp}\n{SECRET}")
                is_signed = request.query["sign"] == made and self.is_fresh(int(stamp) / 1000)
            case "feishu":
                stamp, text = body["timestamp"], body["content"]["text"]
                is_signed = body["sign"] == sign(f"{stamp}\n{SECRET}", "") and self.is_fresh(int(stamp))
            case "wecom":
                text, is_signed = body["text"]["content"], request.query["key"] == "k"
            case _:
                text, is_signed = body["text"], True
        self.texts.append(text)
        size = len(text.encode())
        return "signature" if not is_signed else "size" if size > self.max_bytes else None

    def is_fresh(self, stamp_s):
        return abs(self.clock.now().timestamp() - stamp_s) < 3600


def sign(key, text):
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("kind", ["dingtalk", "wecom", "feishu", "slack"])
async def test_a_storm_reaches_a_chat_signed_within_its_size_and_its_rate(desk, kind):
    robot = Robot(kind, desk.clock)
    desk.site.say = robot.say
    secret = SECRET if kind in {"dingtalk", "feishu"} else None
    body = NewChannel("chat", ChannelKind(kind), url=desk.site.url("/robot?key=k"), secret=secret, language="zh")
    channel = (await desk.channels.create(body, ANN)).id
    async with running(desk.channels.run(), "channels"):
        for count in (80, 160, 240, 320, 400):
            desk.note(*(f"{one}-{'节点' * 40}" for one in range(count - 80, count)))
            log = await desk.until(channel, has_sent(count))
    assert robot.refused == []
    assert {row.attempts for row in log} == {1}
    assert len(robot.texts) == len(log) >= 5


def has_sent(count):
    return lambda log: sum(row.events for row in log if row.state == "sent") == count
