"""Takeovers: processes that others started come into care, and are let go again.

    ask the worker who it would be (nothing is touched) -> module and instance on record -> a wish like any other

The worker judges again when it carries the wish out; what it refuses by its own policy is on record here.
"""

import secrets
from typing import Protocol, TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.instances import placing
from ops_system.master.instances.adoption import (
    NewAdoption,
    Preview,
    TakeoverWish,
    preview_of,
    read_manifest,
    read_takeover,
)
from ops_system.master.instances.aftermath import Aftermath
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import Instance
from ops_system.master.nodes.service import Nodes
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed
from ops_system.model.ids import InstanceId, spell_id
from ops_system.model.instances import Desired, InstanceSpec, Origin
from ops_system.model.manifest import Manifest
from ops_system.model.operations import Operation
from ops_system.model.reasons import Reason
from ops_system.model.systems import Module
from ops_system.model.takeover import Takeover
from ops_system.protocol.requests import Matched, MatchProcess, Reloaded, ReloadInstance
from ops_system.storage.database import Database

T = TypeVar("T")

MATCH_WITHIN_S = 10.0
RELOAD_WITHIN_S = 70.0  # the worker gives the command 60 s


class Asker(Protocol):
    """The part of the links that takeovers need."""

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = ...
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        ...


class Adoptions:
    """See the module."""

    def __init__(
        self, *, database: Database, nodes: Nodes, systems: Systems, instances: Instances, links: Asker, audit: Audit
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._systems = systems
        self._instances = instances
        self._links = links
        self._audit = audit

    async def preview(self, node_id: str, wish: TakeoverWish, actor: Principal) -> Preview:
        """Tell who would be taken over. Raises `NotFound`, `Invalid`, `NodeOffline`, `TimedOut`."""
        takeover = read_takeover(wish)
        node = self._nodes.get(node_id, actor)
        matched = await self._match(node.id, takeover)
        await self._record_policy(matched.refusal, node.id, actor)
        return preview_of(wish, takeover, matched)

    async def adopt(self, body: NewAdoption, actor: Principal) -> tuple[Instance, Operation]:
        """Take a process over into a system.

        Raises `NotFound`, `Invalid`, `NodeOffline`, `TimedOut`, `Conflict` (the module is there already, a port is
        taken), and `NotAllowed` with the reason and the candidates when nothing can be taken: nothing was touched.
        """
        takeover, manifest = read_takeover(body), read_manifest(body)
        placing.check_placeholders(manifest, ())
        node = self._nodes.get(body.node_id, actor)
        await self._systems.get_system(body.system_id, principal=actor)
        placing.check_takes_starts(placing.facts_of(node))
        matched = await self._match(node.id, takeover)
        await self._record_policy(matched.refusal, node.id, actor)
        if matched.refusal is not None:
            pids = [str(one.pid) for one in matched.candidates]
            raise NotAllowed(matched.refusal.message, reason=matched.refusal.code, node=node.id, candidates=pids)
        return await self._take_in(body, msgspec.structs.replace(takeover, learned=matched.learned), manifest, actor)

    async def _take_in(
        self, body: NewAdoption, takeover: Takeover, manifest: Manifest, actor: Principal
    ) -> tuple[Instance, Operation]:
        after = Aftermath()
        async with self._database.transaction() as tx:
            module, is_new = await self._systems.find_or_add_external(tx, body.system_id, body.name, actor)
            node = placing.facts_of(self._nodes.get(body.node_id, actor))
            spec = _spec_of(module, manifest, takeover)
            record, operation = await self._instances.take_in(tx, spec, node, actor, after)
        self._instances.release(after)
        if is_new:
            await self._systems.publish(module)
        return self._instances.view(record), operation

    async def _match(self, node_id: str, takeover: Takeover) -> Matched:
        return await self._links.request(node_id, "takeover.match", MatchProcess(takeover), Matched, MATCH_WITHIN_S)

    async def _record_policy(self, refusal: Reason | None, node_id: str, actor: Principal) -> None:
        """Put on record that a node refused by its own policy (trust S21)."""
        if refusal is not None and refusal.code == "policy_refused":
            details = {**refusal.params, "reason": refusal.message, "asked_by": actor.name}
            principal = Principal(kind="node", id=node_id, name=node_id)
            await self._audit.record_alone(principal, "policy.refuse", f"node:{node_id}", "denied", details)

    async def let_go(self, instance_id: str, actor: Principal) -> tuple[Instance, Operation]:
        """Let an instance go without a signal. Raises `NotFound`, `NotAllowed` for one that we started ourselves."""
        return await self._instances.let_go(instance_id, actor)

    async def reload(self, instance_id: str, actor: Principal) -> Reloaded:
        """Run the instance's reload command. Raises `NotFound`, `NotAllowed`, `NodeOffline`, `TimedOut`."""
        record = await self._instances.find_record(self._database, instance_id, actor)
        if not record.spec.service.hooks.reload:
            raise NotAllowed(f"instance {record.spec.name} has no reload command", reason="no_reload_command")
        body = ReloadInstance(record.spec.instance_id)
        answer = await self._links.request(record.node_id, "instances.reload", body, Reloaded, RELOAD_WITHIN_S)
        details = {"name": record.spec.name, "exit_code": answer.exit_code}
        outcome = "done" if answer.exit_code == 0 else "failed"
        await self._audit.record_alone(actor, "instance.reload", f"instance:{instance_id}", outcome, details)
        return answer


def _spec_of(module: Module, manifest: Manifest, takeover: Takeover) -> InstanceSpec:
    return InstanceSpec(
        instance_id=InstanceId(spell_id("ins", secrets.token_bytes(10))),
        generation=0,
        desired=Desired.STOPPED,
        system_id=module.system_id,
        module_id=module.id,
        name=module.name,
        package=None,
        service=manifest,
        origin=Origin.ADOPTED,
        start_order=module.start_order,
        takeover=takeover,
    )
