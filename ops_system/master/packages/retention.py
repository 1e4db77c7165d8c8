"""Which versions go: a policy, a look at what it would do, and the operation that does it.

    begin -> one target a version -> each judged once more in the transaction that removes it

The bytes go with the last version that names them. What runs, what a module plans, what a kept rollout could return
to, and what is pinned or tagged never goes. A master that was killed in the middle goes on with what is left.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.operations.rules import TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.packages import store
from ops_system.master.packages.rules import AgedVersion, RetentionPolicy, check_policy, kept_by, old_versions
from ops_system.master.packages.service import Packages
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed, NotFound, OpsError
from ops_system.model.operations import ENDED, Operation, OperationState, OperationTarget
from ops_system.model.packages import Package
from ops_system.model.reasons import Reason
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries, Transaction

KIND = "packages.retention"
STEPS = ("remove",)
MAX_TARGETS = 1000  # the rest goes with the next run
LOOK_EVERY_S = 600.0
DAY = timedelta(days=1)
NOTHING_TO_REMOVE = "none"  # why a run is refused: it would remove nothing
_MASTER = Principal(kind="local", id="master", name="master")
_CANCELLED = Reason("cancelled", "cancelled by a person")


class RetentionView(msgspec.Struct, frozen=True):
    """What is set, by whom, and when it was last carried out."""

    policy: RetentionPolicy
    changed_at: datetime | None = None
    changed_by: str = ""
    ran_at: datetime | None = None


class RetentionPreview(msgspec.Struct, frozen=True):
    """What a run would do now. `freed_bytes` counts bytes that no other version names."""

    policy: RetentionPolicy
    items: list[AgedVersion]
    removed: int
    freed_bytes: int


class Retention:
    """The one policy."""

    def __init__(
        self, *, database: Database, packages: Packages, operations: Operations, audit: Audit, clock: Clock
    ) -> None:
        self._database = database
        self._packages = packages
        self._operations = operations
        self._audit = audit
        self._clock = clock
        self._news = asyncio.Event()
        operations.control(KIND, self)

    # --- the policy -----------------------------------------------------------------------------------------------
    async def get(self) -> RetentionView:
        """Return what is set; nothing is removed before anything is."""
        row = await store.find_retention(self._database)
        if row is None:
            return RetentionView(RetentionPolicy())
        return RetentionView(row.policy, row.changed_at, row.changed_by, row.ran_at)

    async def set(self, policy: RetentionPolicy, actor: Principal) -> RetentionView:
        """Set the policy. Raises `Invalid`."""
        check_policy(policy)
        async with self._database.transaction() as tx:
            before = await store.find_retention(tx)
            ran_at = None if before is None else before.ran_at
            await store.save_retention(tx, store.RetentionRow(policy, self._clock.now(), actor.name, ran_at))
            details = msgspec.to_builtins(policy)
            await self._audit.record(tx, actor, "package.retention.set", "package-retention", "done", details)
        self._news.set()
        return await self.get()

    async def preview(self, policy: RetentionPolicy | None = None) -> RetentionPreview:
        """Return what a run would do now, by `policy` or by what is set. Writes nothing. Raises `Invalid`."""
        wanted = policy or (await self.get()).policy
        check_policy(wanted)
        packages = await store.list_all(self._database)
        items = [await self._judge(self._database, one) for one in old_versions(packages, wanted, self._clock.now())]
        gone = {(item.name, item.version) for item in items if item.kept_by is None}
        staying = {one.sha256 for one in packages if (one.name, one.version) not in gone}
        freed = {one.sha256: one.size_bytes for one in packages if one.sha256 not in staying}
        return RetentionPreview(wanted, items, len(gone), sum(freed.values()))

    async def _judge(self, reader: Queries, package: Package) -> AgedVersion:
        is_used = await self._packages.usage.is_needed(reader, package.name, package.version)
        why = kept_by(package, is_used=is_used)
        return AgedVersion(package.name, package.version, package.size_bytes, package.created_at, why)

    # --- carrying it out ------------------------------------------------------------------------------------------
    async def begin(self, actor: Principal) -> Operation:
        """Begin to remove what the policy does not keep. Raises `NotAllowed` when nothing is, or a run is under way."""
        if any(operation.kind == KIND for operation in self._operations.list_open()):
            raise NotAllowed("a retention run is under way; wait for its end")
        found = await self.preview()
        going = [item for item in found.items if item.kept_by is None][:MAX_TARGETS]
        if not going:
            words = "no version is old enough to go, or all that are stay by pins, tags or use"
            raise NotAllowed(words, reason=NOTHING_TO_REMOVE)
        pending = OperationState.PENDING
        targets = [
            OperationTarget("package", f"{one.name}/{one.version}", f"{one.name} {one.version}", None, pending)
            for one in going
        ]
        async with self._database.transaction() as tx:
            title = f"{len(going)} package versions"
            operation = await self._operations.create(tx, KIND, title=title, actor=actor, targets=targets, steps=STEPS)
            await self._note_run(tx)
            details = {"operation": operation.id, "versions": len(going), **msgspec.to_builtins(found.policy)}
            await self._audit.record(tx, actor, "package.retention.run", "package-retention", "begun", details)
        self._operations.publish(operation)
        self._news.set()
        return operation

    async def _note_run(self, tx: Transaction) -> None:
        row = await store.find_retention(tx)
        if row is not None:
            await store.save_retention(tx, msgspec.structs.replace(row, ran_at=self._clock.now()))

    async def run(self) -> None:
        """Carry out what was begun, and begin once a day where the policy says so, until cancelled."""
        while True:
            self._news.clear()
            for operation in self._operations.list_open():
                if operation.kind == KIND:
                    await self._carry_out(operation)
            if await self._is_due():
                await self._begin_daily()
                continue
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _is_due(self) -> bool:
        row = await store.find_retention(self._database)
        if row is None or not row.policy.is_daily:
            return False
        return row.ran_at is None or self._clock.now() - row.ran_at >= DAY

    async def _begin_daily(self) -> None:
        try:
            await self.begin(_MASTER)
        except NotAllowed:
            async with self._database.transaction() as tx:
                await self._note_run(tx)

    async def _carry_out(self, operation: Operation) -> None:
        actor = msgspec.structs.replace(_MASTER, name=operation.created_by)
        for target in operation.targets:
            live = await self._operations.get(operation.id)
            if live.state in ENDED:
                break
            if target.state not in ENDED:
                end = await self._remove(target.id, actor)
                async with self._database.transaction() as tx:
                    ended = await self._operations.finish_target(tx, operation.id, target.id, end)
                self._operations.publish(ended)

    async def _remove(self, key: str, actor: Principal) -> TargetEnd:
        name, _, version = key.partition("/")
        try:
            await self._packages.delete(name, version, actor, spare=self._spare)
        except NotFound:
            return TargetEnd(OperationState.SUCCEEDED)  # gone already
        except NotAllowed as kept:
            return TargetEnd(OperationState.CANCELLED, Reason("kept", kept.message))
        except OpsError as problem:
            return TargetEnd(OperationState.FAILED, Reason(problem.code, problem.message))
        return TargetEnd(OperationState.SUCCEEDED)

    async def _spare(self, reader: Queries, package: Package) -> None:
        """Raise `NotAllowed` when the version must stay as things are now."""
        verdict = await self._judge(reader, package)
        if verdict.kept_by is not None:
            words = f"package {package.name} {package.version} stays: it is {verdict.kept_by} by now"
            raise NotAllowed(words, kept_by=verdict.kept_by)

    # --- what people do to a run ----------------------------------------------------------------------------------
    async def cancel(self, operation: Operation, actor: Principal) -> Operation:
        """Remove nothing more; what is gone is gone."""
        async with self._database.transaction() as tx:
            current = await self._operations.read(tx, operation.id)
            for target in current.targets:
                end = TargetEnd(OperationState.CANCELLED, _CANCELLED)
                current = await self._operations.finish_target(tx, current.id, target.id, end, known=current)
            await self._audit.record(tx, actor, "operation.cancel", f"operation:{operation.id}", "done", {})
        self._operations.publish(current)
        return current

    async def retry(self, operation: Operation, actor: Principal) -> Operation:  # noqa: ARG002 - judged by the policy
        """Judge everything anew and remove what is left. Raises `NotAllowed` as `begin`."""
        return await self.begin(actor)
