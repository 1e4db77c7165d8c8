"""Who looks: alert rules, and browsers."""

from collections.abc import Callable, Mapping

from ops_system.master import topics
from ops_system.master.alerts import api as alerts_api
from ops_system.master.alerts.desk import Desk
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.loglines import LogLooker
from ops_system.master.alerts.past import Past
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.service import Alerts
from ops_system.master.alerts.silences import Silences
from ops_system.master.alerts.trials import Trials
from ops_system.master.alerts.watch import Watch
from ops_system.master.auth.events import SessionsRevoked
from ops_system.master.channels.service import Channels
from ops_system.master.commands.service import Commands
from ops_system.master.features.ground import Book, Ground
from ops_system.master.gatekeeper import InstanceOwners
from ops_system.master.instances.service import Instances
from ops_system.master.live import api as live_api
from ops_system.master.live.hub import Hub
from ops_system.master.nodes.scope import reached_nodes
from ops_system.master.nodes.timeline import NodeTimeline
from ops_system.master.web.route import Principal
from ops_system.model.ids import NodeId


async def build_alerts(
    ground: Ground,
    book: Book,
    instances: Instances,
    channels: Channels,
    timeline: NodeTimeline,
    *,
    idcs: Callable[[], Mapping[str, bool]],
) -> Alerts:
    """Rules on what nodes, instances and regional clients report, what fires by them, and who is told."""
    database, audit, clock = ground.database, ground.audit, ground.clock
    rulebook = Rulebook(database=database, audit=audit, clock=clock, channels=channels)

    def reached(principal: Principal) -> frozenset[NodeId] | None:
        return reached_nodes(book.nodes, principal.scope)

    silences = Silences(database=database, audit=audit, clock=clock, reached=reached)
    fleet = Fleet(ground.bus, book.nodes.list_all(), await instances.list_views())
    lines = LogLooker(book.links, clock, database)
    watch = Watch(fleet, book.metrics, ground.trust.days_left, lines, started_s=clock.monotonic_s(), idcs=idcs)
    desk = Desk(
        database=database,
        bus=ground.bus,
        clock=clock,
        rulebook=rulebook,
        silences=silences,
        fleet=fleet,
        watch=watch,
        outbox=channels,
    )
    alerts = Alerts(
        database=database, audit=audit, clock=clock, rulebook=rulebook, silences=silences, desk=desk, reached=reached
    )
    fleet.on_change = lines.on_hit = alerts.look_soon
    await lines.load()
    await alerts.load()
    ground.parts |= {"alerts": alerts.run, "log rules": lines.run}
    trials = Trials(
        rulebook=rulebook,
        fleet=fleet,
        watch=watch,
        history=book.metrics,
        past=Past(timeline, instances),
        clock=clock,
        reached=reached,
    )
    ground.routes += alerts_api.routes(alerts, trials)
    return alerts


def build_live(ground: Ground, book: Book, instances: Instances, owners: InstanceOwners, commands: Commands) -> Hub:
    """What browsers watch."""
    hub = Hub(ground.bus, ground.clock)
    topics.register_nodes(hub, book.nodes)
    topics.register_definitions(hub, book.packages, book.systems)
    topics.register_operations(hub, book.operations)
    topics.register_commands(hub, commands, book.nodes)
    sight = topics.Sight(book.nodes, owners.owner_of)
    book.packages.usage.limit(lambda who, user: topics.sees_user(sight, book.systems, who, user))
    topics.register_instances(hub, instances, sight)
    topics.register_metrics(hub, book.metrics, book.nodes, instances, sight)
    ground.bus.subscribe(SessionsRevoked, lambda event: hub.close_sessions(event.ids))
    ground.routes += live_api.routes(hub)
    return hub
