"""`make stop`: end the services that `make run` left deployed, politely first, then their whole trees.

The wishes stay: the next `make run` starts again what should run, as after a reboot. Stop a service in the console to
keep it stopped.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from ops_system.cli import run_role
from ops_system.model.errors import SafetyRefusal
from ops_system.processes.base import Handle, Identity, Platform
from ops_system.processes.journal import RunRecord, RunStore
from ops_system.processes.platforms import make_platform
from ops_system.processes.trees import empty_tree
from ops_system.worker.picture import JOURNAL, take_lock

_LOOK_EVERY_S = 0.05


async def end_service(platform: Platform, record: RunRecord) -> bool:
    """Signal, wait as long as the package allows, kill the tree; return whether anything was there."""
    nobody = Identity(record.boot_id, 0, 0)
    handle = Handle(record.spec.instance_id, record.number, record.keeper or nobody, record.leader, is_child=False)
    members = platform.members(handle)
    if not members:
        return False
    leader = record.leader or platform.find_start(handle.instance_id, members).leader
    if leader is not None:
        platform.signal(leader, record.spec.stop.signal)
        for _ in range(int(record.spec.stop.timeout_s / _LOOK_EVERY_S)):
            if not platform.is_alive(leader):
                break
            await asyncio.sleep(_LOOK_EVERY_S)
    await empty_tree(platform, handle, say_what_lives)
    return True


def say_what_lives(pids: tuple[int, ...]) -> None:
    """Name the processes that do not die."""
    print("cannot kill yet / 暂时无法结束:", *pids, file=sys.stderr)


async def end_all(work_dir: Path) -> None:
    """End every service of the worker in `work_dir`, which must not be running."""
    platform = make_platform()
    platform.open(work_dir / JOURNAL)
    ended = 0
    try:
        for record in RunStore(work_dir / JOURNAL).load_all().values():
            if await end_service(platform, record):
                ended += 1
                print(f"stopped / 已停止: {record.spec.source.name} {record.spec.source.service.version}")
    finally:
        platform.close()
    print(f"{ended} service(s) stopped / 已停止 {ended} 个服务")


def stop(argv: list[str]) -> int:
    """Do it. Raises SafetyRefusal while the worker runs: it would start them again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    work_dir = parser.parse_args(argv).data / "worker"
    if not work_dir.is_dir():
        print("nothing was deployed here / 这里没有部署过服务")
        return 0
    try:
        lock = take_lock(work_dir)
    except SafetyRefusal as running:
        raise SafetyRefusal(
            "`make run` is still running: stop it by Ctrl-C, or stop the services in the console"
        ) from running
    try:
        asyncio.run(end_all(work_dir))
    finally:
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(run_role("make stop", stop))
