"""HTTP of rollouts: parse, call, answer."""

import msgspec

from ops_system.master.upgrades.rules import Strategy
from ops_system.master.upgrades.service import ModuleRollout, Plan, Upgrades
from ops_system.master.web.route import Call, ListQuery, Page, Permission, Route
from ops_system.model.operations import Operation

_ERRORS = ("not_found", "not_allowed", "invalid")


class PlanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version, and how."""

    version: str
    strategy: Strategy = Strategy()


class RolloutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version, how, and why (for the history)."""

    version: str
    strategy: Strategy = Strategy()
    note: str = ""


class RolloutBegun(msgspec.Struct, frozen=True):
    """The rollout is on record; the operation tells how far it is."""

    operation: Operation


def routes(service: Upgrades) -> list[Route]:
    """Return the routes of `/modules/{id}/plan`, `/rollout` and `/rollouts`."""

    async def plan(call: Call) -> Plan:
        return await service.plan(call.params["id"], call.body.version, call.body.strategy, call.principal)

    async def begin(call: Call) -> RolloutBegun:
        body = call.body
        made = await service.begin(call.params["id"], body.version, body.strategy, body.note, call.principal)
        return RolloutBegun(operation=made)

    async def list_rollouts(call: Call) -> Page[ModuleRollout]:
        return await service.list_page(call.params["id"], call.query, call.principal)

    return [
        Route(
            "POST",
            "/modules/{id}/plan",
            Permission.OPERATE,
            plan,
            "Show per instance what a rollout would change and what stands in the way; nothing is written",
            "plan_rollout",
            answer=Plan,
            body=PlanBody,
            tag="systems",
            errors=_ERRORS,
        ),
        Route(
            "POST",
            "/modules/{id}/rollout",
            Permission.OPERATE,
            begin,
            "Roll a version out: canary, a quarter, the rest, each watched for bake_s; the first regress stops it, and"
            " by auto_revert everything goes back",
            "begin_rollout",
            answer=RolloutBegun,
            body=RolloutBody,
            status=202,
            tag="systems",
            errors=("conflict", *_ERRORS),
        ),
        Route(
            "GET",
            "/modules/{id}/rollouts",
            Permission.VIEW,
            list_rollouts,
            "List a module's rollouts, the newest first: who, when, why, and how they ended",
            "list_rollouts",
            answer=Page[ModuleRollout],
            query=ListQuery,
            tag="systems",
            errors=("not_found",),
        ),
    ]
