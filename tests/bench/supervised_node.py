"""The supervisor as the worker embeds it, with its sampler, alone in a process: `ROOT COUNT PROGRAM`.

Obeys lines on stdin: `start`, `stop`, and `wait`, which answers `ready` when every instance has a pid.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ops_system.model.instances import Desired
from ops_system.processes.spec import RestartRules, RunSpec
from ops_system.runtime.collector import FEW, calm_the_collector, collect_rarely
from ops_system.worker.metrics.sampler import Sampler, local_counters
from tests.fakes.processes import Rig, make_spec, rewish

ALWAYS = RestartRules(policy="always", delay_s=0, max_delay_s=0, max_restarts=1_000_000)
WISHES = {"start": Desired.RUNNING, "stop": Desired.STOPPED}


class Node:
    """The supervisor and what it was told."""

    def __init__(self, root: Path, count: int, program: str) -> None:
        self._is_new = not (root / "state").exists()
        self.rig = Rig(root)
        self.specs: list[RunSpec] = [
            make_spec(f"b{os.getppid()}-{number}", argv=(program,), restart=ALWAYS)  # seen by the whole machine
            for number in range(count)
        ]
        for spec in self.specs:
            (root / "instances" / spec.instance_id / "logs").mkdir(parents=True, exist_ok=True)

    async def know_all(self) -> None:
        """Hear of every service, as its peers do before they are asked to start one."""
        if self._is_new:
            await self._wish(Desired.STOPPED)

    async def obey(self, word: str) -> None:
        """Carry one line out."""
        if word == "wait":
            await self.rig.until(self._has_pids, 120)
            print("ready", flush=True)
            return
        await self._wish(WISHES[word])

    async def _wish(self, desired: Desired) -> None:
        self.specs = [rewish(spec, desired) for spec in self.specs]
        for spec in self.specs:
            await self.rig.supervisor.apply(spec)

    def _has_pids(self) -> bool:
        return sum(report.pid is not None for report in self.rig.latest.values()) == len(self.specs)


async def main(root: Path, count: int, program: str) -> None:
    """Run until stdin ends."""
    node = Node(root, count, program)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    sampler = Sampler(local_counters(), node.rig.supervisor.read_counters, lambda _sample: None)
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(node.rig.supervisor.run()), group.create_task(sampler.run(1.0))]
        await node.know_all()
        calm_the_collector()
        print("up", flush=True)
        while line := await commands.readline():
            await node.obey(line.decode().strip())
        for part in parts:
            part.cancel()


if __name__ == "__main__":
    collect_rarely(FEW)
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
