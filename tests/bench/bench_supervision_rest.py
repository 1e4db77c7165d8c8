"""Our supervisor alone: 200 services at rest, taken up again after kill -9, and 1 000 at once with no drift.

`python -m tests.bench.bench_supervision_rest [--count 200] [--many 1000] [--drift_s 60]` (600 s is the full length).
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.bench_supervision import Services
from tests.bench.measure import cpu_seconds, emit, family, memory_mb
from tests.bench.supervision_peers import Ours

SETTLE_S, WINDOW_S = 6.0, 30.0


def own_pids(services: Services) -> list[int]:
    """The process that supervises and its keeper."""
    return [pid for pid in family(services.peer.pid()) if pid not in services.pids]


def measure_rest(services: Services) -> None:
    """Memory and CPU with a sample of every service each second."""
    time.sleep(SETTLE_S)
    pids = own_pids(services)
    before, since_s = cpu_seconds(pids), time.monotonic()
    time.sleep(WINDOW_S)
    percent = 100 * (cpu_seconds(pids) - before) / (time.monotonic() - since_s)
    emit("supervision_rest_memory", memory_mb(pids, "Pss"), "MB PSS", count=services.count, processes=len(pids))
    emit("supervision_rest_cpu", percent, "% of a core", count=services.count)


def measure_readoption(services: Services, ours: Ours) -> None:
    """Kill the supervisor, run another, and wait until it knows every pid; nothing may be started meanwhile."""
    keeper = next(pid for pid in own_pids(services) if pid != ours.pid())
    ours.process.kill()
    ours.process.wait()
    ours.process.stdout.close()
    since_s = time.monotonic()
    ours.run()
    up_s = time.monotonic()
    ours.start()
    ours.wait_for_pids()
    ended_s = time.monotonic()
    is_kept = Path(f"/proc/{keeper}").exists() and all(Path(f"/proc/{pid}").exists() for pid in services.pids)
    emit("supervision_readoption", ended_s - up_s, "s", with_program_start_s=round(ended_s - since_s, 3), kept=is_kept)


def measure_many(count: int, drift_s: float) -> None:
    """Start many, then look for drift."""
    with tempfile.TemporaryDirectory(prefix="bench-many-", ignore_cleanup_errors=True) as root:
        services = Services(Ours(), Path(root), count)
        try:
            emit("supervision_start_many", services.start_all(), "s", count=count)
            time.sleep(SETTLE_S)
            before = picture(services)
            time.sleep(drift_s)
            after = picture(services)
            drift = {name: round(after[name] - before[name], 1) for name in after}
            emit(
                "supervision_drift",
                drift["pss_mb"],
                "MB PSS",
                over_s=drift_s,
                fds=drift["fds"],
                threads=drift["threads"],
            )
            services.stop_all()
        finally:
            services.close()


def count_in(folder: str) -> int:
    """How many entries it has."""
    return len(list(Path(folder).iterdir()))


def picture(services: Services) -> dict[str, float]:
    """What could creep up."""
    pids = own_pids(services)
    fds = sum(count_in(f"/proc/{pid}/fd") for pid in pids)
    threads = sum(count_in(f"/proc/{pid}/task") for pid in pids)
    return {"pss_mb": memory_mb(pids, "Pss"), "fds": float(fds), "threads": float(threads)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--drift_s", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-rest-", ignore_cleanup_errors=True) as root:
        ours = Ours()
        services = Services(ours, Path(root), options.count)
        try:
            services.start_all()
            measure_rest(services)
            measure_readoption(services, ours)
            services.stop_all()
        finally:
            services.close()
    measure_many(options.many, options.drift_s)


if __name__ == "__main__":
    sys.exit(main())
