"""Metrics: memory of a point, cost of a sample, a week of one node from the API, the worker beside node_exporter."""

import asyncio
import http.client
import random
import shutil
import subprocess
import tempfile
import time
import tracemalloc
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops_system.master.bus import Bus
from ops_system.master.metrics.history import History
from ops_system.master.metrics.service import MetricsBook
from ops_system.master.metrics.windows import SERIES_BYTES, TICKS, WINDOW_S, Rings
from ops_system.model.ids import NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.protocol.frames import Sample
from tests.bench.measure import cpu_seconds, emit, family, median, memory_mb, percentile
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import Fleet, free_port, until
from tests.fakes.history import write_history

EXTRA = {f"cpu{core}_percent": 1.0 for core in range(8)} | {f"net:eth{nic}:rx_bytes_per_s": 1.0 for nic in range(4)}
DAYS = 7
ROUNDS = 30
WATCH_S = 60
NODES = 2000


def measure_points() -> None:
    """What a stored point takes, with everything around it."""
    names = list(NODE_SERIES)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = []
    for _ in range(100):
        rings = Rings()
        for name in names:
            rings.add(name)
        kept.append(rings)
    used = (tracemalloc.get_traced_memory()[0] - before) / (len(kept) * len(names))
    tracemalloc.stop()
    emit("memory of a point, both tiers in memory", used / (WINDOW_S + 2 * TICKS), "B", target=5)
    emit("memory of a series", used, "B", nominal=SERIES_BYTES)


def measure_ingest(folder: Path) -> None:
    """Samples of many nodes into windows and files, nobody watching; core and extra series alike."""
    clock = FakeClock()
    history = History(folder, budget_bytes=10**10)
    book = MetricsBook(Bus(), clock, budget_bytes=10**9, history=history)
    rows = [tuple(random.random() * 100 for _ in NODE_SERIES) for _ in range(64)]
    nodes = [NodeId(f"n{number}") for number in range(NODES)]
    costs: list[float] = []
    for _second in range(25):
        at_s = clock.now().timestamp()
        for number, node_id in enumerate(nodes):
            sample = Sample(at_s, rows[number % 64], EXTRA)
            begun = time.perf_counter()
            book.ingest(node_id, sample)
            costs.append((time.perf_counter() - begun) * 1e6)
        clock.advance(1.0)
    costs = costs[2 * NODES :]  # the first seconds make the rings
    emit("a sample of 28 values into the window, median", median(costs), "µs", p99=round(percentile(costs, 0.99), 1))
    measure_saving(book, clock, [(node_id, Sample(0, rows[0], EXTRA)) for node_id in nodes])


def measure_saving(book: MetricsBook, clock: FakeClock, samples: list[tuple[NodeId, Sample]]) -> None:
    """What one minute of a node takes to write, its file being there."""
    asyncio.run(save_all(book))
    for _ in range(6):
        for node_id, sample in samples:
            book.ingest(node_id, msgspec.structs.replace(sample, at_s=clock.now().timestamp()))
        clock.advance(10)
    begun = time.process_time()
    asyncio.run(save_all(book))
    emit("a minute of a node written, 28 series", (time.process_time() - begun) / NODES * 1e6, "µs of CPU")


async def save_all(book: MetricsBook) -> None:
    """Write every node once."""
    for _ in range(60):
        await book._tend(0.0)


def write_week(folder: Path, subject: str, now_s: float) -> int:
    """Make the history files of a week of noise, which squeezes worst; return their bytes."""
    span_s = (int(now_s) - DAYS * 86_400, int(now_s))
    return write_history(folder, subject, [*NODE_SERIES, *EXTRA], span_s, lambda _series, _at_s: random.random() * 100)


def measure_week(fleet: Fleet) -> None:
    """The time from the request until the whole answer is here, on one connection."""
    node_id = fleet.call("POST", "/nodes", {"name": "planned"})["id"]
    now_s = datetime.now(UTC).timestamp()
    size = write_week(fleet.data / "metrics", f"node:{node_id}", now_s)
    emit("files of a week of a node with 28 series", size / 1e6, "MB", series_kb=round(size / 28e3, 1))
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port)
    for what, series in (("one series", "cpu_percent"), ("all 16 fixed series", ""), ("all 28 series", "*")):
        times = []
        for _ in range(ROUNDS):
            path = f"/api/v1/nodes/{node_id}/metrics?series={series}&from={now_s - DAYS * 86_400:.0f}&to={now_s:.0f}"
            begun = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": f"Bearer {fleet.token}"})
            answer = connection.getresponse()
            body = answer.read()
            times.append((time.perf_counter() - begun) * 1e3)
            assert answer.status == 200, body
        emit(f"7 days of one node from the API, {what}, median", median(times), "ms", target=30, bytes=len(body))
    connection.close()


def measure_worker(fleet: Fleet) -> None:
    """The worker sampling each second beside node_exporter scraped each second, over the same minute."""
    fleet.start_worker("w1")
    pids = {"worker": family(fleet.programs["w1"].pid)}
    exporter = shutil.which("prometheus-node-exporter")
    port = free_port()
    command = [exporter, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    peer = subprocess.Popen(command, stderr=subprocess.DEVNULL) if exporter else None
    try:
        if peer is not None:
            until(lambda: scrape(port), "node_exporter answers")
            pids["node_exporter"] = [peer.pid]
        time.sleep(10)
        spent = {name: cpu_seconds(some) for name, some in pids.items()}
        begun = time.monotonic()
        while (elapsed_s := time.monotonic() - begun) < WATCH_S:
            if peer is not None:
                scrape(port)
            time.sleep(1.0 - elapsed_s % 1.0)
        for name, some in pids.items():
            percent = 100 * (cpu_seconds(some) - spent[name]) / (time.monotonic() - begun)
            emit(f"{name} at one sample a second", percent, "% of a core", rss_mb=round(memory_mb(some), 1))
    finally:
        if peer is not None:
            peer.terminate()
            peer.wait()


def scrape(port: int) -> int:
    """Read what node_exporter tells; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return len(answer.read())
    except OSError:
        return 0


def main() -> None:
    """Run everything."""
    measure_points()
    with tempfile.TemporaryDirectory() as scratch:
        measure_ingest(Path(scratch) / "ingest")
        (Path(scratch) / "fleet").mkdir()
        with Fleet(Path(scratch) / "fleet") as fleet:
            fleet.start_master()
            measure_week(fleet)
            measure_worker(fleet)


if __name__ == "__main__":
    main()
