"""Installations: what making a task costs over the API, progress by 50 writers on one task, and who hears how much.

Making a task is compared with a write of the same two keys alone; progress is measured in process, over HTTP behind the
real master, and on Debian's etcd, and every writer's step must be there afterwards; what a region's own watches bring is
compared with one watch of everything, 10 data centres with 1 000 machines each.
"""

import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from ops_system.kv.base import PutRequest, Store, TxnRequest, WatchRequest
from ops_system.kv.client import Client, Login
from ops_system.kv.embedded import Embedded
from ops_system.kv.ranges import prefix_end
from ops_system.model.tasks import ApproveCall, Task
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.keys import EVERYTHING, MachineKeys, machines_prefix
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running
from tests.bench.bench_kv import run_master_process
from tests.fakes.etcd import run_etcd
from tests.fakes.provision import IDC, a_report, a_task, session, tells

TASKS, WRITERS, ROUNDS = 200, 50, 5
IDCS, MACHINES, STEPS = 10, 1_000, 8
HEARD_WITHIN_S = 60.0


def show(**facts: object) -> None:
    """Print one result."""
    print(json.dumps({"bench": "provision"} | facts), flush=True)


# --- making tasks -----------------------------------------------------------------------------------------------------
async def making(url: str, token: str, store: Store) -> None:
    """Milliseconds of POST /tasks, and of writing two keys of that size alone through the same master."""
    made, plain = [], []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session_:
        for number in range(TASKS):
            order = {"idc": IDC, "sn": f"sn-{number}", "mac": "00:1a:2b:3c:4d:5e", "os_type": "Debian 12"}
            began = time.perf_counter()
            async with session_.post(f"{url}/api/v1/tasks", json=order) as answer:
                body = await answer.read()
            made.append(time.perf_counter() - began)
            if answer.status != 201:
                raise RuntimeError(f"{answer.status} {body!r}")
            began = time.perf_counter()
            puts = (PutRequest(b"/os/x/bench/%d" % number, body), PutRequest(b"/os/x/queue/%d" % number, b"pending"))
            await store.txn(TxnRequest((), puts))
            plain.append(time.perf_counter() - began)
    p50, write = (1000 * statistics.median(took) for took in (made, plain))
    p95 = 1000 * statistics.quantiles(made, n=20)[-1]
    show(what="make a task over the API", unit="ms", p50=round(p50, 2), p95=round(p95, 2), target_p50=3.0)
    show(what="the two keys alone, over HTTP", unit="ms", p50=round(write, 2), ratio=round(p50 / write, 2))


# --- progress ---------------------------------------------------------------------------------------------------------
async def installing(book: AgentBook, sn: str, boot: str = "boot-1") -> Task:
    """Bring a machine to the middle of its installation."""
    await book.create(a_task(sn, at=book.clock.now()))
    lease = await book.store.grant(600)
    await book.report(IDC, a_report(sn, boot=boot), session(boot), lease.id)

    def allow(task: Task, machine: object) -> tuple[Task, None]:
        call, at = ApproveCall(("DISK1",)), book.clock.now()
        return approve(task, machine, call, RegionSettings(), by="bench", at=at), None  # type: ignore[arg-type]

    await book.change_machine(IDC, sn, allow)
    return await book.take_fence(IDC, sn, boot, 100_000)


async def progress(store: Store, round_: int) -> float:
    """Milliseconds until the progress of one of 50 writers stands, median; all of it must stand at the end."""
    book, took = AgentBook(store, SystemClock()), []
    task = await installing(book, f"progress-{round_}")

    async def write(number: int) -> None:
        began = time.perf_counter()
        await book.progress(IDC, tells(task, f"step-{number}", float(number)))
        took.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(write(number))
    kept = {each.step for each in (await book.get(IDC, task.sn)).progress}
    if len(kept) != WRITERS:
        raise RuntimeError(f"{WRITERS - len(kept)} updates were lost")
    return 1000 * statistics.median(took)


async def progresses(stores: dict[str, Store]) -> None:
    """Measure each store in turn."""
    found: dict[str, list[float]] = {name: [] for name in stores}
    for round_ in range(ROUNDS):
        for name, store in stores.items():
            found[name].append(await progress(store, round_))
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    show(what="progress, 50 writers on one task, none lost", unit="ms median", target=10.0, **medians)


# --- who hears what ---------------------------------------------------------------------------------------------------
class Ear:
    """Counts the events of a watch, and how many of them are another data centre's."""

    def __init__(self, idc: str) -> None:
        self.idc, self.events, self.strange, self.revision = idc, 0, 0, 0

    async def listen(self, store: Store, prefix: bytes, is_open: asyncio.Event) -> None:
        """Count for ever."""
        async with store.watch(WatchRequest(prefix, prefix_end(prefix))) as watch:
            is_open.set()
            async for changes in watch:
                self.events += len(changes.events)
                own = f"/os/{self.idc}/".encode()
                self.strange += sum(not event.kv.key.startswith(own) for event in changes.events)
                self.revision = changes.revision


async def hearing(store: Store) -> None:
    """Let every machine of every data centre be ordered, report and tell progress; count what one region is told."""
    own, everything = Ear("dc1"), Ear("dc1")
    opened = (asyncio.Event(), asyncio.Event())
    async with (
        running(own.listen(store, machines_prefix("dc1"), opened[0]), "own"),
        running(everything.listen(store, EVERYTHING, opened[1]), "everything"),
    ):
        for event in opened:
            await event.wait()
        async with asyncio.TaskGroup() as group:
            for idc in range(1, IDCS + 1):
                group.create_task(lively(store, f"dc{idc}"))
        end = await store.put(PutRequest(MachineKeys("dc1", "last").meta, b"{}"))
        async with asyncio.timeout(HEARD_WITHIN_S):
            while min(own.revision, everything.revision) < end.revision:  # noqa: ASYNC110 - it is the end of a bench
                await asyncio.sleep(0.05)
    show(
        what=f"events of one region, {IDCS} data centres of {MACHINES} machines",
        unit="events",
        own=own.events,
        everything=everything.events,
        less_percent=round(100 * (1 - own.events / everything.events), 1),
        of_others=own.strange,
        target_percent=90,
    )


async def lively(store: Store, idc: str) -> None:
    """Order every machine of a data centre, let it boot, and touch each task as its progress does."""
    book = AgentBook(store, SystemClock())
    for number in range(MACHINES):
        sn = f"sn-{number}"
        await book.create(a_task(sn, idc, at=book.clock.now()))
        task = await book.boot(idc, sn, by=f"region:{idc}")
        for step in range(STEPS):
            await book.progress(idc, tells(task, "inventory", 100.0 * step / STEPS))


async def run() -> None:
    """Open all stores and measure."""
    async with contextlib.AsyncExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-provision-")))
        engine = await Embedded.open(root / "in-process.db")
        stack.push_async_callback(engine.close)
        await stack.enter_async_context(running(engine.run(), "store"))
        url, token = await stack.enter_async_context(run_master_process(root))
        over_http = await stack.enter_async_context(Client([url], Login(token=token)))
        stores: dict[str, Store] = {"in_process": engine, "http": over_http}
        if shutil.which("etcd") is not None:
            members = await stack.enter_async_context(run_etcd(root))
            stores["etcd"] = await stack.enter_async_context(Client([members[0].url]))
        await making(url, token, over_http)
        await progresses(stores)
        await hearing(engine)


def main() -> int:
    """Run on uvloop, as the master does."""
    import uvloop

    uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
