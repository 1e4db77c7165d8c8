"""A worker with a true key that turned evil: what it sends harms nobody but itself, and leaves a trace."""

import asyncio
import contextlib
import math
import struct
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType

from ops_system.model.ids import InstanceId
from ops_system.model.instances import HealthState, InstanceEvent, InstanceReport, PrepareProgress, State
from ops_system.model.metrics import NODE_SERIES
from ops_system.model.reasons import Reason
from ops_system.protocol.codec import encode
from ops_system.protocol.frames import MAX_FRAME_BYTES, Apply, Events, Ping, Progress, Report, Sample, Snapshot
from tests.bench.sim import Refused, SimWorker, make_fingerprint
from tests.fakes.attacker import join, linked, say
from tests.fakes.evil_archives import good_zip
from tests.fakes.master import run_master

WITHIN_S = 20.0
_pack = msgspec.msgpack.encode


class Stage:
    """A master, an evil worker, and a good one with an instance on it."""

    def __init__(self, master, api, session) -> None:
        self.master, self.api, self.session = master, api, session
        self.evil: SimWorker
        self.good: SimWorker
        self.instance_id = InstanceId("")
        self.operation_id = ""

    async def set_up(self) -> None:
        self.evil = await join(self.master, self.session, "evil")
        self.good = await join(self.master, self.session, "good")
        await self.api.ask("POST", "/packages", data=good_zip(), headers={"Content-Type": "application/zip"})
        system = await self.api.post("/systems", {"name": "shop"})
        wanted = {"name": "evil", "package": "evil", "version": "1.0"}
        module = await self.api.post(f"/systems/{system['id']}/modules", wanted)
        made = await self.api.post("/instances", {"module_id": module["id"], "node_id": self.good.node_id})
        self.instance_id, self.operation_id = made["instance"]["id"], made["operation"]["id"]

    async def sanity(self) -> None:
        """The master answers, the good node is online, its instance untouched."""
        nodes = {node["name"]: node for node in (await self.api.get("/nodes"))["items"]}
        assert (nodes["good"]["status"], nodes["good"]["linked"]) == ("online", True)
        assert (await self.api.get("/audit/verify"))["ok"] is True

    async def denied(self):
        rows = (await self.api.get("/audit?outcome=denied&limit=500"))["items"]
        return [row for row in rows if row["actor_id"] == self.evil.node_id]

    async def instance(self):
        return await self.api.get(f"/instances/{self.instance_id}")

    async def is_pending(self):
        return (await self.instance())["state"] == "pending"

    async def heard_again(self, worker: SimWorker) -> None:
        """Wait until the master has read everything sent so far: it answers a ping."""
        before = len(worker.heard)
        worker.link.send(Ping(99, datetime.now(UTC)))
        async with asyncio.timeout(WITHIN_S):
            while len(worker.heard) == before:
                worker.news.clear()
                await worker.news.wait()


@pytest.fixture
async def stage(tmp_path):
    async with (
        run_master(tmp_path) as master,
        master.admin_client() as api,
        aiohttp.ClientSession() as session,
    ):
        made = Stage(master, api, session)
        await made.set_up()
        async with linked(made.good, session):
            await until(made.is_pending)
            yield made
            await made.sanity()


def make_report(instance_id, **changes) -> InstanceReport:
    fields = {
        "instance_id": instance_id,
        "generation": 1,
        "state": State.RUNNING,
        "health": HealthState.HEALTHY,
        "at": datetime.now(UTC),
    }
    return InstanceReport(**(fields | changes))


def make_event(seq, instance_id, **changes) -> InstanceEvent:
    fields = {"generation": 1, "at": datetime.now(UTC), "kind": "state", "state": State.RUNNING}
    return InstanceEvent(seq=seq, instance_id=instance_id, **(fields | {"health": HealthState.HEALTHY} | changes))


async def until(ask, within_s: float = WITHIN_S):
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.02)
    return answer


# --- bytes that are no frames --------------------------------------------------------------------------------------
DEEP = b"\x91" * 200_000
GARBAGE = {
    "noise": bytes(range(256)) * 40,
    "nothing": b"",
    "unused_code": b"\xc1",
    "class_key": _pack({"type": "Ping", "__class__": "os.system", "__init__": {"x": 1}, "seq": "x"}),
    "class_tag": _pack({"type": "__class__", "seq": 1}),
    "masters_word": _pack({"type": "Apply", "node_id": "x"}),
    "wrong_types": _pack({"type": "Sample", "at_s": "now", "node": {}}),
    "no_map": _pack([1, 2, 3]),
    "deep": DEEP,
    "lying_length": b"\xdd\xff\xff\xff\xff" + b"\x01" * 100,
    "lying_string": b"\xdb\xff\xff\xff\xff",
    "bad_utf8": b"\x81\xa4type\xa4\xff\xfe\xfd\xfc",
    "huge_integer": _pack({"type": "Ping", "seq": 2**64 - 1, "sent_at": "x"}),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_no_frame_ends_its_own_link_only(stage, name):
    async with linked(stage.evil, stage.session) as run:
        await say(stage.evil, GARBAGE[name])
        async with asyncio.timeout(WITHIN_S):
            await run
    await until(stage.denied)


async def test_text_ends_the_link(stage):
    async with linked(stage.evil, stage.session) as run:
        await say(stage.evil, b'{"type":"Ping"}', WSMsgType.TEXT)
        async with asyncio.timeout(WITHIN_S):
            await run


async def test_a_frame_of_100_mib_is_cut_off_at_the_limit(stage):
    """The length stands in the header of a WebSocket frame: the master closes long before it has read that much."""
    async with linked(stage.evil, stage.session) as run:
        transport = stage.evil.link._transport
        transport.write(b"\x82\xff" + struct.pack("!Q", 100 * 1024 * 1024) + b"\0\0\0\0")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not run.done() and sent < 100 * 1024 * 1024:
                transport.write(b"\0" * 65536)
                sent += 65536
                await asyncio.sleep(0)
        async with asyncio.timeout(WITHIN_S):
            await run
    assert sent < 64 * 1024 * 1024
    assert "exceeds limit" in str(await until(stage.denied))


async def test_fragments_without_end_are_cut_off_at_the_limit(stage):
    """No single fragment is large; together they are."""
    async with linked(stage.evil, stage.session) as run:
        await stage.heard_again(stage.evil)  # nothing of its own stands in between any more
        transport, piece = stage.evil.link._transport, b"\0" * 60_000
        head = b"\xfe" + struct.pack("!H", len(piece)) + b"\0\0\0\0"
        transport.write(b"\x02" + head + piece)
        for _ in range(MAX_FRAME_BYTES // len(piece) + 5):
            transport.write(b"\x00" + head + piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(WITHIN_S):
            await run
    assert "exceeds limit" in str(await until(stage.denied))


async def test_a_compressed_frame_is_not_inflated(stage):
    """The link agreed on no compression; a frame that says otherwise (RSV1) ends it."""
    async with linked(stage.evil, stage.session) as run:
        stage.evil.link._transport.write(b"\xc2\x85\0\0\0\0" + b"\x4b\x4c\x04\x00\x00")
        async with asyncio.timeout(WITHIN_S):
            await run


# --- frames about what is not its own -------------------------------------------------------------------------------
async def test_reports_of_anothers_instance_change_nothing_and_are_audited(stage):
    before = await stage.instance()
    async with linked(stage.evil, stage.session):
        stage.evil.link.send(Report(make_report(stage.instance_id, state=State.FAILED, pid=1)))
        stage.evil.link.send(Report(make_report(stage.instance_id, generation=999, removed=True)))
        stage.evil.link.send(Snapshot((make_report(stage.instance_id, state=State.STOPPED),), 5))
        (row,) = await until(stage.denied)
        await stage.heard_again(stage.evil)
    assert row["target"] == f"instance:{stage.instance_id}"
    after = await stage.instance()
    assert {**after, "operation_id": None} == {**before, "operation_id": None}
    assert not [frame for frame in stage.evil.heard if isinstance(frame, Apply)]


async def test_events_of_anothers_instance_are_not_written(stage):
    async with linked(stage.evil, stage.session):
        stage.evil.link.send(Events((make_event(1, stage.instance_id, reason=Reason("x", "forged")),)))
        await until(lambda: is_acknowledged(stage.evil))
    timeline = await stage.api.get(f"/instances/{stage.instance_id}/events")
    assert "forged" not in str(timeline)


async def is_acknowledged(worker):
    return [frame for frame in worker.heard if type(frame).__name__ == "EventsAck"]


async def test_progress_of_anothers_operation_is_not_shown(stage):
    async with linked(stage.evil, stage.session):
        progress = PrepareProgress(stage.instance_id, 1, "prove", 666, 667)
        stage.evil.link.send(Progress(progress))
        await stage.heard_again(stage.evil)
        shown = str(await stage.api.get(f"/operations/{stage.operation_id}"))
        assert "666" not in shown
        stage.good.link.send(Progress(progress))
        await stage.heard_again(stage.good)
        assert "666" in str(await stage.api.get(f"/operations/{stage.operation_id}"))


async def test_metrics_of_anothers_instance_are_dropped(stage):
    async with linked(stage.evil, stage.session):
        now_s = datetime.now(UTC).timestamp()
        stage.evil.link.send(Sample(now_s, (1.0,) * 8, instances={stage.instance_id: (66.0, 66.0)}))
        await stage.heard_again(stage.evil)
    assert (await stage.instance())["metrics"] == {}
    assert (await stage.api.get(f"/instances/{stage.instance_id}/metrics"))["series"].get("cpu_percent", []) == []


async def test_unknown_instances_do_not_fill_the_audit_log(stage):
    """Two evil nodes: the first one's flood does not hide the second."""
    other = await join(stage.master, stage.session, "evil-2")
    async with linked(stage.evil, stage.session), linked(other, stage.session):
        for number in range(1500):
            await say(stage.evil, encode(Report(make_report(f"made-up-{number}"))))
        await stage.heard_again(stage.evil)
        other.link.send(Report(make_report("made-up-elsewhere")))
        await until(lambda: seen_of(stage, other.node_id))
    total = (await stage.api.get("/audit?outcome=denied&limit=1"))["total"]
    assert total < 200


async def seen_of(stage, node_id):
    rows = (await stage.api.get("/audit?outcome=denied&limit=500"))["items"]
    return [row for row in rows if row["actor_id"] == node_id]


async def test_a_clone_with_a_new_boot_each_time_makes_no_crowd(stage):
    async with linked(stage.evil, stage.session):
        for number in range(20):
            clone = SimWorker(stage.master.url, "evil", key=stage.evil.key, node_id=stage.evil.node_id)
            clone.fingerprint = make_fingerprint("evil", boot_id=f"boot-{number}")
            with pytest.raises(Refused, match="quarantined"):
                await clone.dial(stage.session)
        assert not stage.evil.link.end
    assert (await stage.api.get("/nodes?status=quarantined"))["total"] == 8
    assert len(await stage.denied()) == 8


# --- values nobody would send -----------------------------------------------------------------------------------------
ODD_REPORTS = {
    "far_future": {"at": datetime(9999, 12, 31, tzinfo=UTC)},
    "far_past": {"at": datetime(1, 1, 1, tzinfo=UTC)},
    "huge_pid": {"pid": 2**63 - 1},
    "negative_pid": {"pid": -1},
    "beyond_sqlite": {"restarts": 2**64 - 1, "exit_code": 2**64 - 1, "restart_seq": 2**64 - 1},
    "huge_generation": {"generation": 2**64 - 1},
    "negative_generation": {"generation": -(2**63)},
    "huge_words": {"reason": Reason("x" * 300_000, "y" * 300_000, {"z" * 1000: "w" * 100_000})},
    "surrogates": {"exit_signal": "\ufffe\ufdd0", "version": "\0\x1b[2J"},
    "nan": {"reason": Reason("x", "y", {"cpu": math.nan, "mem": math.inf})},
}


@pytest.mark.parametrize("name", ODD_REPORTS)
async def test_odd_reports_of_ones_own_instance_break_no_answer(stage, name):
    """The good node's worker is the evil one here: its instance stays readable, bounded, and can be destroyed."""
    stage.good.link.send(Report(make_report(stage.instance_id, **ODD_REPORTS[name])))
    stage.good.link.send(Events((make_event(1, stage.instance_id),)))
    await until(lambda: is_acknowledged(stage.good))
    stage.good.link.send(Snapshot((make_report(stage.instance_id, **ODD_REPORTS[name]),), 1))
    await stage.heard_again(stage.good)
    for path in ("", "/events"):
        async with stage.api.session.get(f"{stage.master.url}/api/v1/instances/{stage.instance_id}{path}") as answer:
            assert answer.status == 200
            assert len(await answer.read()) < 64 * 1024
    await stage.api.delete(f"/instances/{stage.instance_id}?stop=1")


async def test_stamps_without_a_zone_are_no_stamps(stage):
    async with linked(stage.evil, stage.session):
        frame = {"type": "Ping", "seq": 1, "sent_at": "2026-01-01T00:00:00"}
        await say(stage.evil, _pack(frame))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await stage.evil.news.wait()
    async with stage.api.session.get(f"{stage.master.url}/api/v1/nodes") as answer:
        assert answer.status == 200


async def test_a_flood_of_nan_series_costs_a_bounded_number_of_rings(stage):
    async with linked(stage.evil, stage.session):
        for second in range(20):
            extra = {f"series-{second}-{number}": (math.nan, math.inf, 1.0)[number % 3] for number in range(2000)}
            values = (math.nan,) * len(NODE_SERIES)
            stage.evil.link.send(Sample(1e18 if second % 2 else -1e18, values, extra))
            stage.evil.link.send(Sample(datetime.now(UTC).timestamp(), values, extra))
            await stage.heard_again(stage.evil)
    names = (await stage.api.get(f"/nodes/{stage.evil.node_id}/metrics"))["names"]
    assert len(names) <= 600
    async with stage.api.session.get(f"{stage.master.url}/api/v1/nodes") as answer:
        assert "NaN" not in await answer.text()


async def test_a_fingerprint_without_end_is_cut(stage):
    big = "x" * 100_000
    evil = stage.evil
    evil.fingerprint = msgspec.structs.replace(
        evil.fingerprint, hostname=big, platform=big, macs=tuple(f"m{n}" for n in range(20_000)), ips=(big,) * 2
    )
    async with linked(evil, stage.session):
        await until(lambda: linked_nodes(stage, 2))
        async with stage.api.session.get(f"{stage.master.url}/api/v1/nodes/{evil.node_id}") as answer:
            assert len(await answer.read()) < 64 * 1024


async def linked_nodes(stage, count):
    return len([node for node in (await stage.api.get("/nodes"))["items"] if node["linked"]]) == count


async def test_a_clock_that_is_wrong_by_millennia_stays_a_number(stage):
    async with linked(stage.evil, stage.session):
        for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC) - timedelta(days=1)):
            stage.evil.link.send(Ping(1, at))
        await stage.heard_again(stage.evil)
        node = await stage.api.get(f"/nodes/{stage.evil.node_id}")
        assert isinstance(node["clock_skew_s"], float)


async def test_events_out_of_order_are_kept_once_each(stage):
    stage.good.link.send(Events(tuple(make_event(seq, stage.instance_id) for seq in (5, 3, 5, 1, 2**62))))
    await until(lambda: is_acknowledged(stage.good))
    stage.good.link.send(Events(tuple(make_event(seq, stage.instance_id) for seq in (1, 3, -7))))
    async with asyncio.timeout(WITHIN_S):
        while len(await is_acknowledged(stage.good)) < 2:  # noqa: ASYNC110 - counted in what came
            await asyncio.sleep(0.02)
    timeline = await stage.api.get(f"/instances/{stage.instance_id}/events")
    assert timeline["total"] <= 5
