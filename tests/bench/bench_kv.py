"""The embedded store beside Debian's etcd, in one run, through the same client; both write durably to the same disk.

put one after the other, 64 at once, from put to watcher, and compare-and-swap by 50 writers: in process, over HTTP
behind the real master (its login and doors included), and etcd. Rounds alternate; medians and ratios are printed.
"""

import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from ops_system.kv.base import PutRequest, Store, WatchRequest
from ops_system.kv.client import Client, Login
from ops_system.kv.embedded import Embedded
from ops_system.kv.swap import change
from ops_system.master.auth.offline import create_token, create_user
from ops_system.master.web.route import Role
from ops_system.runtime.tasks import running
from ops_system.storage.folder import DataFolder
from tests.fakes.etcd import run_etcd
from tests.fakes.ports import free_port

ROUNDS = 5
SEQUENTIAL, AT_ONCE, EACH, WATCHED, WRITERS = 200, 64, 100, 100, 50
VALUE = b"v" * 256
READY_WITHIN_S = 60.0

Measure = Callable[[Store], Awaitable[float]]


async def sequential(store: Store) -> float:
    """Milliseconds of a put, median."""
    took = []
    for number in range(SEQUENTIAL):
        began = time.perf_counter()
        await store.put(PutRequest(b"/os/bench/%d" % number, VALUE))
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


async def at_once(store: Store) -> float:
    """Puts a second by 64 callers."""

    async def caller(number: int) -> None:
        for turn in range(EACH):
            await store.put(PutRequest(b"/os/bench/%d/%d" % (number, turn), VALUE))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(caller(number))
    return AT_ONCE * EACH / (time.perf_counter() - began)


async def to_watcher(store: Store) -> float:
    """Milliseconds from the call of a put until a watcher has its event, median."""
    took = []
    async with store.watch(WatchRequest(b"/os/watched/", b"/os/watched0")) as watch:
        for number in range(WATCHED):
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                group.create_task(store.put(PutRequest(b"/os/watched/%d" % number, VALUE)))
                await watch.next()
                took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


async def swaps(store: Store) -> float:
    """Milliseconds until a compare-and-swap of one of 50 writers on one key has won, median; none may be lost."""
    key = b"/os/bench/task/%d" % time.perf_counter_ns()
    took = []

    async def writer() -> None:
        for _ in range(2):
            began = time.perf_counter()
            await change(store, key, lambda kv: (PutRequest(key, b"%d" % (int(kv.value) + 1 if kv else 1)),))
            took.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer())
    seen = await change(store, key, lambda kv: (PutRequest(key, kv.value if kv else b""),))
    assert seen is not None
    return 1000 * statistics.median(took)


MEASURES: dict[str, tuple[str, Measure]] = {
    "put, sequential": ("ms", sequential),
    "put, 64 at once": ("puts/s", at_once),
    "put to watcher": ("ms", to_watcher),
    "compare-and-swap, 50 writers on one key": ("ms median", swaps),
}


@contextlib.asynccontextmanager
async def run_master_process(root: Path) -> AsyncIterator[tuple[str, str]]:
    """Start a master as users do; give its address and an administrator's token."""
    folder, port = DataFolder(root / "data"), free_port()
    words = [sys.executable, "-m", "ops_system.master.main", "-data_dir", str(folder.root), "-port", str(port)]
    words += ["-tls_port", "0", "-open_browser", "0"]
    with (root / "master.log").open("wb") as log:
        process = await asyncio.to_thread(subprocess.Popen, words, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(READY_WITHIN_S):
            while not (folder.root / "setup-code").exists():  # noqa: ASYNC110 - another program's start sends no event
                await asyncio.sleep(0.1)
        await asyncio.to_thread(create_user, folder, "bench", Role.ADMIN, "correct horse battery")
        yield url, await asyncio.to_thread(create_token, folder, "bench", Role.ADMIN)
    finally:
        process.terminate()
        process.wait()


async def measure(stores: dict[str, Store]) -> None:
    """Measure each thing on each store in turn, several times, and print what came out."""
    for what, (unit, look) in MEASURES.items():
        found: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(ROUNDS):
            for name, store in stores.items():
                found[name].append(await look(store))
        medians = {name: statistics.median(values) for name, values in found.items()}
        line = {"bench": "kv", "what": what, "unit": unit}
        line |= {name: round(value, 3) for name, value in medians.items()}
        if "etcd" in medians:
            line |= {f"{name} / etcd": round(medians[name] / medians["etcd"], 2) for name in medians if name != "etcd"}
        print(json.dumps(line), flush=True)


async def run() -> None:
    """Open all stores and measure."""
    async with contextlib.AsyncExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-kv-")))
        engine = await Embedded.open(root / "in-process.db")
        stack.push_async_callback(engine.close)
        await stack.enter_async_context(running(engine.run(), "store"))
        url, token = await stack.enter_async_context(run_master_process(root))
        stores: dict[str, Store] = {
            "in process": engine,
            "HTTP": await stack.enter_async_context(Client([url], Login(token=token))),
        }
        if shutil.which("etcd") is not None:
            members = await stack.enter_async_context(run_etcd(root))
            stores["etcd"] = await stack.enter_async_context(Client([members[0].url]))
        await measure(stores)


def main() -> int:
    """Run on uvloop, as the master does."""
    import uvloop

    uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
