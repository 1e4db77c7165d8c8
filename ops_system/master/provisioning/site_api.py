"""HTTP of data centres, queues, machines and counts: parse, call, answer."""

from ops_system.master.provisioning.shapes import AllStats, IdcView, MachineView, ServerView, SettingsPatch, Stats
from ops_system.master.provisioning.sites import Sites
from ops_system.master.web.route import Call, Handler, ListQuery, Nothing, Page, Permission, Route
from ops_system.provision.regions import RegionSettings

_TAG = "data centres"


def routes(sites: Sites) -> list[Route]:
    """Return the routes of `/idcs`, `/stats`, `/servers`, `/machines` and `/unmatched`."""
    return [*_of_idcs(sites), *_of_machines(sites)]


def _of_idcs(sites: Sites) -> list[Route]:
    async def list_idcs(call: Call) -> Page[IdcView]:
        return await sites.list_idcs(call.query, call.principal)

    async def patch_settings(call: Call) -> RegionSettings:
        return await sites.change_settings(call.params["idc"], call.body, call.principal)

    async def get_all_stats(call: Call) -> AllStats:
        return await sites.all_stats(call.principal)

    async def get_stats(call: Call) -> Stats:
        return await sites.stats(call.params["idc"], call.principal)

    return [
        Route(
            "GET",
            "/idcs",
            Permission.VIEW,
            list_idcs,
            "List data centres: whether their regional client is heard, settings, counts",
            "list_idcs",
            answer=Page[IdcView],
            query=ListQuery,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "PATCH",
            "/idcs/{idc}/settings",
            Permission.ADMIN,
            patch_settings,
            "Change what holds for a data centre: discovery, limits, protected disks, a second person",
            "patch_idc_settings",
            answer=RegionSettings,
            body=SettingsPatch,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid", "not_found"),
        ),
        Route(
            "GET",
            "/stats",
            Permission.VIEW,
            get_all_stats,
            "Count installations by status, in all and of each data centre",
            "get_all_stats",
            answer=AllStats,
            tag=_TAG,
        ),
        Route(
            "GET",
            "/stats/{idc}",
            Permission.VIEW,
            get_stats,
            "Count the installations of a data centre by status",
            "get_stats",
            answer=Stats,
            tag=_TAG,
            errors=("not_found",),
        ),
    ]


def _of_machines(sites: Sites) -> list[Route]:
    async def list_servers(call: Call) -> Page[ServerView]:
        return await sites.list_servers(call.params["idc"], call.query, call.principal)

    async def list_machines(call: Call) -> Page[MachineView]:
        return await sites.list_machines(call.params["idc"], call.query, call.principal)

    async def get_machine(call: Call) -> MachineView:
        return await sites.get_machine(call.params["idc"], call.params["sn"], call.principal)

    async def list_all_unmatched(call: Call) -> Page[MachineView]:
        return await sites.list_unmatched("", call.query, call.principal)

    async def list_unmatched(call: Call) -> Page[MachineView]:
        return await sites.list_unmatched(call.params["idc"], call.query, call.principal)

    async def forget_unmatched(call: Call) -> Nothing:
        await sites.forget_unmatched(call.params["idc"], call.params["sn"], call.principal)
        return Nothing()

    def listing(path: str, handler: Handler, summary: str, operation_id: str, answer: object) -> Route:
        return Route(
            "GET",
            path,
            Permission.VIEW,
            handler,
            summary,
            operation_id,
            answer=answer,
            query=ListQuery,
            tag=_TAG,
            errors=("not_found", "invalid"),
        )

    machines = Page[MachineView]
    return [
        listing("/servers/{idc}", list_servers, "List the queue of a data centre", "list_servers", Page[ServerView]),
        listing("/machines/{idc}", list_machines, "List machines with their hardware", "list_machines", machines),
        Route(
            "GET",
            "/machines/{idc}/{sn}",
            Permission.VIEW,
            get_machine,
            "Show a machine as its agent reported it",
            "get_machine",
            answer=MachineView,
            tag=_TAG,
            errors=("not_found",),
        ),
        listing("/unmatched", list_all_unmatched, "List machines without a task", "list_all_unmatched", machines),
        listing(
            "/unmatched/{idc}", list_unmatched, "List machines without a task of one place", "list_unmatched", machines
        ),
        Route(
            "DELETE",
            "/unmatched/{idc}/{sn}",
            Permission.OPERATE,
            forget_unmatched,
            "Forget a machine without a task, until it reports again",
            "forget_unmatched",
            tag=_TAG,
            errors=("not_found",),
        ),
    ]
