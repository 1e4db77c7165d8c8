"""HTTP of config templates: parse, call, answer."""

import msgspec

from ops_system.master.templates.rules import (
    ConfigTemplate,
    NewTemplate,
    NewVersion,
    Rollback,
    TemplateDiff,
    TemplatePatch,
    TemplateVersion,
)
from ops_system.master.templates.service import Templates
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.errors import NotFound

_TAG = "config"
_PATH = "/config-templates"
_WRITE_ERRORS = ("not_found", "invalid", "conflict", "forbidden", "not_allowed")


class TemplateDiffQuery(msgspec.Struct, frozen=True):
    """`?from=&to=`: two versions."""

    from_: int = msgspec.field(name="from")
    to: int


def routes(service: Templates) -> list[Route]:
    """Return the routes of `/config-templates`."""
    return [*_read_routes(service), *_write_routes(service), *_version_routes(service)]


def _read_routes(service: Templates) -> list[Route]:
    async def list_templates(call: Call) -> Page[ConfigTemplate]:
        return await service.list_page(call.query)

    async def get_template(call: Call) -> ConfigTemplate:
        return await service.get(call.params["id"])

    async def list_versions(call: Call) -> Page[TemplateVersion]:
        return await service.list_versions(call.params["id"], call.query)

    async def diff(call: Call) -> TemplateDiff:
        return await service.diff(call.params["id"], call.query.from_, call.query.to)

    return [
        Route(
            "GET",
            _PATH,
            Permission.VIEW,
            list_templates,
            "List config templates",
            "list_config_templates",
            answer=Page[ConfigTemplate],
            query=ListQuery,
            tag=_TAG,
        ),
        Route(
            "GET",
            f"{_PATH}/{{id}}",
            Permission.VIEW,
            get_template,
            "Show one config template and who mounts it",
            "get_config_template",
            answer=ConfigTemplate,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "GET",
            f"{_PATH}/{{id}}/versions",
            Permission.VIEW,
            list_versions,
            "List a template's versions with their texts, the newest first",
            "list_config_template_versions",
            answer=Page[TemplateVersion],
            query=ListQuery,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "GET",
            f"{_PATH}/{{id}}/diff",
            Permission.VIEW,
            diff,
            "Show how two versions differ",
            "diff_config_template",
            answer=TemplateDiff,
            query=TemplateDiffQuery,
            tag=_TAG,
            errors=("not_found", "invalid"),
        ),
    ]


def _write_routes(service: Templates) -> list[Route]:
    async def create(call: Call) -> ConfigTemplate:
        return await service.create(call.body, call.principal)

    async def patch(call: Call) -> ConfigTemplate:
        return await service.patch(call.params["id"], call.body, call.principal)

    async def delete(call: Call) -> Nothing:
        await service.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            _PATH,
            Permission.OPERATE,
            create,
            "Create a config template with its first version",
            "create_config_template",
            answer=ConfigTemplate,
            body=NewTemplate,
            status=201,
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
        Route(
            "PATCH",
            f"{_PATH}/{{id}}",
            Permission.OPERATE,
            patch,
            "Change a config template's description",
            "patch_config_template",
            answer=ConfigTemplate,
            body=TemplatePatch,
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
        Route(
            "DELETE",
            f"{_PATH}/{{id}}",
            Permission.OPERATE,
            delete,
            "Delete a config template that no module mounts",
            "delete_config_template",
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
    ]


def _version_routes(service: Templates) -> list[Route]:
    async def add(call: Call) -> ConfigTemplate:
        return await service.add_version(call.params["id"], call.body, call.principal)

    async def approve(call: Call) -> ConfigTemplate:
        template_id, version = call.params["id"], call.params["version"]
        if not version.isascii() or not version.isdigit():
            raise NotFound(f"config template {template_id} has no version {version}", id=template_id)
        return await service.approve(template_id, int(version[:9]), call.principal)

    async def roll_back(call: Call) -> ConfigTemplate:
        return await service.roll_back(call.params["id"], call.body, call.principal)

    return [
        Route(
            "POST",
            f"{_PATH}/{{id}}/versions",
            Permission.OPERATE,
            add,
            "Save a new version; what runs hears nothing of it",
            "add_config_template_version",
            answer=ConfigTemplate,
            body=NewVersion,
            status=201,
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
        Route(
            "POST",
            f"{_PATH}/{{id}}/versions/{{version}}/approve",
            Permission.OPERATE,
            approve,
            "Let instances have this version from their next start on",
            "approve_config_template_version",
            answer=ConfigTemplate,
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
        Route(
            "POST",
            f"{_PATH}/{{id}}/rollback",
            Permission.OPERATE,
            roll_back,
            "Bring an old version back as a new, approved one",
            "roll_back_config_template",
            answer=ConfigTemplate,
            body=Rollback,
            tag=_TAG,
            errors=_WRITE_ERRORS,
        ),
    ]
