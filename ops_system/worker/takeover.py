"""What people at the master ask about processes that run here already: who would be taken over, and a reload.

Answers `processes.list`, `takeover.match`, `instances.reload` and `instances.reconfigure`. The takeover itself is a
wish like any other; the node's own policy stands before all of them.
"""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceSpec
from ops_system.model.reasons import Reason
from ops_system.model.takeover import find_takeover_problems
from ops_system.processes import procfs
from ops_system.processes.adopt import CannotTake, Guard, learn
from ops_system.processes.adopt_facts import read_all, read_ports
from ops_system.processes.adopt_find import find_tree
from ops_system.processes.commands import CommandResult
from ops_system.protocol.requests import (
    ListProcesses,
    Matched,
    MatchProcess,
    Processes,
    ReconfigureInstance,
    Reloaded,
    ReloadInstance,
)
from ops_system.worker.metrics.processlist import describe_some, list_processes
from ops_system.worker.policy import Policy

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0


class Caretaker(Protocol):
    """What is asked of the supervisor."""

    def guard(self, but: InstanceId | None = None) -> Guard:
        """Return what may not be taken over."""
        ...

    async def run_beside(self, instance_id: InstanceId, argv: tuple[str, ...]) -> CommandResult:
        """Run a command beside a running instance."""
        ...


class Takeovers:
    """See the module. `find` gives an instance's wish."""

    def __init__(
        self,
        policy: Policy,
        supervisor: Caretaker,
        find: Callable[[InstanceId], InstanceSpec | None],
        rewrite: Callable[[InstanceSpec], Awaitable[None]],
    ) -> None:
        self._policy = policy
        self._supervisor = supervisor
        self._find = find
        self._rewrite = rewrite

    async def list_processes(self, _body: ListProcesses) -> Processes:
        """Answer `processes.list`."""
        return await asyncio.to_thread(list_processes, self._supervisor.guard())

    async def match(self, body: MatchProcess) -> Matched:
        """Answer `takeover.match`. A refusal is an answer, too."""
        problems = [f"{path}: {text}" for path, text in find_takeover_problems(body.takeover)]
        refusal = self._policy.refusal_of_takeover() or (Reason("invalid", "; ".join(problems)) if problems else None)
        if refusal is not None:
            return Matched(refusal=refusal)
        return await asyncio.to_thread(_match, body, self._supervisor.guard())

    async def reload(self, body: ReloadInstance) -> Reloaded:
        """Answer `instances.reload`. Raises NotFound, NotAllowed, Invalid, TimedOut."""
        return await self._run(self._get(body.instance_id))

    async def reconfigure(self, body: ReconfigureInstance) -> Reloaded:
        """Answer `instances.reconfigure`. Raises as `reload`, and Conflict before that wish is here."""
        spec = self._get(body.instance_id)
        if spec.generation < body.generation:
            raise Conflict(f"the wish {body.generation} has not arrived here yet; ask again")
        if not spec.service.hooks.reload:
            raise NotAllowed(f"instance {body.instance_id} ({spec.name}) has no reload command")
        await self._rewrite(spec)
        return await self._run(spec)

    def _get(self, instance_id: InstanceId) -> InstanceSpec:
        spec = self._find(instance_id)
        if spec is None:
            raise NotFound(f"this node keeps no instance {instance_id}", id=instance_id)
        return spec

    async def _run(self, spec: InstanceSpec) -> Reloaded:
        argv = spec.service.hooks.reload
        if not argv:
            raise NotAllowed(f"instance {spec.instance_id} ({spec.name}) has no reload command")
        started_s = time.monotonic()
        result = await self._supervisor.run_beside(spec.instance_id, argv)
        duration_s = round(time.monotonic() - started_s, 3)
        _log.info("the reload command of %s ended with %d", spec.name, result.code)
        return Reloaded(result.code, result.output, duration_s)


def _match(body: MatchProcess, guard: Guard) -> Matched:
    boot_id = procfs.read_boot_id()
    try:
        tree = find_tree(body.takeover, guard, boot_id, is_first=True)
    except CannotTake as problem:
        return Matched(candidates=describe_some(problem.candidates, guard), refusal=problem.reason)
    leader = describe_some((tree.leader,), guard)[0]
    return Matched(leader=leader, tree=describe_some(tree.below, guard), learned=learn(tree.leader, boot_id))


class MasterFinder:
    """Tells which processes listen on the master's port, when the master is on this machine."""

    def __init__(self, master_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        url = urlsplit(master_url)
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._is_here = is_here(url.hostname or "")
        self._clock = clock
        self._looked_s = float("-inf")
        self._pids: tuple[int, ...] = ()

    def find(self) -> tuple[int, ...]:
        """Return their pids, at most `LOOK_EVERY_S` old. Blocks for one pass over all open files."""
        if self._is_here and self._clock() - self._looked_s >= LOOK_EVERY_S:
            listening = read_ports(read_all())
            self._pids = tuple(pid for pid, ports in listening.items() if any(one.port == self._port for one in ports))
            self._looked_s = self._clock()
        return self._pids


def is_here(host: str) -> bool:
    """True for an address of this machine, or its own name. No other name is looked up: that may take long."""
    if host in {"localhost", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(host)
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:  # noqa: PLR2004 - IPv4
            probe.bind((str(address), 0))
    except (OSError, ValueError):
        return False
    return True
