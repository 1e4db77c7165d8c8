"""A real worker inside the test's own process, joined to a master (the real one or `mastersend`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil

from ops_system.processes.procfs import read_marker
from ops_system.runtime.config import build
from ops_system.runtime.tasks import StopRequest, running
from ops_system.worker.app import run_app
from ops_system.worker.config import SCHEMA, WorkerConfig


def worker_config(work_dir: Path, master_url: str, token: str = "", **texts: str) -> WorkerConfig:
    """Return a configuration with a free status port; `texts` are further keys with `__` for `.`."""
    keys = {
        "connect.master_url": master_url,
        "connect.token": token,
        "connect.name": "n1",
        "server.port": "0",
        "server.work_dir": str(work_dir),
        **{name.replace("__", "."): text for name, text in texts.items()},
    }
    return build(SCHEMA, keys)


@contextlib.asynccontextmanager
async def running_worker(config: WorkerConfig) -> AsyncIterator[StopRequest]:
    """Run a worker beside the block; stop it at the end as a signal would. Services it started go on."""
    stop = StopRequest()
    async with running(run_app(config, stop), "worker") as task:
        yield stop
        stop.event.set()
        async with asyncio.timeout(30):
            await asyncio.wait([task])
        task.result()


async def eventually(is_true: Callable[[], object], timeout_s: float = 40.0) -> None:
    """Return once `is_true()` is; for what happens outside this process and cannot tell."""
    async with asyncio.timeout(timeout_s):
        while not is_true():  # noqa: ASYNC110 - files and other processes set no event
            await asyncio.sleep(0.02)


def kill_marked(instance_id: str) -> None:
    """Kill what a failed test left running, so that the next one does not find and adopt it."""
    for pid in psutil.pids():
        if read_marker(pid) == instance_id:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
