"""A worker as a program of its own, to be killed, and services that write each of their starts into a file.

The effect log lies outside of everything the product writes: what it says is what happened.

    async with open_node(tmp_path) as node:
        await node.start()
        service = node.service("db")
        await node.wish(service)
        node.kill()
"""

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import Desired, InstanceSpec, State
from ops_system.model.manifest import Manifest
from ops_system.processes import procfs
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import make_zip, service_json
from tests.fakes.ports import free_port
from tests.fakes.worker import eventually, kill_marked

WITHIN_S = 90.0
RUN = "import sys; from ops_system.worker.main import main; sys.exit(main())"
# A line a start: who and which pid. Appended in one write, so that no two starts mix.
NOTE = 'echo "$OPS_INSTANCE $$" >> "$EFFECTS"\n'
STEADY = f"#!/bin/sh\n{NOTE}exec sleep 1000\n"
CHATTY = f"#!/bin/sh\n{NOTE}n=0\nwhile :; do n=$((n+1)); echo line $n of a service that talks a lot; done\n"
PROVEN = {"type": "command", "target": "/bin/true", "interval": "1s"}


class Node:
    """One worker program, its master's end, and the effect log."""

    def __init__(self, root: Path, master: MastersEnd) -> None:
        self.root = root
        self.work_dir = root / "w"
        self.effects = root / "effects"
        self.effects.touch()
        self.master = master
        self.env: dict[str, str] = {}
        self.prefix: tuple[str, ...] = ()
        self.config: dict[str, str] = {}
        self.worker: asyncio.subprocess.Process | None = None
        self.wishes: dict[InstanceId, InstanceSpec] = {}
        self._token = root / "token"
        self._token.write_text(master.join_token)

    # --- the worker -----------------------------------------------------------------------------------------------
    async def start(self, *, is_linked: bool = True) -> None:
        """Start the worker; with `is_linked` return once the master has its picture."""
        seen = len(self.master.snapshots)
        self.master.reports.clear()
        flags = ["-master", self.master.url, "-token", f"@{self._token}", "-work_dir", str(self.work_dir)]
        argv = [*self.prefix, sys.executable, "-c", RUN, *flags, "-port", str(free_port())]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **self.env}
        env |= {f"OPS_WORKER_{key.upper()}": text for key, text in self.config.items()}
        log = (self.root / "worker.log").open("ab")
        self.worker = await asyncio.create_subprocess_exec(*argv, env=env, stdout=log, stderr=log)
        log.close()
        if is_linked:
            await self.master.until(lambda: len(self.master.snapshots) > seen, WITHIN_S)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the worker alone, at once."""
        assert self.worker is not None
        with contextlib.suppress(ProcessLookupError):
            self.worker.send_signal(number)
        await self.worker.wait()

    def pause(self, number: int) -> None:
        """Send SIGSTOP or SIGCONT."""
        assert self.worker is not None
        self.worker.send_signal(number)

    # --- wishes ---------------------------------------------------------------------------------------------------
    def service(self, name: str, script: str = STEADY, **changes) -> InstanceSpec:
        """Return the first wish for a service; `changes` are fields of its service.json, or of the wish."""
        fields = {key: changes.pop(key) for key in ("depends_on", "start_order") if key in changes}
        version = changes.pop("version", "1.0.0")
        manifest = service_json(name=name, version=version, env={"EFFECTS": str(self.effects)}, health=PROVEN)
        manifest |= changes
        ref = self.master.add_package(name, version, make_zip({"run.sh": script}, manifest))
        return InstanceSpec(
            InstanceId(f"{name}-{os.getpid()}-{secrets.token_hex(3)}"),
            1,
            Desired.RUNNING,
            SystemId("s"),
            ModuleId(name),
            name,
            ref,
            msgspec.convert(manifest, Manifest),
            **fields,
        )

    def again(self, spec: InstanceSpec, desired: Desired | None = None, *, is_restart: bool = False) -> InstanceSpec:
        """Return the next wish for the same service."""
        newest = self.wishes.get(spec.instance_id, spec)
        return msgspec.structs.replace(
            newest,
            generation=newest.generation + 1,
            desired=desired or newest.desired,
            restart_seq=newest.restart_seq + is_restart,
        )

    def tell(self, spec: InstanceSpec) -> None:
        """Send a wish without waiting; the newest is sent again to a worker that comes back, as a master does."""
        self.wishes[spec.instance_id] = spec
        link = self.master.link
        if link is not None and link.end is None:
            self.master.apply(spec)

    async def wish(self, spec: InstanceSpec) -> None:
        """Send a wish and wait until it is true."""
        self.tell(spec)
        await self.settle()

    async def settle(self) -> None:
        """Send every wish the worker has not seen, and wait until the reports say that all of them are true."""
        for spec in self.wishes.values():
            report = self.master.reports.get(spec.instance_id)
            if report is None or (report.generation, report.restart_seq) < (spec.generation, spec.restart_seq):
                self.master.apply(spec)
        await self.master.until(lambda: all(self.is_true(spec) for spec in self.wishes.values()), WITHIN_S)

    def is_true(self, spec: InstanceSpec) -> bool:
        report = self.master.reports.get(spec.instance_id)
        if report is None or (report.generation, report.restart_seq) != (spec.generation, spec.restart_seq):
            return False
        wanted = {Desired.RUNNING: State.RUNNING, Desired.STOPPED: State.STOPPED}.get(spec.desired)
        return report.removed if wanted is None else report.state is wanted

    def keepers(self) -> set[int]:
        """The parents of the living services: what keeps them over a worker's end."""
        rows = procfs.read_table()
        return {rows[pid].ppid for spec in self.wishes.values() for pid in self.alive(spec)} - {1, os.getpid()}

    async def end_everything(self) -> None:
        """End the worker, its keeper and the services at once, as a power cut does."""
        pids = [pid for spec in self.wishes.values() for pid in self.alive(spec)]
        keepers = self.keepers()
        await self.kill()
        for group in (pids, keepers):  # the keepers last: who else would wait for what they keep?
            for pid in group:
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not procfs.read_table().keys() & set(pids))

    # --- what really happened ---------------------------------------------------------------------------------------
    def starts(self, spec: InstanceSpec) -> list[int]:
        """The pids of the starts of a service, oldest first."""
        lines = (line.split() for line in self.effects.read_text().splitlines())
        return [int(line[1]) for line in lines if line[0] == spec.instance_id]

    def order(self) -> list[str]:
        """The names of all starts, oldest first."""
        return [line.split("-")[0] for line in self.effects.read_text().splitlines()]

    def alive(self, spec: InstanceSpec) -> list[int]:
        """The living processes that carry the service's marker and are no helper of ours."""
        rows = procfs.read_table().values()
        own = self.starts(spec)
        return [row.pid for row in rows if not row.is_dead and row.pid in own]

    def check_picture(self, gaps: int = 0) -> None:
        """The newest reports say what is so, and no event is missing; after a power cut numbers go on above a gap."""
        for spec in self.wishes.values():
            report = self.master.reports[spec.instance_id]
            assert self.alive(spec) == ([] if report.pid is None else [report.pid]), spec.name
        seqs = sorted({event.seq for event in self.master.events})
        jumps = [(one, other) for one, other in itertools.pairwise([0, *seqs]) if other != one + 1]
        assert len(jumps) <= gaps, f"events are missing: {jumps}"


@contextlib.asynccontextmanager
async def open_node(root: Path) -> AsyncIterator[Node]:
    """Give a node whose worker is not running yet; at the end nothing of it is left."""
    master = MastersEnd(root)
    await master.start()
    node = Node(root, master)
    try:
        yield node
    finally:
        if node.worker is not None and node.worker.returncode is None:
            node.worker.send_signal(signal.SIGCONT)
            await node.kill()
        await master.stop()
        for instance_id in node.wishes:
            kill_marked(instance_id)
