"""Supervision beside its peers in one run: starting and stopping 200 services, and restarting one that was killed.

Every service is the same script: it tells its pid on a pipe and becomes `sleep`. So the clock stops when the child
itself speaks, and nobody is slowed by being looked at. `python -m tests.bench.bench_supervision [--count N] [--rounds N]
[--kills N] [--peers ops,s6,...]`; a peer that cannot be had here is left out with its reason.
"""

import argparse
import contextlib
import os
import random
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.measure import emit, family, median, memory_mb, percentile
from tests.bench.supervision_peers import PEERS, Peer

DEADLINE_S = 120.0
SLOW = {"s6", "supervisor", "circus", "pm2"}  # they wait before a restart: a few tell it all
SLOW_KILLS = 5
CHUNK = 25
SETTLE_S = 2.0  # runit holds back what ran for less than a second


class Services:
    """A peer with its services, seen from outside."""

    def __init__(self, peer: Peer, root: Path, count: int) -> None:
        self.peer = peer
        self.count = count
        self._pipe_path = root / "pids"
        os.mkfifo(self._pipe_path)
        self._pipe = os.open(self._pipe_path, os.O_RDWR | os.O_NONBLOCK)
        program = root / "program"
        program.write_text(f"#!/bin/sh\necho $$ >{self._pipe_path}\nexec /bin/sleep 1000000\n")
        program.chmod(0o755)
        self.pids: set[int] = set()
        (root / "home").mkdir()
        try:
            peer.boot(root / "home", str(program), count)
        except BaseException:
            with contextlib.suppress(AttributeError):
                self.close()
            raise

    def _read_pids(self, wanted: int, since_s: float) -> list[int]:
        found = b""
        while found.count(b"\n") < wanted:
            left_s = since_s + DEADLINE_S - time.monotonic()
            if not select.select([self._pipe], [], [], max(0.0, left_s))[0]:
                raise TimeoutError(f"{found.count(10)} of {wanted} after {DEADLINE_S} s")
            found += os.read(self._pipe, 65536)
        return [int(word) for word in found.split()]

    def start_all(self) -> float:
        """Return the seconds until the last child spoke."""
        since_s = time.monotonic()
        self.peer.start()
        self.pids = set(self._read_pids(self.count, since_s))
        return time.monotonic() - since_s

    def stop_all(self) -> float:
        """Return the seconds until the last child was gone."""
        waiting = {os.pidfd_open(pid) for pid in self.pids}
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        since_s = time.monotonic()
        self.peer.stop()
        while waiting and time.monotonic() - since_s < DEADLINE_S:
            for fd, _ in poll.poll(1000):
                poll.unregister(fd)
                os.close(fd)
                waiting.discard(fd)
        seconds = time.monotonic() - since_s
        for fd in waiting:
            os.close(fd)
        if waiting:
            raise TimeoutError(f"{len(waiting)} of {self.count} live after {DEADLINE_S:g} s")
        self.pids = set()
        return seconds

    def restart_one(self, pid: int) -> float:
        """Kill it; return the seconds until its successor spoke."""
        since_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        (born,) = self._read_pids(1, since_s)
        seconds = time.monotonic() - since_s
        self.pids = self.pids - {pid} | {born}
        return seconds

    def close(self) -> None:
        """End everything, also what a daemon leaves behind that had to be killed."""
        pids = set(self.pids)
        with contextlib.suppress(AttributeError):  # it did not come so far
            pids.update(family(self.peer.pid()))
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, self._pipe)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    stack.callback(kill_exactly, os.pidfd_open(pid))
            self.peer.close()


def kill_exactly(fd: int) -> None:
    """Kill the process of a pidfd, if it still lives, and close the descriptor."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    os.close(fd)


def start_and_stop(names: list[str], count: int, rounds: int, missing: dict[str, str]) -> None:
    """One fresh daemon after the other, as often as there are rounds; each starts and stops all."""
    starts: dict[str, list[float]] = {name: [] for name in names}
    stops: dict[str, list[float]] = {name: [] for name in names}
    again: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            if name in missing:
                continue
            with opened(name, count, missing) as services:
                if services is not None:
                    try_once(name, services, (starts[name], stops[name], again[name]), missing)
    for what, runs in (("start_all", starts), ("stop_all", stops), ("start_again", again)):
        tell_ratios(what, count, runs, "s6")


def try_once(name: str, services: Services, runs: tuple[list[float], ...], missing: dict[str, str]) -> None:
    """Start, stop, start again: the first start also makes folders and log files."""
    starts, stops, again = runs
    try:
        starts.append(services.start_all())
        time.sleep(SETTLE_S)
        stops.append(services.stop_all())
        time.sleep(SETTLE_S)
        again.append(services.start_all())
    except (OSError, subprocess.SubprocessError) as error:
        tell_missing(name, error, missing)


def tell_missing(name: str, error: Exception, missing: dict[str, str]) -> None:
    missing[name] = str(error)
    emit("supervision_missing", 0, "", peer=name, why=str(error))


def tell_ratios(what: str, count: int, runs: dict[str, list[float]], rival: str) -> None:
    base = median(runs[rival]) if runs.get(rival) else None
    for name, seconds in runs.items():
        if seconds:
            ratio = {f"times_{rival}": round(median(seconds) / base, 3)} if base else {}
            rounded = [round(value, 4) for value in seconds]
            emit(f"supervision_{what}", median(seconds), "s", peer=name, count=count, runs=rounded, **ratio)


def restarts(names: list[str], count: int, kills: int, missing: dict[str, str]) -> None:
    """All daemons up with all their services; kill one at a time, in chunks that alternate."""
    with contextlib.ExitStack() as stack:
        opened_all = {name: stack.enter_context(opened(name, count, missing)) for name in names if name not in missing}
        alive = {
            name: services for name, services in opened_all.items() if services and has_started(name, services, missing)
        }
        time.sleep(SETTLE_S)
        emit_memory(alive)
        victims = {name: random.sample(sorted(services.pids), count) for name, services in alive.items()}
        runs: dict[str, list[float]] = {name: [] for name in alive}
        for _ in range(0, kills, CHUNK):
            for name, services in alive.items():
                size = min(CHUNK, len(victims[name]))
                if name in SLOW:
                    size = 1 if len(runs[name]) < SLOW_KILLS else 0
                if name not in missing:
                    runs[name] += kill_some(name, services, victims[name], size, missing)
    base = runs.get("runit")
    for name, seconds in runs.items():
        if not seconds:
            continue
        p99 = percentile(seconds, 0.99)
        ratios = {"times_runit": round(median(seconds) / median(base), 3)} if base else {}
        ratios |= {"p99_times_runit": round(p99 / percentile(base, 0.99), 3)} if base else {}
        emit("supervision_restart", median(seconds), "s", peer=name, p99_s=round(p99, 5), kills=len(seconds), **ratios)


def has_started(name: str, services: Services, missing: dict[str, str]) -> bool:
    """Start all; False when the peer does not manage it."""
    try:
        services.start_all()
    except (OSError, subprocess.SubprocessError) as error:
        tell_missing(name, error, missing)
        return False
    return True


def kill_some(name: str, services: Services, victims: list[int], count: int, missing: dict[str, str]) -> list[float]:
    """Kill one after the other, as many as come back."""
    seconds: list[float] = []
    try:
        for _ in range(count):
            seconds.append(services.restart_one(victims.pop()))  # noqa: PERF401 - those before an error count
    except OSError as error:
        tell_missing(name, error, missing)
    return seconds


def emit_memory(alive: dict[str, Services]) -> None:
    for name, services in alive.items():
        own = [pid for pid in family(services.peer.pid()) if pid not in services.pids]
        emit("supervision_memory", memory_mb(own, "Pss"), "MB PSS", peer=name, processes=len(own))


@contextlib.contextmanager
def opened(name: str, count: int, missing: dict[str, str]):
    """Give the peer's services; None when it cannot be had here."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as root:
        try:
            services = Services(PEERS[name](), Path(root), count)
        except (OSError, subprocess.SubprocessError) as error:
            tell_missing(name, error, missing)
            yield None
            return
        try:
            yield services
        finally:
            services.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--peers", default=",".join(PEERS))
    options = parser.parse_args()
    names = options.peers.split(",")
    missing: dict[str, str] = {}
    start_and_stop(names, options.count, options.rounds, missing)
    restarts(names, options.count, options.kills, missing)


if __name__ == "__main__":
    main()
