"""The floors below every definition: people, nodes, operations, channels, and the store of installations."""

import base64

from ops_system.master.auth import api as auth_api
from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.auth.service import Auth
from ops_system.master.channels import api as channels_api
from ops_system.master.channels.service import Channels
from ops_system.master.features.ground import Ground
from ops_system.master.gauges import channel_gauges
from ops_system.master.nodes import api as nodes_api
from ops_system.master.nodes.links import Links
from ops_system.master.nodes.rules import MasterFacts
from ops_system.master.nodes.service import Nodes
from ops_system.master.nodes.timeline import NodeTimeline
from ops_system.master.notices import Watchman
from ops_system.master.operations import api as operations_api
from ops_system.master.operations.service import Operations
from ops_system.master.outbound.client import Outbound
from ops_system.master.provision_store import api as provision_store_api
from ops_system.master.provision_store.service import StoreDoor
from ops_system.storage.database import Database


async def build_auth(ground: Ground) -> Auth:
    """Who people, programs and joining workers are."""
    auth = Auth(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        folder=ground.folder,
        sealer=ground.trust,
        ca_key_sha256=ground.trust.ca_key_sha256,
        master_url=ground.addresses.master_url,
        announce=ground.on_code,
    )
    await auth.load()
    ground.parts["auth"] = auth.run
    ground.routes += auth_api.routes(auth)
    return auth


def build_provision_store(ground: Ground) -> None:
    """The state of installations, for regional clients; in process it is `ground.provision`."""
    if ground.provision is None:
        raise RuntimeError("the store is opened before the features are built")
    engine = ground.provision.engine
    door = StoreDoor(engine, ground.audit.record_denied)
    if engine is not None:
        ground.parts["provision store"] = engine.run
    ground.bus.subscribe(SessionsRevoked, lambda event: door.revoke(event.ids))
    ground.checks["provision store"] = ground.provision.check
    ground.gauges.append(ground.provision.gauges)
    ground.routes += provision_store_api.routes(door)


async def build_operations(ground: Ground) -> Operations:
    """Long actions."""
    operations = Operations(ground.database, ground.bus, ground.clock)
    await operations.load()
    ground.routes += operations_api.routes(operations)
    return operations


async def build_nodes(ground: Ground, auth: Auth) -> tuple[Nodes, Links]:
    """Nodes, and the one link of each."""
    signing_key = base64.b64encode(ground.trust.signing_public_key).decode()
    nodes = Nodes(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        join_tokens=auth.join_tokens,
        facts=MasterFacts(ground.trust.ca_pem, signing_key, await read_epoch(ground.database)),
        offline_after_s=ground.config.logic.node_offline_threshold_s,
        heartbeat_s=ground.config.logic.heartbeat_interval_s,
    )
    await nodes.load()
    links = Links(
        nodes,
        ground.audit,
        ground.bus,
        ground.clock,
        is_own_certificate=ground.trust.is_own_certificate,
        heartbeat_s=ground.config.logic.heartbeat_interval_s,
        sample_s=ground.config.logic.monitor_interval_s,
    )
    ground.parts["nodes"] = nodes.run
    ground.routes += nodes_api.routes(nodes, links)
    ground.routes += nodes_api.worker_routes(nodes, links, ground.trust.voucher)
    return nodes, links


def build_timeline(ground: Ground, nodes: Nodes) -> NodeTimeline:
    """What happened to nodes."""
    timeline = NodeTimeline(database=ground.database, bus=ground.bus, nodes=nodes)
    ground.parts["node timeline"] = timeline.run
    ground.routes += nodes_api.timeline_routes(timeline)
    return timeline


async def read_epoch(database: Database) -> int:
    """Return how often the data was restored from a backup, counted from 1."""
    row = await database.fetch_one("SELECT value FROM meta WHERE key = 'epoch'")
    return 1 if row is None else int(row["value"])


def build_channels(ground: Ground, nodes: Nodes) -> Channels:
    """Where notices go, and what becomes one."""
    config = ground.config.outbound
    outbound = Outbound(allow=config.allow, ca_file=config.ca_file, own=ground.addresses.own_listener)
    channels = Channels(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        sealer=ground.trust,
        outbound=outbound,
        public_url=ground.addresses.master_url,
    )
    Watchman(ground.bus, nodes, ground.clock)
    ground.parts["channels"] = channels.run
    ground.gauges.append(lambda: channel_gauges(channels))
    ground.routes += channels_api.routes(channels)
    return channels
