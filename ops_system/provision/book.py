"""Tasks and machines in the store: every change is one transaction on the condition that nothing else changed it.

    TaskBook    what control plane and regions both do: make, find, move, remove
    AgentBook   what a region does for an agent: report, lease, fence, intents, progress, the end

Rules are asked again until a change wins or they forbid it; nothing of the state is kept in memory.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ops_system.kv.base import Compare, DeleteRequest, KeyValue, PutRequest, RangeRequest, Store
from ops_system.kv.follow import list_all
from ops_system.kv.ranges import prefix_end
from ops_system.kv.swap import ManyRule, Write, change_all
from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.model.machines import AgentLease, Machine, check_idc, check_sn
from ops_system.model.tasks import BOOTS_AGENT, FINISHED, Server, Task, TaskId, TaskStatus
from ops_system.provision import rules
from ops_system.provision.documents import decode, decoded, encode, log_removal, removal_writes, task_writes
from ops_system.provision.keys import UNMATCHED, MachineKeys, machines_prefix, region_key, servers_prefix
from ops_system.provision.regions import RegionInfo, RegionSettings
from ops_system.runtime.clock import Clock

Rule = Callable[[Task], Task]
MachineRule = Callable[[Task, Machine | None], tuple[Task, Machine | None]]
_KEPT_ALIVE = BOOTS_AGENT - {TaskStatus.PENDING}


class TaskBook:
    """The documents of provisioning, as control plane and regions both use them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.revision = 0  # of the newest write made here: who looks at a copy waits until it is that far

    async def write(
        self, keys: tuple[bytes, ...], rule: ManyRule, *, compares: tuple[Compare, ...] = (), may_repeat: bool = False
    ) -> None:
        """Change several keys at one instant, as `change_all` does."""
        done = await change_all(self.store, keys, rule, compares=compares, may_repeat=may_repeat)
        if done is not None:
            self.revision = max(self.revision, done.revision)

    # --- tasks --------------------------------------------------------------------------------------------------------
    async def create(self, task: Task) -> Task:
        """Store a new task; a finished one makes room. A machine that reported already waits for approval at once.

        A quarantine of the machine ends: somebody decided about it. Raises Conflict while it has an unfinished task.
        """
        keys = MachineKeys(check_idc(task.idc), check_sn(task.sn))
        made = task

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal made
            before, meta = decoded(seen[0], Task), decoded(seen[1], Machine)
            unmatched, lease = decoded(seen[2], Machine), decoded(seen[3], AgentLease)
            _check_free(before, task)
            machine = _merged(meta, unmatched)
            made = _begun(task, before, machine, lease, self.clock)
            writes = task_writes(before, made)
            if before is not None:
                writes += log_removal(before)
            if unmatched is not None:
                writes.append(DeleteRequest(keys.unmatched))
            if machine is not None and (unmatched is not None or machine.quarantined):
                writes.append(PutRequest(keys.meta, encode(replace(machine, quarantined=""))))
            return writes

        await self.write((keys.task, keys.meta, keys.unmatched, keys.lease), rule)
        return made

    async def find(self, idc: str, sn: str) -> Task | None:
        """Return the task of a machine, or None."""
        return decoded(await self._one(MachineKeys(idc, sn).task), Task)

    async def get(self, idc: str, sn: str) -> Task:
        """Return the task of a machine. Raises NotFound."""
        task = await self.find(idc, sn)
        if task is None:
            raise _no_task(idc, sn)
        return task

    async def by_id(self, task_id: str) -> Task:
        """Return a task by its id, which names its machine. Raises NotFound."""
        idc, _, rest = task_id.partition(".")
        task = await self.find(idc, rest.rpartition(".")[0])
        if task is None or task.task_id != task_id:
            raise NotFound(f"no task {task_id}; its machine may have a newer one", task_id=task_id)
        return task

    async def list_idc(self, idc: str) -> list[Task]:
        """Return every task of a data centre, by serial number."""
        listed = await list_all(self.store, machines_prefix(idc))
        return [decode(kv, Task) for kv in listed.kvs if kv.key.endswith(b"/task")]

    async def servers(self, idc: str) -> dict[str, Server]:
        """Return the queue of a data centre by serial number."""
        prefix = servers_prefix(idc)
        listed = await list_all(self.store, prefix)
        return {kv.key[len(prefix) :].decode(): decode(kv, Server) for kv in listed.kvs}

    async def change(self, idc: str, sn: str, rule: Rule) -> Task:
        """Put what `rule` makes of the task in its place. Raises NotFound, and what the rule raises."""
        keys, made = MachineKeys(idc, sn), None

        def ask(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal made
            before = decoded(seen[0], Task)
            if before is None:
                raise _no_task(idc, sn)
            made = rule(before)
            return task_writes(before, made)

        await self.write((keys.task,), ask)
        return _given(made)

    async def change_machine(self, idc: str, sn: str, rule: MachineRule) -> Task:
        """Change a task and its machine at one instant. Raises NotFound, and what the rule raises."""
        keys, made = MachineKeys(idc, sn), None

        def ask(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal made
            before, known = decoded(seen[0], Task), decoded(seen[1], Machine)
            if before is None:
                raise _no_task(idc, sn)
            made, machine = rule(before, known)
            writes = task_writes(before, made)
            if machine is not known and machine is not None:
                writes.append(PutRequest(keys.meta, encode(machine)))
            return writes

        await self.write((keys.task, keys.meta), ask)
        return _given(made)

    async def retry(self, idc: str, sn: str, *, by: str, why: str = "") -> Task:
        """Begin the next attempt; a quarantine of the machine ends with it."""

        def rule(task: Task, machine: Machine | None) -> tuple[Task, Machine | None]:
            if machine is not None and machine.quarantined:
                machine = replace(machine, quarantined="")
            return rules.retry(task, by=by, at=self.clock.now(), why=why), machine

        return await self.change_machine(idc, sn, rule)

    async def delete(self, idc: str, sn: str) -> Task:
        """Remove a task with its log. Raises NotFound; NotAllowed while an agent may be at work on it."""
        keys, gone = MachineKeys(idc, sn), None

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal gone
            task, machine = decoded(seen[0], Task), decoded(seen[1], Machine)
            if task is None:
                raise _no_task(idc, sn)
            self.check_removable(task)
            gone = task
            writes = removal_writes(task)
            if machine is not None:
                fence = max(machine.last_fence, task.fence)
                writes.append(PutRequest(keys.meta, encode(replace(machine, last_fence=fence))))
            return writes

        await self.write((keys.task, keys.meta), rule)
        return _given(gone)

    @staticmethod
    def check_removable(task: Task) -> None:
        """Raise NotAllowed while an agent may be at work on a task."""
        if task.status in _KEPT_ALIVE:
            words = f"task of {task.sn} in {task.idc} is {task.status}: cancel it first"
            raise NotAllowed(words, status=task.status.value)

    async def log(self, task: Task) -> list[str]:
        """Return the whole log that is kept of a task, oldest line first."""
        listed = await list_all(self.store, MachineKeys(task.idc, task.sn).log_prefix(task.task_id))
        return [line for kv in listed.kvs for line in decode(kv, tuple[str, ...])] + list(task.logs)

    async def boot(self, idc: str, sn: str, *, by: str) -> Task:
        """The machine asks for its boot file: `pending` becomes `booting`. Raises NotFound."""
        return await self.change(idc, sn, lambda task: rules.boot(task, by=by, at=self.clock.now()))

    # --- machines and regions -----------------------------------------------------------------------------------------
    async def machine(self, idc: str, sn: str) -> Machine | None:
        """Return what is known of a machine that has, or had, a task."""
        return decoded(await self._one(MachineKeys(idc, sn).meta), Machine)

    async def agent(self, idc: str, sn: str) -> AgentLease | None:
        """Return which agent works on a machine now."""
        return decoded(await self._one(MachineKeys(idc, sn).lease), AgentLease)

    async def unmatched(self, idc: str = "") -> list[Machine]:
        """Return the machines that reported without a task, of one data centre or of all."""
        listed = await list_all(self.store, UNMATCHED + (f"{idc}/".encode() if idc else b""))
        return [decode(kv, Machine) for kv in listed.kvs]

    async def forget_unmatched(self, idc: str, sn: str) -> None:
        """Remove an unmatched machine. Raises NotFound."""
        done = await self.store.delete(DeleteRequest(MachineKeys(idc, sn).unmatched))
        if not done.deleted:
            raise NotFound(f"no unmatched machine {sn} in {idc}", idc=idc, sn=sn)
        self.revision = max(self.revision, done.revision)

    async def settings(self, idc: str) -> RegionSettings:
        """Return what operators decided for a data centre."""
        return decoded(await self._one(region_key(idc, "settings")), RegionSettings) or RegionSettings()

    async def change_settings(self, idc: str, rule: Callable[[RegionSettings], RegionSettings]) -> RegionSettings:
        """Change them."""
        key, made = region_key(check_idc(idc), "settings"), RegionSettings()

        def ask(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            nonlocal made
            before = decoded(seen[0], RegionSettings)
            made = rule(before or RegionSettings())
            return [] if made == before else [PutRequest(key, encode(made))]

        await self.write((key,), ask)
        return made

    async def region(self, idc: str) -> RegionInfo | None:
        """Return the regional client that is, or was, active."""
        return decoded(await self._one(region_key(idc, "info")), RegionInfo)

    async def is_heard(self, idc: str) -> bool:
        """Whether a regional client is alive."""
        return await self._one(region_key(idc, "heartbeat")) is not None

    async def exists(self, idc: str) -> bool:
        """Whether a data centre has a task, a machine, a client or settings."""
        for prefix in (f"/os/{idc}/", f"/os/region/{idc}/"):
            start = prefix.encode()
            if (await self.store.range(RangeRequest(start, prefix_end(start), limit=1, count_only=True))).count:
                return True
        return False

    async def _one(self, key: bytes) -> KeyValue | None:
        answer = await self.store.range(RangeRequest(key))
        return answer.kvs[0] if answer.kvs else None


def make_task_id(idc: str, sn: str, entropy: bytes) -> TaskId:
    """Return a fresh id, which names the machine: nothing else is needed to find the task."""
    return TaskId(f"{idc}.{sn}.{entropy.hex()}")


def _check_free(before: Task | None, task: Task) -> None:
    if before is not None and before.status not in FINISHED:
        raise Conflict(
            f"machine {task.sn} in {task.idc} has an unfinished task ({before.status}): cancel it first",
            reason="task_exists",
            task_id=before.task_id,
            status=before.status.value,
        )


def _merged(meta: Machine | None, unmatched: Machine | None) -> Machine | None:
    if meta is None or unmatched is None:
        return unmatched or meta
    return replace(unmatched, last_fence=meta.last_fence, first_seen_at=meta.first_seen_at)


def _begun(task: Task, before: Task | None, machine: Machine | None, lease: AgentLease | None, clock: Clock) -> Task:
    """The fence rises above every earlier one; an agent that waits already has told what it is on."""
    fence = max(before.fence if before else 0, machine.last_fence if machine else 0)
    task = replace(task, fence=fence)
    if machine is None or machine.hardware is None or lease is None or lease.boot_id != machine.boot_id:
        return task
    if machine.quarantined:
        return task
    mac = "" if task.mac in machine.macs or not machine.macs else machine.macs[0]
    moved = rules.move(task, TaskStatus.PENDING_APPROVAL, by=f"agent:{task.sn}", at=clock.now())
    return replace(moved, reported_mac=mac)


def _no_task(idc: str, sn: str) -> NotFound:
    return NotFound(f"no task for machine {sn} in {idc}", idc=idc, sn=sn)


def _given(made: Task | None) -> Task:
    if made is None:
        raise RuntimeError("the store asked no rule")
    return made


class Stamp(msgspec.Struct, frozen=True):
    """The part of a task that a renewal of a lease needs: decoded without the rest."""

    status: TaskStatus
    fence: int = 0
    is_cancel_asked: bool = False
