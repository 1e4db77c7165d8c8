"""ops-sim: a fleet of simulated workers in one process, speaking the real protocol through whatever weather is asked for.

    python -m tests.bench.ops_sim --master http://127.0.0.1:8080 --token opsj1.… --workers 200
    … --loss 0.01 --delay 0.5 --cut 0.001 --storm 60          bad weather
    … --key NAME                                              nodes that `seed_fleet` wrote into the database before

Tells how it goes as one JSON line each `--report` seconds. Each worker is a `SimWorker`; they come back like the real
ones (full jitter, 1 s … 10 s).
"""

import argparse
import asyncio
import gc
import hashlib
import math
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops_system.master.nodes import store
from ops_system.master.nodes.rules import NodeRecord
from ops_system.model.errors import OpsError
from ops_system.model.ids import NodeId, spell_id
from ops_system.model.metrics import NODE_SERIES
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import HEARTBEAT_S, Ping, Pong, Sample
from ops_system.runtime.link import Link
from ops_system.runtime.tasks import every, spawn
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from ops_system.worker.patience import retry_wait_s
from tests.bench.measure import percentile
from tests.bench.sim import Refused, SimWorker, make_fingerprint

STAMP_MODULO = 1_000_000
MAX_ROUNDS_KEPT = 10_000
DIALS_AT_ONCE = 200
_STAMP = NODE_SERIES.index("load1")
_AWAY = (aiohttp.ClientError, OSError, OpsError, TimeoutError, AssertionError)

EXTRA = {
    "cpu0_percent": 12.5,
    "cpu1_percent": 13.5,
    "cpu2_percent": 14.5,
    "cpu3_percent": 15.5,
    "disk:/:used_percent": 41.5,
    "disk:/:used_bytes": 41_500_000_000.0,
    "disk:/var:used_percent": 42.5,
    "disk:/srv/data:used_percent": 43.5,
    "net:eth0:rx_bytes_per_s": 125_000.5,
    "net:eth0:tx_bytes_per_s": 64_000.5,
    "net:eth1:rx_bytes_per_s": 25_000.5,
    "net:eth1:tx_bytes_per_s": 24_000.5,
    "temp:coretemp0_celsius": 48.5,
}
"""What a plain machine adds to the fixed series; a sample of both has about 570 bytes on the wire."""


class Weather(msgspec.Struct, frozen=True):
    """What the network does to the fleet. Chances are per second and worker; 0 is fair weather."""

    loss: float = 0.0  # a sample that never leaves; the next one counts it, as the real outbox does
    delay_s: float = 0.0  # a frame leaves up to so much late; the order stays
    cut: float = 0.0  # a link that breaks without a word
    storm_s: float = 0.0  # all links break at once, so often


class Report(msgspec.Struct, frozen=True):
    """How the fleet is. Rounds: Ping to Pong, in ms, since the last report."""

    at_s: float
    linked: int
    sent: int  # samples handed to links since the start
    lost: int  # to the weather and to full outboxes
    dials: int
    refused: int
    round_p50_ms: float
    round_p99_ms: float


@dataclass
class Tally:
    """What all workers of a fleet count together."""

    linked: int = 0
    sent: int = 0
    lost: int = 0
    dials: int = 0
    refused: int = 0
    rounds_ms: list[float] = field(default_factory=list)

    def report(self) -> Report:
        """Return the picture and begin new rounds."""
        rounds, self.rounds_ms = self.rounds_ms or [0.0], []
        p50, p99 = percentile(rounds, 0.5), percentile(rounds, 0.99)
        counts = (self.linked, self.sent, self.lost, self.dials, self.refused)
        return Report(round(time.time(), 3), *counts, round(p50, 2), round(p99, 2))


def stamp_of(at_s: float) -> float:
    """Return the milliseconds that a stamped sample carries in `load1`; a viewer takes them from its own clock."""
    return float(int(at_s * 1000) % STAMP_MODULO)


def age_ms(stamp: float, now_s: float) -> float:
    """Return how old a stamp is."""
    return (now_s * 1000 - stamp) % STAMP_MODULO


def make_key(fleet: str, number: int) -> Ed25519PrivateKey:
    """Return the node key of one worker of a named fleet; the same each time."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"ops-sim {fleet} {number}".encode()).digest())


def make_node_id(fleet: str, number: int) -> NodeId:
    """Return the id of one worker of a named fleet; the same each time."""
    return NodeId(spell_id("node", hashlib.sha256(f"ops-sim node {fleet} {number}".encode()).digest()[:10]))


def make_worker(url: str, fleet: str, number: int) -> SimWorker:
    """Return one worker of a named fleet."""
    worker = SimWorker(url, f"sim-{number:04d}", make_key(fleet, number), node_id=make_node_id(fleet, number))
    worker.fingerprint = make_fingerprint(worker.name, f"boot-{number}")
    return worker


async def seed_fleet(folder: DataFolder, fleet: str, workers: int) -> None:
    """Put a named fleet on record in a data folder whose master does not run."""
    records = [_record(make_worker("", fleet, number)) for number in range(workers)]
    database = await Database.open(folder, load_migrations("ops_system.master"))
    try:
        async with database.transaction() as tx:
            for record in records:
                await store.save(tx, record)
    finally:
        await database.close()


def seed(folder: DataFolder, fleet: str, workers: int) -> None:
    """Do as `seed_fleet`, for programs without a loop."""
    asyncio.run(seed_fleet(folder, fleet, workers))


def _record(worker: SimWorker) -> NodeRecord:
    return NodeRecord(
        id=worker.node_id,
        name=worker.name,
        created_at=datetime.now(UTC),
        created_by="ops-sim",
        public_key=worker.key.public_key().public_bytes_raw(),
        labels={"sim": "1"},
        fingerprint=worker.fingerprint,
    )


class FleetWorker:
    """Keeps one simulated worker linked, with heartbeats and a sample a second."""

    def __init__(self, worker: SimWorker, tally: Tally, weather: Weather, *, is_stamped: bool = False) -> None:
        self._worker = worker
        self._tally = tally
        self._weather = weather
        self._is_stamped = is_stamped
        self._phase = random.random() * 2 * math.pi
        self._unsaid = 0
        self._asked_s: dict[int, float] = {}
        self._link: Link | None = None

    async def run(self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, sample_s: float = 1.0) -> None:
        """Stay linked until cancelled."""
        attempt = 0
        while True:
            asked_s = 0.0
            try:
                self._tally.dials += 1
                async with gate:
                    link = await self._worker.dial(session)
                attempt = 0
                await self._carry(link, sample_s)
            except Refused as refused:
                self._tally.refused += 1
                attempt, asked_s = attempt + 1, max(0.0, refused.goodbye.retry_after_s)
            except _AWAY:
                attempt += 1
            await asyncio.sleep(retry_wait_s(attempt, asked_s, random.random()))

    def cut(self) -> None:
        """Break the link as a pulled cable or a killed worker would: without a word."""
        if self._link is not None:
            self._link._abort()

    async def _carry(self, link: Link, sample_s: float) -> None:
        self._link, self._asked_s = link, {}
        self._tally.linked += 1
        try:
            async with asyncio.TaskGroup() as group:
                heart = spawn(group, self._beat(link, sample_s), "sim heart")
                await link.run(self._hear)
                heart.cancel()
        finally:
            self._link = None
            self._tally.linked -= 1

    async def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Pong) and (asked_s := self._asked_s.pop(frame.seq, None)) is not None:
            rounds = self._tally.rounds_ms
            if len(rounds) < MAX_ROUNDS_KEPT:
                rounds.append((time.monotonic() - asked_s) * 1000)

    async def _beat(self, link: Link, sample_s: float) -> None:
        due_s = time.monotonic() + random.random() * sample_s
        next_ping_s, seq = due_s, 0
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()) + self._weather.delay_s * random.random())
            if random.random() < self._weather.cut:
                self.cut()
            if due_s >= next_ping_s:
                seq, next_ping_s = seq + 1, next_ping_s + HEARTBEAT_S
                self._asked_s = {seq: time.monotonic()}
                link.send(Ping(seq, datetime.now(UTC)))
            self._send_sample(link)
            due_s += sample_s

    def _send_sample(self, link: Link) -> None:
        if random.random() < self._weather.loss:
            self._unsaid += 1
            self._tally.lost += 1
            return
        before = link.dropped_samples
        link.send(self._sample(time.time()))
        self._unsaid = 0
        self._tally.sent += 1
        self._tally.lost += link.dropped_samples - before

    def _sample(self, at_s: float) -> Sample:
        """Return one second of a machine whose load swings once a minute."""
        wave = 50.0 + 40.0 * math.sin(at_s / 60.0 * 2 * math.pi + self._phase)
        values = [wave if name.endswith("_percent") else wave * 1000.0 for name in NODE_SERIES]
        if self._is_stamped:
            values[_STAMP] = stamp_of(at_s)
        return Sample(at_s=at_s, node=tuple(values), extra=EXTRA, dropped=self._unsaid)


async def enrol_fleet(session: aiohttp.ClientSession, url: str, token: str, count: int) -> list[SimWorker]:
    """Let so many new workers join with one token."""
    _, _, token_id, secret = token.split(".", 3)
    workers = [SimWorker(url, f"sim-{number:04d}") for number in range(count)]
    for worker in workers:
        await worker.enrol(session, token_id, secret)
    return workers


async def run_fleet(workers: Sequence[SimWorker], weather: Weather, *, is_stamped: bool, report_s: float) -> None:
    """Run a fleet until cancelled. SIGUSR1 breaks all its links at once."""
    tally, gate = Tally(), asyncio.Semaphore(DIALS_AT_ONCE)
    fleet = [FleetWorker(worker, tally, weather, is_stamped=is_stamped) for worker in workers]

    def cut_all() -> None:
        for one in fleet:
            one.cut()

    async def tell() -> None:
        print(msgspec.json.encode(tally.report()).decode(), flush=True)

    async def blow() -> None:
        while True:
            await asyncio.sleep(weather.storm_s)
            cut_all()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cut_all)
    async with aiohttp.ClientSession(connector=_connector()) as session, asyncio.TaskGroup() as group:
        for one in fleet:
            spawn(group, one.run(session, gate), "sim worker")
        if report_s:
            spawn(group, every(report_s, tell, "sim report"), "sim report")
        if weather.storm_s:
            spawn(group, blow(), "sim storm")
        gc.freeze()


async def run(options: argparse.Namespace) -> None:
    """Do what the command line asks."""
    if options.key:
        workers = [make_worker(options.master, options.key, number) for number in range(options.workers)]
    else:
        async with aiohttp.ClientSession(connector=_connector()) as session:
            workers = await enrol_fleet(session, options.master, options.token, options.workers)
    weather = Weather(options.loss, options.delay, options.cut, options.storm)
    await run_fleet(workers, weather, is_stamped=options.stamp, report_s=options.report)


def _connector() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(ssl=False, limit=0)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="ops-sim", description="simulated workers")
    parser.add_argument("--master", default="http://127.0.0.1:8080")
    parser.add_argument("--token", default="", help="a join token with enough uses")
    parser.add_argument("--key", default="", help="the name of a fleet that is on record already, instead of a token")
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--loss", type=float, default=0.0, help="chance that a sample never leaves")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a frame leaves late at most")
    parser.add_argument("--cut", type=float, default=0.0, help="chance per second that a link breaks")
    parser.add_argument("--storm", type=float, default=0.0, help="seconds between storms that break all links")
    parser.add_argument("--stamp", action="store_true", help="carry the time of sending in load1")
    parser.add_argument("--report", type=float, default=0.0, help="seconds between lines that tell how it goes")
    options = parser.parse_args()
    if urlsplit(options.master).hostname not in {"127.0.0.1", "localhost", "::1"}:
        parser.error("simulated workers speak to a master on this machine only")
    if bool(options.token) is bool(options.key):
        parser.error("give either --token or --key")
    gc.set_threshold(50_000, 50, 1000)
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options))


if __name__ == "__main__":
    main()
