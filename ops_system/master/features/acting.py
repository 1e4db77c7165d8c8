"""What people and the clock do on nodes: logs, commands, schedules, terminals, updates of workers."""

from ops_system.master.auth.service import Auth
from ops_system.master.commands import api as commands_api
from ops_system.master.commands.library import Library
from ops_system.master.commands.service import Commands
from ops_system.master.features.ground import Book, Ground
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.jobs import ExecJob
from ops_system.master.logs import api as logs_api
from ops_system.master.logs.feeds import Feeds
from ops_system.master.logs.service import Logs, Member
from ops_system.master.logs.viewers import Viewers
from ops_system.master.operations.service import Operations
from ops_system.master.schedules import api as schedules_api
from ops_system.master.schedules.service import Schedules
from ops_system.master.terminals import api as terminals_api
from ops_system.master.terminals.recordings import Recordings
from ops_system.master.terminals.service import TerminalDesk
from ops_system.master.terminals.shares import Shares
from ops_system.master.updates import api as updates_api
from ops_system.master.updates.service import Updates
from ops_system.master.web.route import Principal

_MAX_PAGE = 500


def build_logs(ground: Ground, book: Book, instances: Instances) -> None:
    """The logs of instances, read through the links; those of a module or system as one."""
    logs, feeds = Logs(instances, book.links), Feeds()
    viewers = Viewers(logs, feeds)

    async def of_module(module_id: str, actor: Principal) -> list[Member]:
        await book.systems.get_module(module_id, principal=actor)
        page = await instances.list_page(InstanceQuery(module_id=module_id, limit=_MAX_PAGE), actor)
        return [Member(one.id, one.node_id) for one in page.items]

    async def of_system(system_id: str, actor: Principal) -> list[Member]:
        await book.systems.get_system(system_id, principal=actor)
        page = await instances.list_page(InstanceQuery(system_id=system_id, limit=_MAX_PAGE), actor)
        return [Member(one.id, one.node_id) for one in page.items]

    ground.parts["log feeds"] = feeds.run
    ground.routes += logs_api.routes(logs, viewers, instances.get)
    ground.routes += logs_api.merged_routes(logs, viewers, "module", of_module)
    ground.routes += logs_api.merged_routes(logs, viewers, "system", of_system)


def build_commands(ground: Ground, book: Book, auth: Auth) -> Commands:
    """Commands on nodes."""
    commands = Commands(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        nodes=book.nodes,
        links=book.links,
        operations=book.operations,
        at_once=ground.config.logic.batch_concurrency,
        has_proof=auth.has_step_up,
    )
    library = Library(database=ground.database, audit=ground.audit, clock=ground.clock)
    ground.parts["commands"] = commands.run
    ground.jobs.append(ExecJob(commands, library))
    ground.routes += commands_api.routes(commands, library)
    return commands


def build_schedules(ground: Ground, operations: Operations, auth: Auth) -> Schedules:
    """What runs by the clock: every kind of work that was offered before."""
    schedules = Schedules(
        database=ground.database,
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
        operations=operations,
        stand_in=auth.stand_in,
    )
    for job in ground.jobs:
        schedules.offer(job)
    ground.parts["schedules"] = schedules.run
    ground.routes += schedules_api.routes(schedules)
    return schedules


def build_terminals(ground: Ground, book: Book) -> None:
    """Terminals on nodes."""
    recordings = Recordings(
        database=ground.database,
        audit=ground.audit,
        clock=ground.clock,
        nodes=book.nodes,
        links=book.links,
        folder=ground.folder.recordings,
    )
    shares = Shares(
        database=ground.database, audit=ground.audit, clock=ground.clock, nodes=book.nodes, links=book.links
    )
    desk = TerminalDesk(nodes=book.nodes, links=book.links, audit=ground.audit, recordings=recordings, shares=shares)
    ground.parts["recordings"] = recordings.run
    ground.routes += terminals_api.routes(desk)


def build_updates(ground: Ground, book: Book) -> None:
    """Updates of the workers themselves."""
    updates = Updates(
        database=ground.database,
        audit=ground.audit,
        nodes=book.nodes,
        packages=book.packages,
        links=book.links,
        operations=book.operations,
    )
    ground.parts["updates"] = updates.run
    ground.routes += updates_api.routes(updates)
