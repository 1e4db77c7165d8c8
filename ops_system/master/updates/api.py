"""HTTP of updates of workers: parse, call, answer."""

import msgspec

from ops_system.master.updates.rules import ManyWorkerUpdate, WorkerUpdate
from ops_system.master.updates.service import Updates
from ops_system.master.web.route import Call, Permission, Route
from ops_system.model.operations import Operation


class UpdateAccepted(msgspec.Struct, frozen=True):
    """The update is on its way; the operation has one target a node."""

    operation: Operation


def routes(service: Updates) -> list[Route]:
    """Return the routes of `/nodes/{id}/update` and `/worker-updates`."""

    async def update_one(call: Call) -> UpdateAccepted:
        return UpdateAccepted(await service.update_one(call.params["id"], call.body, call.principal))

    async def update_many(call: Call) -> UpdateAccepted:
        return UpdateAccepted(await service.update_many(call.body, call.principal))

    return [
        Route(
            "POST",
            "/nodes/{id}/update",
            Permission.ADMIN,
            update_one,
            "Update a worker itself to a newer version from the catalogue",
            "update_worker",
            answer=UpdateAccepted,
            body=WorkerUpdate,
            status=202,
            needs_step_up=True,
            tag="nodes",
            errors=("invalid", "not_found", "not_allowed"),
        ),
        Route(
            "POST",
            "/worker-updates",
            Permission.ADMIN,
            update_many,
            "Update many workers, a few at a time, as one operation",
            "update_many_workers",
            answer=UpdateAccepted,
            body=ManyWorkerUpdate,
            status=202,
            needs_step_up=True,
            tag="nodes",
            errors=("invalid", "not_found"),
        ),
    ]
