"""HTTP of actions on systems: parse, call, answer."""

import msgspec

from ops_system.master.rollouts.drains import Drains
from ops_system.master.rollouts.rules import SystemAction
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.web.route import Call, Handler, Permission, Route
from ops_system.model.operations import Operation


class ActionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with every instance of the system."""

    action: SystemAction


class Begun(msgspec.Struct, frozen=True):
    """The action is on record; the operation tells how far it is."""

    operation: Operation


def drain_routes(service: Drains) -> list[Route]:
    """Return the routes of `/nodes/{id}/drain` and `/undrain`."""

    async def drain(call: Call) -> Begun:
        return Begun(operation=await service.drain(call.params["id"], call.principal))

    async def undrain(call: Call) -> Begun:
        return Begun(operation=await service.undrain(call.params["id"], call.principal))

    def act(name: str, handler: Handler, summary: str) -> Route:
        return Route(
            "POST",
            f"/nodes/{{id}}/{name}",
            Permission.OPERATE,
            handler,
            summary,
            f"{name}_node",
            answer=Begun,
            status=202,
            tag="nodes",
            errors=("not_found",),
        )

    return [
        act(
            "drain", drain, "Stop what runs on a node, the last to start first, and let nothing start; wishes are kept"
        ),
        act("undrain", undrain, "Take a node back: it takes starts again, and what the drain stopped is started"),
    ]


def routes(service: Rollouts) -> list[Route]:
    """Return the route of `/systems/{id}/actions`."""

    async def act_on_system(call: Call) -> Begun:
        return Begun(operation=await service.act(call.params["id"], call.body.action, call.principal))

    return [
        Route(
            "POST",
            "/systems/{id}/actions",
            Permission.OPERATE,
            act_on_system,
            "Act on all instances, in start order (backwards for stop and destroy, which stops first);"
            " deploy makes missing instances on the nodes that match each module's placement",
            "act_on_system",
            answer=Begun,
            body=ActionBody,
            status=202,
            tag="systems",
            errors=("not_found", "not_allowed", "conflict", "invalid"),
        )
    ]
