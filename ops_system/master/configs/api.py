"""HTTP of the config centre: parse, call, answer."""

import msgspec

from ops_system.master.configs.rules import ConfigApply, ConfigLook, ImpactPlan, PreviewBody, TemplatePreview
from ops_system.master.configs.service import Configs
from ops_system.master.configs.values import EnvironmentPatch, Given, Values, Variable, VariablesPatch, VariablesQuery
from ops_system.master.web.route import Call, Page, Permission, Route
from ops_system.model.operations import Operation

_TAG = "config"
_ERRORS = ("not_found", "invalid", "conflict", "forbidden", "not_allowed")


class ConfigApplied(msgspec.Struct, frozen=True):
    """The change is on its way; the operation tells how far it is."""

    operation: Operation


def routes(service: Configs) -> list[Route]:
    """Return the routes that look at changes of configuration, and bring them to instances."""

    async def preview(call: Call) -> TemplatePreview:
        return await service.preview(call.params["id"], call.body, call.principal)

    async def plan(call: Call) -> ImpactPlan:
        return await service.plan(call.body, call.principal)

    async def apply(call: Call) -> ConfigApplied:
        return ConfigApplied(operation=await service.apply(call.body, call.principal))

    return [
        Route(
            "POST",
            "/config-templates/{id}/preview",
            Permission.OPERATE,
            preview,
            "Render a config template for one instance, secrets masked; nothing is written",
            "preview_config_template",
            answer=TemplatePreview,
            body=PreviewBody,
            tag=_TAG,
            errors=("not_found", "invalid", "unavailable"),
        ),
        Route(
            "POST",
            "/config/plan",
            Permission.OPERATE,
            plan,
            "Show which instances a change of configuration touches, and how each gets it; nothing is written",
            "plan_config",
            answer=ImpactPlan,
            body=ConfigLook,
            tag=_TAG,
            errors=_ERRORS,
        ),
        Route(
            "POST",
            "/config/apply",
            Permission.OPERATE,
            apply,
            "Bring what runs up to date: by its reload command where files alone differ, else by a restart",
            "apply_config",
            answer=ConfigApplied,
            body=ConfigApply,
            status=202,
            tag=_TAG,
            errors=_ERRORS,
        ),
    ]


def value_routes(service: Values) -> list[Route]:
    """Return the routes of variables and of what instances are given."""
    return [*_variable_routes(service), *_environment_routes(service)]


def _variable_routes(service: Values) -> list[Route]:
    async def list_variables(call: Call) -> Page[Variable]:
        found = await service.list_variables(call.query.owner, call.principal)
        return Page(items=found, total=len(found))

    async def patch_variables(call: Call) -> Page[Variable]:
        found = await service.patch_variables(call.body, call.principal)
        return Page(items=found, total=len(found))

    return [
        Route(
            "GET",
            "/variables",
            Permission.VIEW,
            list_variables,
            "List the variables of the master, a system, a module or an instance",
            "list_variables",
            answer=Page[Variable],
            query=VariablesQuery,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/variables",
            Permission.OPERATE,
            patch_variables,
            "Set and remove variables of one owner; what runs hears nothing of it",
            "patch_variables",
            answer=Page[Variable],
            body=VariablesPatch,
            tag=_TAG,
            errors=_ERRORS,
        ),
    ]


def _environment_routes(service: Values) -> list[Route]:
    async def of_module(call: Call) -> Given:
        return await service.of_module(call.params["id"], call.principal)

    async def of_instance(call: Call) -> Given:
        return await service.of_instance(call.params["id"], call.principal)

    async def patch_instance(call: Call) -> Given:
        return await service.patch_instance(call.params["id"], call.body, call.principal)

    return [
        Route(
            "GET",
            "/modules/{id}/environment",
            Permission.VIEW,
            of_module,
            "Show environment and variables of a module's instances, and where each value comes from",
            "get_module_environment",
            answer=Given,
            tag="systems",
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/instances/{id}/environment",
            Permission.VIEW,
            of_instance,
            "Show environment and variables of an instance, and where each value comes from",
            "get_instance_environment",
            answer=Given,
            tag="instances",
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/instances/{id}/environment",
            Permission.OPERATE,
            patch_instance,
            "Change an instance's own environment; it takes effect with the next start",
            "patch_instance_environment",
            answer=Given,
            body=EnvironmentPatch,
            tag="instances",
            errors=("not_found", "invalid", "forbidden"),
        ),
    ]
