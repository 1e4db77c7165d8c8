"""HTTP of instances: parse, call, answer."""

import msgspec

from ops_system.master.instances.rules import Action
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import Instance, InstanceQuery, TimelineEvent
from ops_system.master.web.route import Call, ListQuery, Page, Permission, Route
from ops_system.model.operations import Operation


class NewInstance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which module to run on which node."""

    module_id: str
    node_id: str


class Accepted(msgspec.Struct, frozen=True):
    """The wish is on record; the operation tells when it is true."""

    instance: Instance
    operation: Operation


class DestroyQuery(msgspec.Struct, frozen=True):
    """`stop=1`: stop it first when it runs. `force=1`: the node is lost, forget the instance now."""

    stop: bool = False
    force: bool = False


_ACTS = {
    Action.START: "Start an instance (deploys it again when it had failed)",
    Action.STOP: "Stop an instance: signal, grace, then the whole tree",
    Action.RESTART: "Restart an instance; an edited definition comes with it",
    Action.KILL: "Stop an instance without grace",
}


def _accepted(made: tuple[Instance, Operation]) -> Accepted:
    return Accepted(instance=made[0], operation=made[1])


def routes(service: Instances) -> list[Route]:
    """Return the routes of `/instances`."""
    return [*_read_routes(service), *_write_routes(service), *(_act_route(service, action) for action in _ACTS)]


def _read_routes(service: Instances) -> list[Route]:
    async def list_instances(call: Call) -> Page[Instance]:
        return await service.list_page(call.query, call.principal)

    async def get_instance(call: Call) -> Instance:
        return await service.get(call.params["id"], call.principal)

    async def list_events(call: Call) -> Page[TimelineEvent]:
        return await service.list_events(call.params["id"], call.query, call.principal)

    return [
        Route(
            "GET",
            "/instances",
            Permission.VIEW,
            list_instances,
            "List instances",
            "list_instances",
            answer=Page[Instance],
            query=InstanceQuery,
            tag="instances",
        ),
        Route(
            "GET",
            "/instances/{id}",
            Permission.VIEW,
            get_instance,
            "Show one instance; `unknown` while its node is silent",
            "get_instance",
            answer=Instance,
            tag="instances",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/instances/{id}/events",
            Permission.VIEW,
            list_events,
            "Show the timeline, the newest first (`sort=at`: the oldest first)",
            "list_instance_events",
            answer=Page[TimelineEvent],
            query=ListQuery,
            tag="instances",
            errors=("not_found",),
        ),
    ]


def _write_routes(service: Instances) -> list[Route]:
    async def create_instance(call: Call) -> Accepted:
        return _accepted(await service.create(call.body.module_id, call.body.node_id, call.principal))

    async def delete_instance(call: Call) -> Accepted:
        query: DestroyQuery = call.query
        made = await service.destroy(call.params["id"], call.principal, may_stop=query.stop, is_forced=query.force)
        return _accepted(made)

    return [
        Route(
            "POST",
            "/instances",
            Permission.OPERATE,
            create_instance,
            "Deploy a module to a node",
            "create_instance",
            answer=Accepted,
            body=NewInstance,
            status=202,
            tag="instances",
            errors=("not_found", "not_allowed", "conflict", "invalid"),
        ),
        Route(
            "DELETE",
            "/instances/{id}",
            Permission.OPERATE,
            delete_instance,
            "Remove an instance; one that runs needs `stop=1`. It is gone once the worker has proven it",
            "delete_instance",
            answer=Accepted,
            query=DestroyQuery,
            status=202,
            tag="instances",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _act_route(service: Instances, action: Action) -> Route:
    async def act(call: Call) -> Accepted:
        return _accepted(await service.act(call.params["id"], action, call.principal))

    return Route(
        "POST",
        f"/instances/{{id}}/{action}",
        Permission.OPERATE,
        act,
        _ACTS[action],
        f"{action}_instance",
        answer=Accepted,
        status=202,
        tag="instances",
        errors=("not_found", "not_allowed", "conflict", "invalid"),
    )
