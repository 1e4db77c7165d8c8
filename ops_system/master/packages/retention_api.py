"""HTTP of the retention of packages: parse, call, answer."""

import msgspec

from ops_system.master.packages.retention import Retention, RetentionPreview, RetentionView
from ops_system.master.packages.rules import RetentionPolicy
from ops_system.master.web.route import Call, Permission, Route
from ops_system.model.operations import Operation


class RetentionQuery(msgspec.Struct, frozen=True):
    """A policy to try: both left out, the one that is set."""

    keep_versions: int | None = None
    keep_days: int | None = None


class RetentionRun(msgspec.Struct, frozen=True):
    """The run is on record; the operation tells how far it is."""

    operation: Operation


def routes(retention: Retention) -> list[Route]:
    """Return the routes of `/package-retention`."""

    async def get_retention(_call: Call) -> RetentionView:
        return await retention.get()

    async def set_retention(call: Call) -> RetentionView:
        return await retention.set(call.body, call.principal)

    async def preview_retention(call: Call) -> RetentionPreview:
        query = call.query
        is_asked = query.keep_versions is not None or query.keep_days is not None
        return await retention.preview(RetentionPolicy(query.keep_versions, query.keep_days) if is_asked else None)

    async def run_retention(call: Call) -> RetentionRun:
        return RetentionRun(operation=await retention.begin(call.principal))

    path = "/package-retention"
    return [
        Route(
            "GET",
            path,
            Permission.VIEW,
            get_retention,
            "Show which versions of packages are kept",
            "get_package_retention",
            answer=RetentionView,
            tag="packages",
        ),
        Route(
            "PUT",
            path,
            Permission.ADMIN,
            set_retention,
            "Set which versions of packages are kept",
            "set_package_retention",
            answer=RetentionView,
            body=RetentionPolicy,
            tag="packages",
            errors=("invalid",),
        ),
        Route(
            "GET",
            f"{path}/preview",
            Permission.VIEW,
            preview_retention,
            "Show what a run would remove now, and what stays although it is old; nothing is written",
            "preview_package_retention",
            answer=RetentionPreview,
            query=RetentionQuery,
            tag="packages",
            errors=("invalid",),
        ),
        Route(
            "POST",
            f"{path}/run",
            Permission.ADMIN,
            run_retention,
            "Remove what the policy does not keep; what is used, pinned, tagged or could be returned to stays",
            "run_package_retention",
            answer=RetentionRun,
            status=202,
            tag="packages",
            errors=("not_allowed",),
        ),
    ]
