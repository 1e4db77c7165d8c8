"""5 000 workers with a sample a second each on one master, ten browsers watching; beside it Prometheus with as many targets.

    python -m tests.bench.bench_fleet [WORKERS [SECONDS]]

The master and Prometheus run one after the other, so that neither takes the other's cores; the load is the same 29
values a worker and second. Workers speak plain http on loopback (no TLS; Prometheus scrapes plain http, too). Then a
watch tells which pauses the master's loop makes and what runs in them (`watched_master`; the CPU is taken before), `/metrics`
is read once, and all links break at once: how long the fleet takes to come back, and what the API feels of it.

The CPU is that of the process, from /proc. Ingest is measured from before a sample is written to the link until the
answer to the Ping behind it is here: the way there and back, taking it in, and every pause of the loop.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ops_system.storage.folder import DataFolder
from tests.bench.measure import cpu_seconds, emit, memory_mb
from tests.bench.ops_sim import Report, seed
from tests.bench.watched_master import Pauses
from tests.fakes.fleet import Fleet, free_port, until

ROOT = Path(__file__).resolve().parents[2]
KEY = "bench"
VIEWERS = 10
SETTLE_S = 15.0
STORM_S = 40.0
REPORT = "pauses.json"
RAN = 3  # so many of what was seen in a pause are told
COME_WITHIN_S = 180.0


def program(*words: object) -> subprocess.Popen[str]:
    """Start one of the programs of this bench."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def make_watched(folder: Path) -> Path:
    """Return a program that is the master with a watch on it."""
    path = folder / "watched-master"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.bench.watched_master "$@"\n')
    path.chmod(0o755)
    return path


def last_line(running: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a program and return the JSON of its last line."""
    told, _ = running.communicate(timeout=300)
    if running.returncode:
        raise AssertionError(f"{running.args!r} ended with {running.returncode}")
    return dict(json.loads(told.splitlines()[-1]))


@contextmanager
def simulated(fleet: Fleet, workers: int) -> Iterator[subprocess.Popen[str]]:
    """Run a simulated fleet."""
    words = ("--master", fleet.url, "--key", KEY, "--workers", str(workers), "--stamp", "--report", "1")
    with told_by(fleet).open("wb") as told:
        running = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.ops_sim", *words], cwd=ROOT, stdout=told, text=True
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


def told_by(fleet: Fleet) -> Path:
    """Return where the simulated fleet tells how it is."""
    return fleet.folder / "sim.jsonl"


def last_report(fleet: Fleet) -> Report:
    """Return what the simulated fleet told last; the master's own `/metrics` shows the whole fleet, too dear to poll."""
    lines = [line for line in told_by(fleet).read_text().splitlines(keepends=True) if line.endswith("\n")]
    return msgspec.json.decode(lines[-1], type=Report) if lines else Report(0.0, 0, 0, 0, 0, 0, 0.0, 0.0)


def gauge(fleet: Fleet, name: str) -> float:
    """Return one number of the master's own `/metrics`."""
    with urllib.request.urlopen(f"{fleet.url}/metrics", timeout=120) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def measure_rest(fleet: Fleet, sim: subprocess.Popen[str], workers: int, seconds: float) -> dict[str, float]:
    """Measure a linked fleet at its usual pace."""
    pid = fleet.programs["master"].pid
    viewers = program("tests.bench.fleet_watch", "viewers", fleet.url, fleet.token, VIEWERS, seconds + 4)
    probe = program("tests.bench.fleet_watch", "probe", fleet.url, KEY, workers, seconds + 4)
    time.sleep(2)  # they start and get their snapshot
    dropped, first = gauge(fleet, "ops_metrics_dropped_samples_total"), last_report(fleet)
    (cpu_s, sim_s), started = costs(pid, sim.pid), time.monotonic()
    time.sleep(seconds)
    (after_s, sim_after_s), spent_s = costs(pid, sim.pid), time.monotonic() - started
    last = last_report(fleet)
    rate = (last.sent - first.sent) / (last.at_s - first.at_s)
    seen, taken = last_line(viewers), last_line(probe)
    what = f"{workers} workers"
    percent = 100 * (after_s - cpu_s) / spent_s
    more = {"samples_per_s": round(rate), "simulator": round(100 * (sim_after_s - sim_s) / spent_s, 1)}
    emit(f"{what}: master, CPU", percent, "% of a core", **more)
    emit(f"{what}: master, memory", memory_mb([pid]), "MB RSS")
    emit(f"{what}: sample to browser socket, p95", seen["p95_ms"] / 1000, "s", **seen)
    emit(f"{what}: ingest, p99", taken["p99_ms"], "ms", **taken)
    lost = gauge(fleet, "ops_metrics_dropped_samples_total") - dropped
    emit(f"{what}: samples dropped", lost, "samples")
    return {"cpu": percent, "memory": memory_mb([pid])}


def measure_pauses(fleet: Fleet, workers: int, seconds: float) -> None:
    """Tell the pauses of the loop while browsers watch; then while /metrics is read."""
    viewers = program("tests.bench.fleet_watch", "viewers", fleet.url, fleet.token, VIEWERS, seconds + 10)
    time.sleep(2)
    found = watch(fleet, lambda: time.sleep(seconds))
    what = f"{workers} workers: loop of the master"
    emit(f"{what}, late by, p99", found.late["p99_ms"], "ms", **found.late, collections=found.collections)
    emit(f"{what}, CPU between two looks at the clock, p99", found.cpu["p99_ms"], "ms", **found.cpu)
    for pause in found.longest:
        ran = sorted(pause.seen, key=lambda name: -pause.seen[name])[:RAN]
        emit(f"{what}, one of the longest pauses", pause.late_ms, "ms", cpu_ms=pause.cpu_ms, ran=ran)
    last_line(viewers)
    sizes: list[int] = []
    begun = time.monotonic()
    found = watch(fleet, lambda: sizes.append(read_metrics(fleet)))
    emit(f"{workers} workers: GET /metrics", time.monotonic() - begun, "s", megabytes=sizes[0] / 1e6)
    emit(f"{what} meanwhile, CPU in one go, longest", found.cpu["max_ms"], "ms", late_ms=found.late["max_ms"])


def watch(fleet: Fleet, act: Callable[[], object]) -> Pauses:
    """Return the pauses of the master's loop while `act` goes on."""
    master, report = fleet.programs["master"], fleet.folder / REPORT
    report.unlink(missing_ok=True)
    master.send_signal(signal.SIGUSR2)
    act()
    master.send_signal(signal.SIGUSR2)
    until(report.exists, "the watch reports", 60)
    return msgspec.json.decode(report.read_bytes(), type=Pauses)


def read_metrics(fleet: Fleet) -> int:
    """Return the bytes of /metrics."""
    with urllib.request.urlopen(f"{fleet.url}/metrics", timeout=120) as answer:
        return len(answer.read())


def costs(*pids: int) -> list[float]:
    """Return the CPU seconds of each."""
    return [cpu_seconds([pid]) for pid in pids]


def measure_storm(fleet: Fleet, sim: subprocess.Popen[str], workers: int) -> None:
    """Break all links at once."""
    pages = program("tests.bench.fleet_watch", "pages", fleet.url, fleet.token, STORM_S)
    time.sleep(2)
    started = time.monotonic()
    sim.send_signal(signal.SIGUSR1)
    until(lambda: last_report(fleet).linked < workers, "the storm", 20)
    until(lambda: last_report(fleet).linked >= workers, "all links back", COME_WITHIN_S)
    emit(f"{workers} workers: all back after all links broke", time.monotonic() - started, "s")
    felt = last_line(pages)
    emit(f"{workers} workers: GET /nodes in that time, p95", felt["p95_ms"] / 1000, "s", **felt)


def measure_master(folder: Path, workers: int, seconds: float) -> dict[str, float]:
    """Measure the master."""
    settings = {"PYTHONPATH": str(ROOT), "WATCH_REPORT": str(folder / REPORT)}
    with Fleet(folder, master=make_watched(folder), settings=settings) as fleet:
        fleet.start_master()
        fleet.stop("master")
        seed(DataFolder(fleet.data), KEY, workers + 1)
        fleet.start_master()
        empty_mb = memory_mb([fleet.programs["master"].pid])
        emit(f"{workers} workers: master, memory before they come", empty_mb, "MB RSS")
        with simulated(fleet, workers) as sim:
            until(lambda: last_report(fleet).linked >= workers, f"{workers} linked", COME_WITHIN_S)
            time.sleep(SETTLE_S)
            found = measure_rest(fleet, sim, workers, seconds)
            measure_pauses(fleet, workers, seconds)
            measure_storm(fleet, sim, workers)
        return found


def measure_prometheus(folder: Path, workers: int, seconds: float) -> dict[str, float]:
    """Measure Debian's Prometheus with as many targets, scraped each second."""
    port, own = free_port(), free_port()
    targets = [
        f"127.{number // 62500 + 1}.{number // 250 % 250}.{number % 250 + 1}:{port}" for number in range(workers)
    ]
    (folder / "targets.json").write_text(json.dumps([{"targets": targets}]))
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs: [{job_name: fleet, file_sd_configs: [{files: [targets.json]}]}]\n"
    )
    served = program("tests.bench.scrape_targets", port)
    assert served.stdout is not None
    served.stdout.readline()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log)
    try:
        time.sleep(SETTLE_S + 5)
        before_s, started = cpu_seconds([running.pid]), time.monotonic()
        time.sleep(seconds)
        percent = 100 * (cpu_seconds([running.pid]) - before_s) / (time.monotonic() - started)
        up = ask_prometheus(own, "sum(up)")
        found = {"cpu": percent, "memory": memory_mb([running.pid])}
        emit(f"{workers} targets: Prometheus, CPU", percent, "% of a core", targets_up=up)
        emit(f"{workers} targets: Prometheus, memory", found["memory"], "MB RSS")
        return found
    finally:
        for one in (running, served):
            one.kill()
            one.wait()


def ask_prometheus(port: int, query: str) -> float:
    """Return one number."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=30) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def main() -> None:
    """Measure both."""
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    emit("load of the machine before", os.getloadavg()[0], "processes in the last minute")
    with tempfile.TemporaryDirectory() as folder:
        ours = measure_master(Path(folder), workers, seconds)
    if shutil.which("prometheus") is None:
        print("# no prometheus here", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        theirs = measure_prometheus(Path(folder), workers, seconds)
    emit(f"{workers} workers: CPU, master / Prometheus", ours["cpu"] / theirs["cpu"], "ratio")
    emit(f"{workers} workers: memory, master / Prometheus", ours["memory"] / theirs["memory"], "ratio")


if __name__ == "__main__":
    main()
