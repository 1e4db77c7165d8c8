"""Every feature of the master, built and loaded floor by floor; what talks upwards is connected here. Used by `app`."""

from ops_system.master import topics
from ops_system.master.audit import api as audit_api
from ops_system.master.auth.service import Auth
from ops_system.master.features.acting import (
    build_commands,
    build_logs,
    build_schedules,
    build_terminals,
    build_updates,
)
from ops_system.master.features.definitions import build_backups, build_packages, build_systems, build_templates
from ops_system.master.features.foundations import (
    build_auth,
    build_channels,
    build_nodes,
    build_operations,
    build_provision_store,
    build_timeline,
)
from ops_system.master.features.ground import Book, Ground
from ops_system.master.features.images import build_images
from ops_system.master.features.power import build_power
from ops_system.master.features.provisioning import build_provisioning
from ops_system.master.features.running import build_configs, build_instances, build_metrics, build_rollouts
from ops_system.master.features.watching import build_alerts, build_live
from ops_system.master.gatekeeper import InstanceOwners
from ops_system.master.gauges import fleet_text, node_gauges
from ops_system.master.nodes.links import Links


async def build_features(ground: Ground) -> tuple[Auth, Links]:
    """Build and load every feature, the lower ones first; fill `ground.routes` and `ground.parts`."""
    ground.routes += audit_api.routes(ground.audit)
    auth = await build_auth(ground)
    build_provision_store(ground)
    operations = await build_operations(ground)
    power = build_power(ground, operations, auth)
    nodes, links = await build_nodes(ground, auth)
    timeline = build_timeline(ground, nodes)
    channels = build_channels(ground, nodes)
    packages = await build_packages(ground, operations)
    catalogue = build_images(ground, packages)
    installations = build_provisioning(ground, auth, nodes, catalogue, power)
    build_backups(ground, operations)
    templates = build_templates(ground)
    systems, applier = await build_systems(ground, packages, templates)
    metrics, history = build_metrics(ground, nodes, links)
    ground.gauges.append(lambda: node_gauges(nodes, links, metrics, history))
    book = Book(operations, nodes, links, packages, systems, metrics)
    instances = await build_instances(ground, book)
    applier.foresee = build_configs(ground, book, templates, instances).of_system
    ground.texts.append(fleet_text(nodes, metrics, instances))
    build_rollouts(ground, book, instances)
    build_logs(ground, book, instances)
    commands = build_commands(ground, book, auth)
    build_terminals(ground, book)
    build_updates(ground, book)
    schedules = build_schedules(ground, operations, auth)
    owners = InstanceOwners(ground.bus, await instances.list_views())
    metrics.check_owner(owners.owner_of)
    hub = build_live(ground, book, instances, owners, commands)
    topics.register_provisioning(hub, installations)
    alerts = await build_alerts(ground, book, instances, channels, timeline, idcs=installations.clients)
    topics.register_alerts(hub, alerts, nodes)
    topics.register_node_events(hub, timeline, nodes)
    topics.register_schedules(hub, schedules)
    return auth, links
