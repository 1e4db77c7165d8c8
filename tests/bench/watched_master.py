"""The master, and beside it somebody with a watch: which pauses its loop makes, and what runs in them. For `bench_fleet`.

    WATCH_REPORT=FILE python -m tests.bench.watched_master …the master's own words…

Until SIGUSR2 comes it is the plain master. From then on a timer in the loop says every 5 ms that it is alive, a thread
looks every 2 ms how long ago that was, and once it is too long it notes what each thread does. The next SIGUSR2 ends
that and writes the report: how late the timer was, the longest pauses with what ran, and the collections.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import msgspec

from ops_system.master import main as master
from tests.bench.measure import percentile

TICK_S = 0.005
LOOK_S = 0.002
LATE_MS = 3.0
LONGEST = 10
DEPTH = 7
_ROOT = Path(__file__).resolve().parents[2]


class Pause(msgspec.Struct):
    """One time the loop did not come round."""

    late_ms: float
    cpu_ms: float  # what the loop itself used meanwhile; the rest is other threads and other programs
    at_s: float  # since the watch began
    seen: dict[str, int]  # what ran, by how often it was seen


class Pauses(msgspec.Struct):
    """What was found: how late a timer of 5 ms was, what the loop used of a CPU from one to the next, in ms."""

    seconds: float
    late: dict[str, float]
    cpu: dict[str, float]
    longest: list[Pause]
    collections: dict[str, list[float]]  # per generation: how many, the longest in ms


class Watch:
    """See the module. Made and ended in the loop that is watched."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._began_s = self._due_s = time.perf_counter()
        self._cpu_s = time.thread_time()
        self._late_ms: list[float] = []
        self._cpu_ms: list[float] = []
        self._pauses: list[Pause] = []
        self._seen: Counter[str] = Counter()
        self._collections: dict[str, list[float]] = {}
        self._collecting_s = 0.0
        self._is_over = threading.Event()
        self._looker = threading.Thread(target=self._look, name="watch", daemon=True)
        gc.callbacks.append(self._on_collection)
        self._tick()
        self._looker.start()

    def end(self) -> Pauses:
        """Stop and tell."""
        self._is_over.set()
        self._looker.join()
        gc.callbacks.remove(self._on_collection)
        longest = sorted(self._pauses, key=lambda pause: -pause.cpu_ms)[:LONGEST]
        seconds = round(time.perf_counter() - self._began_s, 1)
        return Pauses(seconds, _summary(self._late_ms), _summary(self._cpu_ms), longest, self._collections)

    def _tick(self) -> None:
        now_s, cpu_s = time.perf_counter(), time.thread_time()
        late_ms, cpu_ms = (now_s - self._due_s) * 1000, (cpu_s - self._cpu_s) * 1000
        self._late_ms.append(late_ms)
        self._cpu_ms.append(cpu_ms)
        self._cpu_s, seen, self._seen = cpu_s, self._seen, Counter()
        if late_ms > LATE_MS:
            pause = Pause(round(late_ms, 2), round(cpu_ms, 2), round(now_s - self._began_s, 2), dict(seen))
            self._pauses.append(pause)
        self._due_s = now_s + TICK_S
        if not self._is_over.is_set():
            self._loop.call_later(TICK_S, self._tick)

    def _look(self) -> None:
        own = threading.get_ident()
        while not self._is_over.wait(LOOK_S):
            if time.perf_counter() > self._due_s + LOOK_S:
                self._seen.update(_name_stacks(sys._current_frames(), self._thread_id, own))

    def _on_collection(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting_s = time.perf_counter()
            return
        took_ms = (time.perf_counter() - self._collecting_s) * 1000
        kept = self._collections.setdefault(f"generation {info['generation']}", [0, 0.0])
        kept[0], kept[1] = kept[0] + 1, round(max(kept[1], took_ms), 2)
        self._seen[f"collection of generation {info['generation']}: {took_ms:.1f} ms"] += 1


def _summary(values_ms: list[float]) -> dict[str, float]:
    points = {f"p{share * 100:g}_ms": round(percentile(values_ms, share), 2) for share in (0.5, 0.95, 0.99, 0.999)}
    return {**points, "max_ms": round(max(values_ms), 2)}


def _name_stacks(frames: Mapping[int, FrameType], loop_id: int, own: int) -> list[str]:
    """Return what the loop and every busy thread do, the innermost call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = [
        ("loop" if key == loop_id else names.get(key, "?"), _stack(frame))
        for key, frame in frames.items()
        if key != own
    ]
    return [f"{name}: {stack}" for name, stack in told if "_worker" not in stack.split(" < ")[0]]


def _stack(frame: FrameType | None) -> str:
    found: list[str] = []
    while frame is not None and len(found) < DEPTH:
        code = frame.f_code
        path = Path(code.co_filename)
        place = path.relative_to(_ROOT) if path.is_relative_to(_ROOT / "ops_system") else Path(path.name)
        found.append(f"{place}:{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)


def _arm() -> None:
    """Let SIGUSR2 begin and end a watch."""
    watches: list[Watch] = []

    def turn() -> None:
        if not watches:
            watches.append(Watch())
            return
        report = Path(os.environ["WATCH_REPORT"])
        beside = report.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(watches.pop().end()))
        beside.replace(report)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, turn)


def main() -> int:
    """Run the master."""
    calm = master.calm_the_collector

    def calm_and_arm() -> None:
        calm()
        with contextlib.suppress(RuntimeError):
            _arm()

    master.calm_the_collector = calm_and_arm
    return master.main()


if __name__ == "__main__":
    sys.exit(main())
