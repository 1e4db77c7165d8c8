"""Thousands of machines that install at once: one master, one regional client, the machines, each a process of its own.

    python -m tests.bench.bench_machines [--count 10000] [--interval-s 5] [--updates 40] [--ramp-s 150]

Tasks are put into the store; machines are switched on over `--ramp-s` seconds, report, and are approved by a rule, so that all
of them are being installed together before the first is done: each tells its progress every `--interval-s`, `--updates`
times. The time of an update is that of the machine: from the first try until it is answered. CPU is that of the processes,
from /proc, from the first machine to the end; it is shared with whatever else the machine does, so look at CPU seconds
a thousand updates. Ends after `--within-s` in any case, and says then what did not end.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from msgspec.structs import replace

from ops_system.kv.base import PutRequest, TxnRequest
from ops_system.kv.client import Client, Login
from ops_system.master.auth.offline import create_token
from ops_system.master.web.route import Role
from ops_system.provision.documents import encode, task_writes
from ops_system.provision.keys import region_key
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from ops_system.storage.folder import DataFolder
from tests.bench.bench_kv import run_master_process
from tests.bench.measure import cpu_seconds, family, memory_mb
from tests.fakes.machines_sim import mac, serial
from tests.fakes.ports import free_port
from tests.fakes.provision import IDC, SPEC, a_task

AT_ONCE = 32  # tasks in one transaction of the bench's own
LOOK_S = 1.0
READY_WITHIN_S = 60.0
SETTINGS = RegionSettings(max_installs=100_000)
MASTER, REGION, MACHINES = "ops_system.master.main", "ops_system.regional.main", "tests.fakes.machines_sim"


@contextlib.contextmanager
def program(log: Path, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of this bench; what it prints goes to `log`."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", *map(str, words)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def pid_of(module: str) -> int:
    """Return the process of this bench that runs `module`."""
    for pid in family(os.getpid()):
        if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise RuntimeError(f"{module} does not run")


def peak_mb(pid: int) -> float:
    """Return the most memory a process ever had, MB (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")) / 1e6


async def until(question: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Ask until it is so. Raises TimeoutError that says what was not."""
    try:
        async with asyncio.timeout(within_s):
            while not await question():  # noqa: ASYNC110 - other programs send no event
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise TimeoutError(f"not within {within_s:.0f} s: {what}") from error


@contextlib.asynccontextmanager
async def run_region_process(root: Path, web: aiohttp.ClientSession, master: str, token: str) -> AsyncIterator[str]:
    """Start a regional client as users do; give its address when it leads."""
    port, secret = free_port(), root / "token"
    secret.write_text(token)
    words = ["--idc", IDC, "--listen", "127.0.0.1", "--api-port", port, "--store", master, "--token", f"@{secret}"]
    url = f"http://127.0.0.1:{port}"

    async def leads() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with web.get(f"{url}/health") as answer:
                return bool((await answer.json()).get("role") == "active")
        return False

    with program(root / "region.log", REGION, *words, "--data_dir", root / "region"):
        await until(leads, READY_WITHIN_S, "a regional client that leads")
        yield url


async def order_all(store: Client, count: int) -> None:
    """Put a task for every machine into the store, and raise the limit."""
    await store.put(PutRequest(region_key(IDC, "settings"), encode(SETTINGS)))
    spec, at = replace(SPEC, enrol=False), SystemClock().now()
    for first in range(1, count + 1, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count + 1))
        tasks = [a_task(serial("m", number), mac=mac(number), install=spec, at=at) for number in numbers]
        await store.txn(TxnRequest((), tuple([write for task in tasks for write in task_writes(None, task)])))


async def approve_by_rule(web: aiohttp.ClientSession, url: str, count: int) -> None:
    """Let the master approve whatever reports."""
    body = {"name": "bench", "max_uses": count, "idc": IDC}
    async with web.post(f"{url}/api/v1/approval-rules", json=body) as answer:
        if answer.status != HTTPStatus.CREATED:
            raise RuntimeError(f"the rule was refused: {await answer.text()}")


class Cost:
    """What a process cost since it is looked at."""

    def __init__(self, module: str) -> None:
        self._pid = pid_of(module)
        self._rest_mb, self._before_s = memory_mb([self._pid]), cpu_seconds([self._pid])

    def tell(self, updates: int) -> dict[str, float]:
        """Return memory, and CPU seconds in all and for a thousand updates."""
        spent_s = cpu_seconds([self._pid]) - self._before_s
        return {
            "rss_before_mb": round(self._rest_mb, 1),
            "rss_mb": round(memory_mb([self._pid]), 1),
            "peak_mb": round(peak_mb(self._pid), 1),
            "cpu_s": round(spent_s, 1),
            "cpu_s_per_1000": round(1000 * spent_s / max(1, updates), 2),
        }


def last_line(log: Path) -> dict[str, Any]:
    """Return the newest line of numbers."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


async def measure(root: Path, given: argparse.Namespace, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
    """Run the whole of it."""
    url, token = await stack.enter_async_context(run_master_process(root))
    web = await stack.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}))
    store = await stack.enter_async_context(Client([url], Login(token=token)))
    folder = DataFolder(root / "data")
    regional = await asyncio.to_thread(create_token, folder, "region", Role.REGIONAL, idc=IDC)
    region_url = await stack.enter_async_context(run_region_process(root, web, url, regional))
    await order_all(store, given.count)
    await approve_by_rule(web, url, given.count)
    costs = {"master": Cost(MASTER), "region": Cost(REGION)}
    words = ["--regional-url", region_url, "--count", given.count, "--interval-s", given.interval_s]
    words += ["--updates", given.updates, "--ramp-s", given.ramp_s, "--within-s", given.within_s]
    log, began_s = root / "machines.log", time.monotonic()
    machines = stack.enter_context(program(log, MACHINES, *words))
    most = [0]

    async def ended() -> bool:
        most.append(int(last_line(log).get("installing", 0)))
        return machines.poll() is not None or sum(last_line(log).get("ended", {}).values()) >= given.count

    with contextlib.suppress(TimeoutError):
        await until(ended, given.within_s, "all machines have ended")
    took_s, told = time.monotonic() - began_s, last_line(log)
    if "progress" not in told:
        raise RuntimeError(f"the machines ended: {log.read_text()[-2000:]}")
    told |= {"at_once": max(most), "seconds": round(took_s, 1), "updates_per_s": round(told["progress"] / took_s, 1)}
    return told | {name: cost.tell(told["progress"]) for name, cost in costs.items()}


async def run(given: argparse.Namespace) -> int:
    """Measure and print; 1 when a machine did not end."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-machines-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            told = await measure(Path(folder), given, stack)
    target = {"target_p95_ms": 250.0, "target_master_peak_mb": 700.0}
    print(json.dumps({"bench": "machines", "count": given.count} | told | target), flush=True)
    return 0 if told.get("ended") == {"completed": given.count} else 1


def main() -> int:
    """Run on uvloop, as the master does."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--interval-s", type=float, default=5.0)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--ramp-s", type=float, default=150.0)
    parser.add_argument("--within-s", type=float, default=480.0)
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
