"""Thousands of machines that install at once: one master, one regional client, the machines, each a process of its own.

    python -m tests.bench.bench_machines [--count 10000] [--interval-s 5] [--updates 24] [--ramp-s 60]

Tasks are put into the store, machines report, and are then approved over `--ramp-s` seconds, so that all of them are
being installed together before the first is done: each tells its progress every `--interval-s`, `--updates` times.
The time of an update is that of the machine: from the first try until it is answered. CPU is that of the processes, from
/proc, from the first approval to the end; it is shared with whatever else the machine does, so look at CPU seconds
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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from msgspec.structs import replace

from ops_system.kv.base import KeyValue, PutRequest, TxnRequest
from ops_system.kv.client import Client, Login
from ops_system.kv.follow import list_all
from ops_system.kv.swap import Write, guard
from ops_system.master.auth.offline import create_token
from ops_system.master.web.route import Role
from ops_system.model.machines import Machine
from ops_system.model.tasks import ApproveCall, Task, TaskStatus
from ops_system.provision.approvals import approve
from ops_system.provision.documents import decode, encode, task_writes
from ops_system.provision.keys import keys_of, machines_prefix, region_key
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


Wrote = tuple[KeyValue | None, bytes, Sequence[Write]]
"""What a key of the bench was, the key, and the writes that change it."""


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


async def write_all(store: Client, changes: Sequence[Wrote], over_s: float) -> int:
    """Make all changes, so many in one transaction, spread over a time; return how many others were quicker with."""
    began_s, late = time.monotonic(), 0
    for start in range(0, len(changes), AT_ONCE):
        piece = changes[start : start + AT_ONCE]
        guards = tuple([guard(key, kv) for kv, key, _ in piece])
        done = await store.txn(TxnRequest(guards, tuple([write for _, _, writes in piece for write in writes])))
        late += 0 if done.succeeded else len(piece)
        due_s = began_s + over_s * (start + len(piece)) / len(changes)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    return late


async def order_all(store: Client, count: int) -> None:
    """Put a task for every machine into the store, and raise the limit."""
    await store.put(PutRequest(region_key(IDC, "settings"), encode(SETTINGS)))
    spec, at = replace(SPEC, enrol=False), SystemClock().now()
    tasks = [a_task(serial("m", number), mac=mac(number), install=spec, at=at) for number in range(1, count + 1)]
    await write_all(store, [(None, keys_of(task).task, task_writes(None, task)) for task in tasks], 0.0)


async def approve_all(store: Client, over_s: float) -> None:
    """Approve every machine that waits for it; whose task changed meanwhile is looked at again."""
    while await approve_waiting(store, over_s):
        over_s = 0.0


async def approve_waiting(store: Client, over_s: float) -> int:
    """Approve those that wait now; return how many have changed meanwhile."""
    kvs = {kv.key: kv for kv in (await list_all(store, machines_prefix(IDC))).kvs}
    changes: list[Wrote] = []
    for key, kv in kvs.items():
        if not key.endswith(b"/task"):
            continue
        task = decode(kv, Task)
        if task.status is not TaskStatus.PENDING_APPROVAL:
            continue
        machine = decode(kvs[keys_of(task).meta], Machine)
        call = ApproveCall((f"DISK-{task.sn}",))
        approved = approve(task, machine, call, SETTINGS, by="bench", at=SystemClock().now())
        changes.append((kv, key, task_writes(task, approved)))
    return await write_all(store, changes, over_s)


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
    words = ["--regional-url", region_url, "--count", given.count, "--interval-s", given.interval_s]
    words += ["--updates", given.updates, "--ramp-s", given.ramp_s / 2, "--within-s", given.within_s]
    log = root / "machines.log"
    machines = stack.enter_context(program(log, MACHINES, *words))

    async def all_wait() -> bool:
        if machines.poll() is not None:
            raise RuntimeError(f"the machines ended: {log.read_text()[-2000:]}")
        async with web.get(f"{url}/api/v1/stats/{IDC}") as answer:
            return bool((await answer.json())[TaskStatus.PENDING_APPROVAL] == given.count)

    try:
        await until(all_wait, given.within_s, "all machines have reported")
    except TimeoutError as error:
        return {"failed": str(error), **last_line(log)}
    costs = {"master": Cost(MASTER), "region": Cost(REGION)}
    most = [0]

    async def ended() -> bool:
        most.append(int(last_line(log).get("installing", 0)))
        return machines.poll() is not None or sum(last_line(log).get("ended", {}).values()) >= given.count

    began_s = time.monotonic()
    await approve_all(store, given.ramp_s)
    with contextlib.suppress(TimeoutError):
        await until(ended, given.within_s, "all machines have ended")
    took_s, told = time.monotonic() - began_s, last_line(log)
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
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--ramp-s", type=float, default=60.0)
    parser.add_argument("--within-s", type=float, default=420.0)
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
