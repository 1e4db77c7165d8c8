"""HTTP of install profiles and of the templates they begin with: parse, call, answer."""

import msgspec

from ops_system.master.images.api import TAG
from ops_system.master.images.builtins import BUILTINS
from ops_system.master.images.profile_rules import (
    NewProfile,
    Profile,
    ProfileChange,
    ProfilePreview,
    ProfileRollback,
    ProfileText,
)
from ops_system.master.images.profiles import Profiles
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.catalogue import TemplateKind
from ops_system.provision.filters import FILTERS
from ops_system.provision.values import NAMES

_PATH = "/profiles"
_ONE = "/profiles/{name}"


class InstallTemplate(msgspec.Struct, frozen=True):
    """A template of the product: what a profile of this method uses until it has its own."""

    kind: TemplateKind
    text: str


class TemplateLanguage(msgspec.Struct, frozen=True):
    """The templates of the product, and what can stand in one."""

    items: list[InstallTemplate]
    total: int
    placeholders: tuple[str, ...] = NAMES
    filters: tuple[str, ...] = tuple(sorted(FILTERS))


def routes(profiles: Profiles) -> list[Route]:
    """Return the routes of `/profiles` and `/install-templates`."""
    return [*_read_routes(profiles), *_write_routes(profiles), *_version_routes(profiles)]


def _read_routes(profiles: Profiles) -> list[Route]:
    async def list_templates(_call: Call) -> TemplateLanguage:
        return TemplateLanguage([InstallTemplate(kind, text) for kind, text in BUILTINS.items()], len(BUILTINS))

    async def list_profiles(call: Call) -> Page[Profile]:
        return await profiles.list_page(call.query)

    async def get_profile(call: Call) -> Profile:
        return await profiles.get(call.params["name"])

    async def preview(call: Call) -> ProfileText:
        return await profiles.preview(call.body)

    return [
        Route(
            "GET",
            "/install-templates",
            Permission.VIEW,
            list_templates,
            "List the product's own kickstart, preseed and autoinstall, and what a template may say",
            "list_install_templates",
            answer=TemplateLanguage,
            tag=TAG,
        ),
        Route(
            "GET",
            _PATH,
            Permission.VIEW,
            list_profiles,
            "List install profiles",
            "list_profiles",
            answer=Page[Profile],
            query=ListQuery,
            tag=TAG,
            errors=("invalid", "unavailable"),
        ),
        Route(
            "GET",
            _ONE,
            Permission.VIEW,
            get_profile,
            "Show an install profile as it stands",
            "get_profile",
            answer=Profile,
            tag=TAG,
            errors=("not_found", "unavailable"),
        ),
        Route(
            "POST",
            "/profiles/preview",
            Permission.OPERATE,
            preview,
            "Show the text an installer would get, and what is wrong with a profile; nothing is kept",
            "preview_profile",
            answer=ProfileText,
            body=ProfilePreview,
            tag=TAG,
            errors=("not_found", "invalid", "unavailable"),
        ),
    ]


def _write_routes(profiles: Profiles) -> list[Route]:
    async def create_profile(call: Call) -> Profile:
        return await profiles.create(call.body, call.principal)

    async def change_profile(call: Call) -> Profile:
        return await profiles.change(call.params["name"], call.body, call.principal)

    async def delete_profile(call: Call) -> Nothing:
        await profiles.delete(call.params["name"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            _PATH,
            Permission.ADMIN,
            create_profile,
            "Keep a new install profile",
            "create_profile",
            answer=Profile,
            body=NewProfile,
            status=201,
            tag=TAG,
            errors=("invalid", "conflict", "unavailable"),
        ),
        Route(
            "PUT",
            _ONE,
            Permission.ADMIN,
            change_profile,
            "Put a profile in the place of the one of this name; the earlier one stays in its past",
            "change_profile",
            answer=Profile,
            body=ProfileChange,
            tag=TAG,
            errors=("not_found", "invalid", "conflict", "unavailable"),
        ),
        Route(
            "DELETE",
            _ONE,
            Permission.ADMIN,
            delete_profile,
            "Delete a profile with its past; tasks keep what they were made of",
            "delete_profile",
            tag=TAG,
            errors=("not_found", "unavailable"),
        ),
    ]


def _version_routes(profiles: Profiles) -> list[Route]:
    async def list_versions(call: Call) -> Page[Profile]:
        return await profiles.versions(call.params["name"], call.query)

    async def roll_back(call: Call) -> Profile:
        return await profiles.roll_back(call.params["name"], call.body.version, call.principal)

    return [
        Route(
            "GET",
            f"{_ONE}/versions",
            Permission.VIEW,
            list_versions,
            "Show how a profile was, the newest version first",
            "list_profile_versions",
            answer=Page[Profile],
            query=ListQuery,
            tag=TAG,
            errors=("not_found", "unavailable"),
        ),
        Route(
            "POST",
            f"{_ONE}/rollback",
            Permission.ADMIN,
            roll_back,
            "Make an earlier version of a profile the newest",
            "roll_back_profile",
            answer=Profile,
            body=ProfileRollback,
            tag=TAG,
            errors=("not_found", "invalid", "unavailable"),
        ),
    ]
