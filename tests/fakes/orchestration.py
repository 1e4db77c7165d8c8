"""The master's orchestration on a real database, without a network: nodes and their links are stand-ins.

async with open_desk(tmp_path) as desk:
    node = desk.nodes.add("n1")
    await desk.upload("web", "1.0")
    ...
    await desk.report(node, instance, state="running")
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.aftermath import Announcer
from ops_system.master.instances.observer import Observer
from ops_system.master.instances.service import Instances
from ops_system.master.nodes.events import NodeDraining, NodeStatusChanged
from ops_system.master.nodes.rules import Node, NodeChange, is_in_scope
from ops_system.master.operations.service import Operations
from ops_system.master.packages.parts import Parts
from ops_system.master.packages.service import Packages
from ops_system.master.packages.uploads import Uploads
from ops_system.master.publishers.service import Publishers
from ops_system.master.rollouts.drains import Drains
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.systems.rules import NewModule, NewSystem
from ops_system.master.systems.service import Systems
from ops_system.master.templates.service import Templates
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotFound
from ops_system.model.ids import NodeId
from ops_system.model.instances import Desired, HealthState, InstanceEvent, InstanceReport, InstanceSpec, State
from ops_system.model.nodes import NodeStatus
from ops_system.model.operations import ENDED
from ops_system.protocol.frames import Apply, Events, Report, Snapshot
from ops_system.runtime.tasks import running
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.evil_archives import Member, good_zip
from tests.fakes.web import PlainSealer

ANN = Principal(kind="user", id="usr_1", name="ann")
WITHIN_S = 30.0


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    """A body as it comes from a socket."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


class FakeNodes:
    """Stands where `Nodes` is wanted: a book kept by the test."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._nodes: dict[str, Node] = {}
        self.names_in_use: Callable[[NodeId], Awaitable[list[str]]] | None = None

    def guard_removal(self, names_in_use: Callable[[NodeId], Awaitable[list[str]]]) -> None:
        self.names_in_use = names_in_use

    def add(self, name: str, **changes: object) -> NodeId:
        """Put a node on record, online unless `changes` say otherwise."""
        fields: dict[str, object] = dict.fromkeys(Node.__struct_fields__, "")
        fields |= {"id": NodeId(f"node_{name}"), "name": name, "status": NodeStatus.ONLINE, "os": "linux"}
        fields |= {"arch": "amd64", "labels": {}, "paused": False, "draining": False, "revoked": False}
        node = Node(**(fields | changes))
        self._nodes[node.id] = node
        return node.id

    def set(self, node_id: str, **changes: object) -> None:
        """Change a node; a new status is told over the bus."""
        self._nodes[node_id] = msgspec.structs.replace(self._nodes[node_id], **changes)
        if "status" in changes:
            self._bus.publish(NodeStatusChanged(NodeId(node_id), self._nodes[node_id].status))

    async def change(self, node_id: str, body: NodeChange, actor: Principal) -> Node:
        before = self.get(node_id, actor)
        self.set(node_id, draining=body.draining)
        if before.draining is not body.draining:
            self._bus.publish(NodeDraining(before.id, body.draining, actor))
        return self.get(node_id)

    def remove(self, node_id: str) -> None:
        del self._nodes[node_id]

    def find(self, node_id: str) -> Node | None:
        return self._nodes.get(node_id)

    def get(self, node_id: str, principal: Principal | None = None) -> Node:
        node = self._nodes.get(node_id)
        if node is None or (principal is not None and not is_in_scope(node.labels, principal.scope)):
            raise NotFound(f"there is no node {node_id}", id=node_id)
        return node

    def list_all(self, principal: Principal | None = None) -> list[Node]:
        scope = principal.scope if principal is not None else {}
        return [node for node in self._nodes.values() if is_in_scope(node.labels, scope)]


class FakeLinks:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    def send(self, node_id: str, frame: object) -> bool:
        self.sent.append((node_id, frame))
        return True

    def wishes(self, instance_id: str) -> list[InstanceSpec]:
        """The specs sent for one instance, the newest last."""
        specs = [frame.spec for _, frame in self.sent if isinstance(frame, Apply)]
        return [spec for spec in specs if spec.instance_id == instance_id]

    def of(self, frame_type: type) -> list[object]:
        return [frame for _, frame in self.sent if isinstance(frame, frame_type)]


class FakeSigner:
    def sign(self, data: bytes) -> bytes:
        return b"signed:" + data[:8]


class Desk:
    """All services of the orchestration, wired as `app.py` does."""

    def __init__(self, database: Database, folder: DataFolder, clock: FakeClock) -> None:
        self.database = database
        self.folder = folder
        self.bus = Bus()
        self.clock = clock
        self.links = FakeLinks()
        self.nodes = FakeNodes(self.bus)
        self.audit = Audit(database, self.clock)
        self.operations = Operations(database, self.bus, self.clock)
        self.blobs = LocalBlobs(folder.uploads, reserve_bytes=0)
        common = {"database": database, "audit": self.audit, "bus": self.bus}
        self.publishers = Publishers(database=database, audit=self.audit, clock=self.clock)
        parts = Parts(folder.uploads / "parts")
        uploads = Uploads(database=database, blobs=self.blobs, parts=parts, audit=self.audit, clock=self.clock)
        self.packages = Packages(
            blobs=self.blobs,
            uploads=uploads,
            signer=FakeSigner(),
            publishers=self.publishers,
            clock=self.clock,
            **common,
        )
        self.templates = Templates(clock=self.clock, **common)
        self.systems = Systems(
            packages=self.packages, templates=self.templates, clock=self.clock, sealer=PlainSealer(), **common
        )
        self.announcer = Announcer(operations=self.operations, links=self.links, bus=self.bus, clock=self.clock)
        self.observer = Observer(
            database=database,
            operations=self.operations,
            audit=self.audit,
            announcer=self.announcer,
            clock=self.clock,
        )
        parts = {
            "nodes": self.nodes,
            "packages": self.packages,
            "systems": self.systems,
            "operations": self.operations,
        }
        self.instances = Instances(
            announcer=self.announcer, observer=self.observer, clock=self.clock, **parts, **common
        )
        self.rollouts = Rollouts(instances=self.instances, **parts, **common)
        self.drains = Drains(
            instances=self.instances,
            nodes=self.nodes,
            systems=self.systems,
            operations=self.operations,
            **common,
        )
        self.published: list[Changed] = []
        self._bell = asyncio.Event()
        self.bus.subscribe(Changed, self._on_changed)

    def _on_changed(self, event: Changed) -> None:
        self.published.append(event)
        self._bell.set()

    async def until(self, holds: Callable[[], Awaitable[object]]) -> object:
        """Return what `holds` returns once it is true; asked again after everything published."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._bell.clear()  # first: what is published while `holds` looks is a reason to look again
                if found := await holds():
                    return found
                await self._bell.wait()

    async def ended(self, operation_id: str) -> object:
        """Return the operation once it has ended."""

        async def look() -> object:
            operation = await self.operations.get(operation_id)
            return operation if operation.state in ENDED else None

        return await self.until(look)

    # --- shortcuts ------------------------------------------------------------------------------------------------
    async def upload(self, name: str, version: str = "1.0", **manifest: object) -> None:
        """Put a package into the catalogue."""
        data = good_zip([Member("note.txt", version.encode())], name=name, version=version, **manifest)
        await self.packages.upload(chunks(data), len(data), ANN)

    async def system(self, name: str = "shop") -> str:
        return (await self.systems.create_system(NewSystem(name), ANN)).id

    async def module(self, system_id: str, name: str, **fields: object) -> str:
        """Define a module of the package of the same name unless `fields` say otherwise."""
        body = NewModule(**({"name": name, "package": name, "version": "1.0"} | fields))
        return (await self.systems.create_module(system_id, body, ANN)).id

    async def deployed(self, node: str = "n1", **manifest: object) -> tuple[NodeId, str, str]:
        """Upload, define and deploy `web` to a fresh node that has reported; return node, instance, operation."""
        node_id = self.nodes.add(node)
        await self.link_up(node_id)
        await self.upload("web", **manifest)
        module_id = await self.module(await self.system(), "web")
        instance, operation = await self.instances.create(module_id, node_id, ANN)
        return node_id, instance.id, operation.id

    async def link_up(self, node_id: NodeId, *reports: InstanceReport, last_event_seq: int = 0) -> None:
        """The worker sends its snapshot."""
        await self.observer.on_snapshot(node_id, Snapshot(reports=reports, last_event_seq=last_event_seq))

    async def picture(self, instance: str, state: str, **changes: object) -> InstanceReport:
        """A report on the newest wish, unless `changes` say otherwise."""
        record = await self.instances.find_record(self.database, instance)
        self.clock.advance(0.001)
        fields: dict[str, object] = {
            "instance_id": record.spec.instance_id,
            "state": State(state),
            "generation": record.spec.generation,
            "restart_seq": record.spec.restart_seq,
            "health": HealthState.HEALTHY if state == "running" else HealthState.UNKNOWN,
            "at": self.clock.now(),
        }
        return InstanceReport(**(fields | changes))

    async def report(self, node_id: NodeId, instance_id: str, state: str, **changes: object) -> None:
        """The worker reports one instance."""
        await self.observer.on_report(node_id, Report(report=await self.picture(instance_id, state, **changes)))
        await self.observer.drain()

    async def obey(self, node_id: NodeId, instance_id: str) -> None:
        """The worker does at once what is wished of it."""
        record = await self.instances.find_record(self.database, instance_id)
        match record.spec.desired:
            case Desired.RUNNING:
                await self.report(node_id, instance_id, "running", pid=42)
            case Desired.STOPPED:
                await self.report(node_id, instance_id, "stopped")
            case Desired.ABSENT:
                await self.report(node_id, instance_id, "stopped", removed=True)

    def event(self, instance_id: str, seq: int, **changes: object) -> InstanceEvent:
        fields: dict[str, object] = {
            "generation": 1,
            "at": self.clock.now() + timedelta(seconds=seq),
            "kind": "state",
            "state": State.RUNNING,
            "health": HealthState.HEALTHY,
        }
        return InstanceEvent(seq=seq, instance_id=instance_id, **(fields | changes))

    async def events(self, node_id: NodeId, *events: InstanceEvent) -> None:
        """The worker sends timeline lines."""
        await self.observer.on_events(node_id, Events(events=events))

    def restart(self) -> "Desk":
        """A master killed and started again: the same database, everything else new but the nodes."""
        fresh = Desk(self.database, self.folder, self.clock)
        fresh.nodes._nodes = self.nodes._nodes
        return fresh


@contextlib.asynccontextmanager
async def open_desk(folder: object) -> AsyncIterator[Desk]:
    """Open a database in `folder` and wire the services on it."""
    data = DataFolder(folder / "data")
    data.create()
    database = await Database.open(data, load_migrations("ops_system.master"))
    try:
        yield Desk(database, data, FakeClock())
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def driven(desk: Desk) -> AsyncIterator[None]:
    """Run the parts that run in a master."""
    await desk.operations.load()
    await desk.instances.load()
    async with (
        running(desk.instances.run(), "instances"),
        running(desk.rollouts.run(), "rollouts"),
        running(desk.drains.run(), "drains"),
    ):
        yield
