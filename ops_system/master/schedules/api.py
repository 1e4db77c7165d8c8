"""HTTP of schedules: parse, call, answer."""

import msgspec

from ops_system.master.schedules.rules import (
    CronLine,
    CronPreview,
    Schedule,
    ScheduleBody,
    ScheduleKind,
    ScheduleQuery,
    ScheduleRun,
)
from ops_system.master.schedules.service import Schedules
from ops_system.master.web.route import Call, Handler, ListQuery, Nothing, Page, Permission, Route

_TAG = "schedules"


class RunQuery(ListQuery, frozen=True):
    """The list's own query."""


class ScheduleKinds(msgspec.Struct, frozen=True):
    """What can be scheduled."""

    items: list[ScheduleKind]


def routes(service: Schedules) -> list[Route]:
    """Return the routes of `/schedules`."""
    return [*_list_routes(service), *_write_routes(service), *_act_routes(service)]


def _list_routes(service: Schedules) -> list[Route]:
    async def list_schedules(call: Call) -> Page[Schedule]:
        return await service.list_page(call.query, call.principal)

    async def list_kinds(_call: Call) -> ScheduleKinds:
        return ScheduleKinds(service.list_kinds())

    async def get_schedule(call: Call) -> Schedule:
        return await service.get(call.params["id"], call.principal)

    async def list_runs(call: Call) -> Page[ScheduleRun]:
        return await service.list_runs(call.params["id"], call.query, call.principal)

    async def preview(call: Call) -> CronPreview:
        return service.preview(call.body)

    return [
        Route(
            "GET",
            "/schedules",
            Permission.VIEW,
            list_schedules,
            "List schedules with the next moment and the last run",
            "list_schedules",
            answer=Page[Schedule],
            query=ScheduleQuery,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/schedules/kinds",
            Permission.VIEW,
            list_kinds,
            "List the kinds of work that can be scheduled",
            "list_schedule_kinds",
            answer=ScheduleKinds,
            tag=_TAG,
        ),
        Route(
            "POST",
            "/schedules/preview",
            Permission.VIEW,
            preview,
            "Show the next five moments of a cron line in a time zone",
            "preview_schedule",
            answer=CronPreview,
            body=CronLine,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/schedules/{id}",
            Permission.VIEW,
            get_schedule,
            "Show one schedule",
            "get_schedule",
            answer=Schedule,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/schedules/{id}/runs",
            Permission.VIEW,
            list_runs,
            "List the runs of a schedule, the newest first; the last 200 are kept",
            "list_schedule_runs",
            answer=Page[ScheduleRun],
            query=RunQuery,
            tag=_TAG,
            errors=("not_found",),
        ),
    ]


def _write_routes(service: Schedules) -> list[Route]:
    async def create_schedule(call: Call) -> Schedule:
        return await service.create(call.body, call.principal)

    async def replace_schedule(call: Call) -> Schedule:
        return await service.replace(call.params["id"], call.body, call.principal)

    async def delete_schedule(call: Call) -> Nothing:
        await service.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/schedules",
            Permission.OPERATE,
            create_schedule,
            "Keep a schedule; it runs in your name, with the rights you have when it runs",
            "create_schedule",
            answer=Schedule,
            body=ScheduleBody,
            status=201,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid", "conflict", "not_found"),
        ),
        Route(
            "PUT",
            "/schedules/{id}",
            Permission.OPERATE,
            replace_schedule,
            "Write a schedule anew; from now on it runs in your name",
            "replace_schedule",
            answer=Schedule,
            body=ScheduleBody,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid", "conflict", "not_found"),
        ),
        Route(
            "DELETE",
            "/schedules/{id}",
            Permission.OPERATE,
            delete_schedule,
            "Delete a schedule with its history",
            "delete_schedule",
            tag=_TAG,
            errors=("not_found",),
        ),
    ]


def _act_routes(service: Schedules) -> list[Route]:
    async def run_schedule(call: Call) -> ScheduleRun:
        return await service.run_now(call.params["id"], call.principal)

    async def pause_schedule(call: Call) -> Schedule:
        return await service.set_paused(call.params["id"], call.principal, is_paused=True)

    async def resume_schedule(call: Call) -> Schedule:
        return await service.set_paused(call.params["id"], call.principal, is_paused=False)

    def pausing(name: str, handler: Handler, summary: str) -> Route:
        return Route(
            "POST",
            f"/schedules/{{id}}/{name}",
            Permission.OPERATE,
            handler,
            summary,
            f"{name}_schedule",
            answer=Schedule,
            tag=_TAG,
            errors=("not_found",),
        )

    return [
        Route(
            "POST",
            "/schedules/{id}/run",
            Permission.OPERATE,
            run_schedule,
            "Run a schedule now, in its owner's name",
            "run_schedule",
            answer=ScheduleRun,
            status=202,
            needs_step_up=True,
            tag=_TAG,
            errors=("not_found", "not_allowed"),
        ),
        pausing("pause", pause_schedule, "Pause a schedule"),
        pausing("resume", resume_schedule, "Resume a schedule; what was due meanwhile is not made up for"),
    ]
