import asyncio
import base64
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.ids import InstanceId
from ops_system.model.instances import HealthState, InstanceEvent, InstanceReport, State
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import MAX_FRAME_BYTES, Goodbye, Sample
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.tasks import running
from ops_system.worker.fingerprint.base import local_probe, read_fingerprint
from ops_system.worker.identity import Identity, load_or_make_key
from ops_system.worker.outgoing import snapshot_of
from ops_system.worker.patience import LAST_RETRY_S, ServerClock, retry_wait_s
from ops_system.worker.uplink import Uplink
from tests.fakes.mastersend import NODE, Authority, MastersEnd, now

FINGERPRINT = read_fingerprint(local_probe())


def report(state: State = State.RUNNING) -> InstanceReport:
    return InstanceReport(InstanceId("i1"), 1, state, HealthState.UNKNOWN, now())


def event(seq: int) -> InstanceEvent:
    return InstanceEvent(seq, InstanceId("i1"), 1, now(), "state", State.RUNNING, HealthState.UNKNOWN)


class Kept:
    """The rest of a worker: events until acknowledged, wishes as they come."""

    def __init__(self) -> None:
        self.events: list[InstanceEvent] = []
        self.applied: list = []
        self.forgotten: list = []
        self.is_untimely = False
        self.changed = asyncio.Event()

    def reports(self):
        return (report(),)

    def events_after(self, seq: int, limit: int):
        return tuple(event for event in self.events if event.seq > seq)[:limit]

    def last_event_seq(self) -> int:
        return self.events[-1].seq if self.events else 0

    async def on_apply(self, frame, server_now) -> bool:
        self.applied.append((frame, server_now))
        self.changed.set()
        return self.is_untimely

    async def on_forget(self, instance_id) -> None:
        self.forgotten.append(instance_id)

    async def on_events_ack(self, seq: int) -> None:
        self.events = [event for event in self.events if event.seq > seq]
        self.changed.set()


@pytest.fixture
def kept() -> Kept:
    return Kept()


def make_uplink(master: MastersEnd, folder: Path, dice: float = 0.0, refused_retry_s: float = 600.0) -> Uplink:
    key = load_or_make_key(folder)
    identity = Identity(NODE, "n1", master.url, master.authority.pem, master.signing_public_key, now())
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    master.node_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_text()))
    return Uplink(identity, key, lambda: FINGERPRINT, Handlers(), dice=lambda: dice, refused_retry_s=refused_retry_s)


@pytest.fixture
async def uplink(master: MastersEnd, kept: Kept, tmp_path: Path) -> AsyncIterator[Uplink]:
    link = make_uplink(master, tmp_path)
    async with running(link.run(kept), "uplink"):
        await master.until(lambda: master.snapshots)
        yield link


async def test_over_tls_the_proof_names_the_certificate_that_was_seen(tmp_path: Path, kept: Kept) -> None:
    master = MastersEnd(tmp_path)
    await master.start(is_tls=True)
    async with running(make_uplink(master, tmp_path).run(kept), "uplink"):
        await master.until(lambda: master.snapshots)
    await master.stop()
    assert master.proofs[0].certificate_sha256 == master.authority.leaf_sha256
    assert master.snapshots[0].reports[0].instance_id == "i1"


async def test_a_master_with_another_authority_is_not_talked_to(tmp_path: Path, kept: Kept) -> None:
    master = MastersEnd(tmp_path)
    await master.start(is_tls=True)
    master.authority.pem = Authority(tmp_path).pem
    link = make_uplink(master, tmp_path, dice=0.01)
    async with running(link.run(kept), "uplink"), asyncio.timeout(30):
        while not link.picture.message:  # noqa: ASYNC110 - the uplink's picture sets no event
            await asyncio.sleep(0.01)
    await master.stop()
    assert "CERTIFICATE_VERIFY_FAILED" in link.picture.message
    assert master.proofs == []


async def test_events_are_sent_again_until_they_are_acknowledged(
    master: MastersEnd, kept: Kept, uplink: Uplink
) -> None:
    master.acks = False
    kept.events = [event(1), event(2)]
    uplink.wake_events()
    await master.until(lambda: len(master.events) == 2)
    kept.events.append(event(3))
    uplink.wake_events()
    await master.until(lambda: len(master.events) == 3)
    assert [item.seq for item in master.events] == [1, 2, 3]
    master.events.clear()
    master.acks = True
    master.link.close()
    await master.until(lambda: len(master.events) == 3)
    assert len(master.proofs) == 2
    async with asyncio.timeout(30):
        while kept.events:
            kept.changed.clear()
            await kept.changed.wait()


async def test_reports_and_samples_go_up_and_the_heart_beats(master: MastersEnd, uplink: Uplink) -> None:
    uplink.send_report(report(State.STOPPED))
    uplink.send_sample(Sample(100.0, (1.0,)))
    uplink.send_sample(Sample(100.01, (2.0,)))  # sooner than the master wants them
    uplink.send_sample(Sample(100.1, (3.0,)))
    await master.until(lambda: len(master.samples) == 2 and master.pings >= 2)
    assert master.reports[InstanceId("i1")].state is State.STOPPED
    assert [sample.node for sample in master.samples] == [(1.0,), (3.0,)]
    assert uplink.picture.state == "linked"
    assert await uplink.session_token() == "session"


async def test_a_node_that_is_not_wanted_does_not_come_back(master: MastersEnd, kept: Kept, tmp_path: Path) -> None:
    master.goodbye = Goodbye("forbidden", "this node is revoked", -1.0)
    link = make_uplink(master, tmp_path)
    async with running(link.run(kept), "uplink"):
        await master.until(lambda: master.proofs)
        async with asyncio.timeout(30):
            while link.picture.state != "refused":  # noqa: ASYNC110 - the uplink's picture sets no event
                await asyncio.sleep(0.01)
    assert len(master.proofs) == 1
    assert "revoked" in link.picture.message


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_node_that_was_refused_asks_again_later_or_when_told(
    master: MastersEnd, kept: Kept, tmp_path: Path, is_asked: bool
) -> None:
    master.goodbye = Goodbye("forbidden", "this node is revoked", -1.0)
    link = make_uplink(master, tmp_path, refused_retry_s=600.0 if is_asked else 0.05)
    async with running(link.run(kept), "uplink"):
        async with asyncio.timeout(30):
            while link.picture.state != "refused":  # noqa: ASYNC110 - the uplink's picture sets no event
                await asyncio.sleep(0.01)
        assert "asked again every" in link.picture.message
        master.goodbye = None
        if is_asked:
            link.try_again()
        await master.until(lambda: master.snapshots)
        assert link.picture.state == "linked"


async def test_a_wish_comes_with_the_masters_time(
    master: MastersEnd, kept: Kept, uplink: Uplink, monkeypatch: pytest.MonkeyPatch
) -> None:
    del uplink
    master.forget(InstanceId("i9"))
    from tests.fakes.wishes import wish

    master.apply(wish())
    async with asyncio.timeout(30):
        await kept.changed.wait()
    _frame, server_now = kept.applied[0]
    assert abs((now() - server_now).total_seconds()) < 5
    assert kept.forgotten == ["i9"]


async def test_a_wish_at_the_wrong_time_is_looked_at_once_more_when_the_clock_was_heard(
    master: MastersEnd, kept: Kept, uplink: Uplink
) -> None:
    del uplink
    kept.is_untimely = True
    from tests.fakes.wishes import wish

    master.apply(wish(), issued_at=now() + dt.timedelta(days=3))
    pings = master.pings
    async with asyncio.timeout(30):
        while len(kept.applied) < 2:
            kept.changed.clear()
            await kept.changed.wait()
    await master.until(lambda: master.pings >= pings + 4)
    assert len(kept.applied) == 2
    assert kept.applied[0][0] == kept.applied[1][0]


async def test_a_hundred_reconnects_leave_nothing_behind(master: MastersEnd, kept: Kept, tmp_path: Path) -> None:
    link = make_uplink(master, tmp_path)
    open_files = Path("/proc/self/fd")
    async with running(link.run(kept), "uplink"):
        await master.until(lambda: len(master.snapshots) == 1)
        before = len(list(open_files.iterdir())), len(asyncio.all_tasks())
        for count in range(2, 102):
            master.link.close()
            await master.until(lambda count=count: len(master.snapshots) >= count)
        after = len(list(open_files.iterdir())), len(asyncio.all_tasks())
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 3


async def test_endless_reasons_never_stop_the_talk(master: MastersEnd, kept: Kept, uplink: Uplink) -> None:
    reason = Reason("unpack_failed", "x" * 3_000_000)
    kept.events = [msgspec.structs.replace(event(seq), reason=reason) for seq in range(1, 301)]
    uplink.wake_events()
    uplink.send_report(msgspec.structs.replace(report(State.FAILED), reason=reason))
    await master.until(lambda: len(master.events) == 300 and master.reports[InstanceId("i1")].state is State.FAILED)
    assert len(master.proofs) == 1


@pytest.mark.parametrize("count", [1, 1000, 3000])
def test_a_snapshot_fits_one_frame(count: int) -> None:
    long = msgspec.structs.replace(report(State.FAILED), reason=Reason("unpack_failed", "x" * 5000))
    frame = snapshot_of((long,) * count, 7)
    assert len(frame.reports) == count
    assert len(msgspec.msgpack.encode(frame)) <= MAX_FRAME_BYTES


def test_the_masters_clock_goes_on_by_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monotonic_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: monotonic_s)
    clock = ServerClock()
    heard = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    clock.hear(heard)
    monotonic_s = 160.0
    assert clock.now() == heard + dt.timedelta(seconds=60)


@given(attempt=st.integers(0, 10_000), asked_s=st.floats(-5, 100), dice=st.floats(0, 1))
def test_waits_are_jittered_bounded_and_never_shorter_than_asked(attempt: int, asked_s: float, dice: float) -> None:
    wait_s = retry_wait_s(attempt, asked_s, dice)
    assert max(0.0, asked_s) <= wait_s <= max(0.0, asked_s) + LAST_RETRY_S
