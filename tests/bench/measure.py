"""What the benchmarks share: reading a process's cost from /proc, medians, and the one line a result is printed as."""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def family(pid: int) -> list[int]:
    """Return `pid` and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += parents.get(current, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return user and system time spent so far."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory_mb(pids: list[int], kind: str = "Rss") -> float:
    """Return the sum of `Rss` or `Pss` in MB (10^6 bytes)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))
    return total / 1e6


def cpu_percent(pids: list[int], window_s: float) -> float:
    """Return the share of one core spent over `window_s` seconds."""
    before, started = cpu_seconds(pids), time.monotonic()
    time.sleep(window_s)
    return 100 * (cpu_seconds(pids) - before) / (time.monotonic() - started)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0..1) of the sorted values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def emit(what: str, value: float, unit: str, **extra: Any) -> None:
    """Print one result as a JSON line."""
    print(json.dumps({"what": what, "value": round(value, 4), "unit": unit, **extra}), flush=True)
