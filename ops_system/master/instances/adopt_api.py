"""HTTP of takeovers: parse, call, answer."""

from ops_system.master.instances.adopting import Adoptions
from ops_system.master.instances.adoption import NewAdoption, Preview, TakeoverWish
from ops_system.master.instances.api import Accepted
from ops_system.master.web.route import Call, Permission, Route
from ops_system.protocol.requests import Reloaded


def routes(service: Adoptions) -> list[Route]:
    """Return the routes that take over, let go and reload."""
    return [*_takeover_routes(service), _reload_route(service)]


def _takeover_routes(service: Adoptions) -> list[Route]:
    async def match(call: Call) -> Preview:
        return await service.preview(call.params["id"], call.body, call.principal)

    async def adopt(call: Call) -> Accepted:
        instance, operation = await service.adopt(call.body, call.principal)
        return Accepted(instance=instance, operation=operation)

    async def release(call: Call) -> Accepted:
        instance, operation = await service.let_go(call.params["id"], call.principal)
        return Accepted(instance=instance, operation=operation)

    return [
        Route(
            "POST",
            "/nodes/{id}/match",
            Permission.TAKEOVER,
            match,
            "Show whom a takeover would take, and what would happen to it; nothing is touched",
            "match_process",
            answer=Preview,
            body=TakeoverWish,
            tag="nodes",
            errors=("not_found", "invalid", "node_offline", "timeout", "unavailable"),
        ),
        Route(
            "POST",
            "/instances/adopt",
            Permission.TAKEOVER,
            adopt,
            "Take over a process that others started",
            "adopt_instance",
            answer=Accepted,
            body=NewAdoption,
            status=202,
            tag="instances",
            errors=("not_found", "invalid", "conflict", "not_allowed", "node_offline", "timeout", "unavailable"),
        ),
        Route(
            "POST",
            "/instances/{id}/release",
            Permission.TAKEOVER,
            release,
            "Let go of an instance that was taken over: it is forgotten, and its process runs on",
            "release_instance",
            answer=Accepted,
            status=202,
            tag="instances",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _reload_route(service: Adoptions) -> Route:
    async def reload(call: Call) -> Reloaded:
        return await service.reload(call.params["id"], call.principal)

    return Route(
        "POST",
        "/instances/{id}/reload",
        Permission.OPERATE,
        reload,
        "Run the reload command of a running instance and return what it said",
        "reload_instance",
        answer=Reloaded,
        tag="instances",
        errors=("not_found", "invalid", "not_allowed", "node_offline", "timeout", "unavailable"),
    )
