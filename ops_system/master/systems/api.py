"""HTTP of systems and modules: parse, call, answer."""

from urllib.parse import quote

from aiohttp import web

from ops_system.master.systems.applying import Applier, SystemApply, SystemDiff, SystemText
from ops_system.master.systems.rules import ModulePatch, NewModule, NewSystem, SystemPatch
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.systems import Module, System

_WRITE_ERRORS = ("invalid", "conflict")
_YAML = "application/yaml"


def routes(service: Systems) -> list[Route]:
    """Return the routes of `/systems` and `/modules`."""
    return [*_system_routes(service), *_module_routes(service)]


def document_routes(applier: Applier) -> list[Route]:
    """Return the routes of systems as YAML."""

    async def export(call: Call) -> web.StreamResponse:
        name, text = await applier.export(call.params["id"], call.principal)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.yaml"}
        return web.Response(body=text.encode(), content_type=_YAML, charset="utf-8", headers=headers)

    async def diff(call: Call) -> SystemDiff:
        return await applier.apply(SystemApply(call.body.document, dry_run=True), call.principal)

    async def apply(call: Call) -> SystemDiff:
        return await applier.apply(call.body, call.principal)

    return [
        Route(
            "GET",
            "/systems/{id}/export",
            Permission.VIEW,
            export,
            "A system with its modules as a YAML document; secrets by name alone",
            "export_system",
            answer=web.StreamResponse,
            media=_YAML,
            tag="systems",
            errors=("not_found", "forbidden"),
        ),
        Route(
            "POST",
            "/systems/diff",
            Permission.OPERATE,
            diff,
            "Show what a YAML document would change, and which instances it touches; nothing is written",
            "diff_system",
            answer=SystemDiff,
            body=SystemText,
            tag="systems",
            errors=("not_allowed", *_WRITE_ERRORS),
        ),
        Route(
            "POST",
            "/systems/apply",
            Permission.OPERATE,
            apply,
            "Make a system what a YAML document says, all of it or nothing",
            "apply_system",
            answer=SystemDiff,
            body=SystemApply,
            tag="systems",
            errors=("not_allowed", *_WRITE_ERRORS),
        ),
    ]


def _system_routes(service: Systems) -> list[Route]:
    async def list_systems(call: Call) -> Page[System]:
        return await service.list_systems(call.query, call.principal)

    async def create_system(call: Call) -> System:
        return await service.create_system(call.body, call.principal)

    async def get_system(call: Call) -> System:
        return await service.get_system(call.params["id"], principal=call.principal)

    async def patch_system(call: Call) -> System:
        return await service.patch_system(call.params["id"], call.body, call.principal)

    async def delete_system(call: Call) -> Nothing:
        await service.delete_system(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/systems",
            Permission.VIEW,
            list_systems,
            "List systems",
            "list_systems",
            answer=Page[System],
            query=ListQuery,
            tag="systems",
        ),
        Route(
            "POST",
            "/systems",
            Permission.OPERATE,
            create_system,
            "Create a system",
            "create_system",
            answer=System,
            body=NewSystem,
            status=201,
            tag="systems",
            errors=_WRITE_ERRORS,
        ),
        Route(
            "GET",
            "/systems/{id}",
            Permission.VIEW,
            get_system,
            "Show one system",
            "get_system",
            answer=System,
            tag="systems",
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/systems/{id}",
            Permission.OPERATE,
            patch_system,
            "Change a system's name or description",
            "patch_system",
            answer=System,
            body=SystemPatch,
            tag="systems",
            errors=("not_found", *_WRITE_ERRORS),
        ),
        Route(
            "DELETE",
            "/systems/{id}",
            Permission.OPERATE,
            delete_system,
            "Delete a system that has no instances, with its modules",
            "delete_system",
            tag="systems",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _module_routes(service: Systems) -> list[Route]:
    async def list_modules(call: Call) -> Page[Module]:
        return await service.list_module_page(call.params["id"], call.query, call.principal)

    async def create_module(call: Call) -> Module:
        return await service.create_module(call.params["id"], call.body, call.principal)

    async def get_module(call: Call) -> Module:
        return await service.get_module(call.params["id"], principal=call.principal)

    async def patch_module(call: Call) -> Module:
        return await service.patch_module(call.params["id"], call.body, call.principal)

    async def delete_module(call: Call) -> Nothing:
        await service.delete_module(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/systems/{id}/modules",
            Permission.VIEW,
            list_modules,
            "List a system's modules in start order",
            "list_modules",
            answer=Page[Module],
            query=ListQuery,
            tag="systems",
            errors=("not_found",),
        ),
        Route(
            "POST",
            "/systems/{id}/modules",
            Permission.OPERATE,
            create_module,
            "Add a module: a package version with overrides",
            "create_module",
            answer=Module,
            body=NewModule,
            status=201,
            tag="systems",
            errors=("not_found", *_WRITE_ERRORS),
        ),
        Route(
            "GET",
            "/modules/{id}",
            Permission.VIEW,
            get_module,
            "Show one module",
            "get_module",
            answer=Module,
            tag="systems",
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/modules/{id}",
            Permission.OPERATE,
            patch_module,
            "Change a module; what runs keeps its settings until it is started anew",
            "patch_module",
            answer=Module,
            body=ModulePatch,
            tag="systems",
            errors=("not_found", "not_allowed", *_WRITE_ERRORS),
        ),
        Route(
            "DELETE",
            "/modules/{id}",
            Permission.OPERATE,
            delete_module,
            "Delete a module that has no instances and that no other depends on",
            "delete_module",
            tag="systems",
            errors=("not_found", "not_allowed"),
        ),
    ]
