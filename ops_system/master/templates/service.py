"""Config templates: written in versions that stay, approved, and brought back. Each act is one transaction.

save -> draft -> approve -> what instances get, unless they name a version        rollback = an old text, anew
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.templates import store
from ops_system.master.templates.rules import (
    ConfigTemplate,
    NewTemplate,
    NewVersion,
    Rollback,
    TemplateDiff,
    TemplatePatch,
    TemplateVersion,
    check_template,
    diff_of,
    find_problems,
    raise_if_any,
)
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.formats import Format
from ops_system.model.ids import spell_id
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries, Transaction

TOPIC = "config_templates"

UserQuestion = Callable[[Queries, str], Awaitable[list[str]]]
"""Which modules mount the template of this name: `system/module`."""


class Templates:
    """The one book of them."""

    def __init__(self, *, database: Database, audit: Audit, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._users: UserQuestion = _nobody

    def ask_for_users(self, question: UserQuestion) -> None:
        """Ask here who mounts a template: it is not deleted then."""
        self._users = question

    # --- reading --------------------------------------------------------------------------------------------------
    async def list_page(self, query: ListQuery) -> Page[ConfigTemplate]:
        """Return one page, by name unless sorted otherwise."""
        items, total = await store.list_page(self._database, query)
        return Page(items=items, total=total)

    async def get(self, template_id: str, reader: Queries | None = None) -> ConfigTemplate:
        """Return one template with who mounts it. Raises `NotFound`."""
        reader = reader or self._database
        template = await store.find(reader, template_id)
        if template is None:
            raise NotFound(f"there is no config template {template_id}", id=template_id)
        return msgspec.structs.replace(template, used_by=await self._users(reader, template.name))

    async def list_versions(self, template_id: str, query: ListQuery) -> Page[TemplateVersion]:
        """Return one page of versions, the newest first. Raises `NotFound`."""
        await self.get(template_id)
        items, total = await store.list_versions(self._database, template_id, query)
        return Page(items=items, total=total)

    async def get_version(self, template_id: str, version: int, reader: Queries | None = None) -> TemplateVersion:
        """Return one version. Raises `NotFound`."""
        found = await store.find_version(reader or self._database, template_id, version)
        if found is None:
            raise NotFound(f"config template {template_id} has no version {version}", id=template_id)
        return found

    async def diff(self, template_id: str, from_version: int, to_version: int) -> TemplateDiff:
        """Return how two versions differ. Raises `NotFound`."""
        template = await self.get(template_id)
        texts = [(await self.get_version(template_id, one)).content for one in (from_version, to_version)]
        names = (f"{template.name} {from_version}", f"{template.name} {to_version}")
        return TemplateDiff(from_version, to_version, diff_of(texts[0], texts[1], names))

    async def read(self, reader: Queries, name: str, version: int | None) -> tuple[Format, str]:
        """Return format and text for a mount; no version: the newest approved one. Raises `Invalid`."""
        template = await store.find_by_name(reader, name)
        if template is None:
            raise Invalid(f"there is no config template {name!r}", problems=[f"there is no config template {name!r}"])
        wanted = template.approved_version if version is None else version
        if wanted is None:
            words = f"config template {name} has no approved version; approve one"
            raise Invalid(words, problems=[words])
        found = await store.find_version(reader, template.id, wanted)
        if found is None:
            words = f"config template {name} has no version {wanted}; the newest is {template.version}"
            raise Invalid(words, problems=[words])
        return template.format, found.content

    # --- acts -----------------------------------------------------------------------------------------------------
    async def create(self, body: NewTemplate, actor: Principal) -> ConfigTemplate:
        """Make a template with its first version. Raises `Invalid` (every fault), `Conflict`, `Forbidden` (scope)."""
        check_unscoped(actor)
        check_template(body)
        now = self._clock.now()
        first = self._version_of(1, body.content, body.note, actor, now, is_approved=body.approve)
        made = ConfigTemplate(
            id=spell_id("tpl", secrets.token_bytes(10)),
            name=body.name,
            format=body.format,
            description=body.description,
            version=1,
            approved_version=1 if body.approve else None,
            created_at=now,
            created_by=actor.name,
            updated_at=now,
            updated_by=actor.name,
        )
        async with self._database.transaction() as tx:
            if await store.find_by_name(tx, body.name) is not None:
                raise Conflict(f"a config template is called {body.name!r} already; choose another name")
            await store.insert(tx, made)
            await store.insert_version(tx, made.id, first)
            await self._record(tx, actor, "create", made, 1)
        return await self._told(made.id)

    async def patch(self, template_id: str, body: TemplatePatch, actor: Principal) -> ConfigTemplate:
        """Change the description. Raises `NotFound`, `Forbidden` (scope)."""
        check_unscoped(actor)
        async with self._database.transaction() as tx:
            template = await self.get(template_id, tx)
            await store.save_description(tx, template_id, body.description)
            await self._record(tx, actor, "change", template, template.version)
        return await self._told(template_id)

    async def add_version(self, template_id: str, body: NewVersion, actor: Principal) -> ConfigTemplate:
        """Add a version; what runs hears nothing of it. Raises `NotFound`, `Invalid`, `Conflict`, `Forbidden`."""
        async with self._database.transaction() as tx:
            await self.write_version(tx, template_id, body, actor)
        return await self._told(template_id)

    async def write_version(self, tx: Transaction, template_id: str, body: NewVersion, actor: Principal) -> int:
        """Add a version inside `tx`; return its number. Raises as `add_version`."""
        check_unscoped(actor)
        template = await self.get(template_id, tx)
        if body.base is not None and body.base != template.version:
            words = f"version {template.version} was saved by {template.updated_by} meanwhile; look at it first"
            raise Conflict(words, version=template.version)
        raise_if_any(find_problems(template.format, body.content, body.note))
        number = template.version + 1
        now = self._clock.now()
        version = self._version_of(number, body.content, body.note, actor, now, is_approved=body.approve)
        await store.insert_version(tx, template_id, version)
        await self._record(tx, actor, "save", template, number)
        return number

    async def approve(self, template_id: str, version: int, actor: Principal) -> ConfigTemplate:
        """Let instances have this version from their next start on. Raises `NotFound`, `NotAllowed`, `Forbidden`."""
        async with self._database.transaction() as tx:
            await self.write_approval(tx, template_id, version, actor)
        return await self._told(template_id)

    async def write_approval(self, tx: Transaction, template_id: str, version: int, actor: Principal) -> None:
        """Approve inside `tx`. Raises as `approve`; nothing happens to a version that is approved and the newest so."""
        check_unscoped(actor)
        template = await self.get(template_id, tx)
        found = await self.get_version(template_id, version, tx)
        if template.approved_version == version:
            return
        if template.approved_version is not None and template.approved_version > version:
            words = f"version {template.approved_version} is approved and newer; roll back to {version} instead"
            raise NotAllowed(words, reason="older_version", approved=template.approved_version)
        now = self._clock.now()
        approved = msgspec.structs.replace(found, approved_at=now, approved_by=actor.name)
        await store.save_approval(tx, template_id, approved)
        await self._record(tx, actor, "approve", template, version)

    async def roll_back(self, template_id: str, body: Rollback, actor: Principal) -> ConfigTemplate:
        """Bring an old text back as a new, approved version. Raises `NotFound`, `Invalid`, `Forbidden` (scope)."""
        async with self._database.transaction() as tx:
            await self.get(template_id, tx)
            old = await self.get_version(template_id, body.version, tx)
            note = body.note or f"back to version {body.version}"
            await self.write_version(tx, template_id, NewVersion(old.content, note=note, approve=True), actor)
        return await self._told(template_id)

    async def delete(self, template_id: str, actor: Principal) -> None:
        """Remove a template. Raises `NotFound`, `NotAllowed` while a module mounts it, `Forbidden` (scope)."""
        check_unscoped(actor)
        async with self._database.transaction() as tx:
            template = await self.get(template_id, tx)
            if template.used_by:
                words = f"config template {template.name} is mounted by {', '.join(template.used_by[:5])}"
                raise NotAllowed(f"{words}; take it out there first", users=template.used_by[:100])
            await store.delete(tx, template_id)
            await self._record(tx, actor, "delete", template, template.version)
        self._bus.publish(Changed(TOPIC, template_id, None))

    def show(self, template: ConfigTemplate) -> None:
        """Show a template that was changed in a transaction of somebody else's."""
        self._bus.publish(Changed(TOPIC, template.id, template))

    async def _told(self, template_id: str) -> ConfigTemplate:
        template = await self.get(template_id)
        self.show(template)
        return template

    @staticmethod
    def _version_of(
        number: int, content: str, note: str, actor: Principal, now: datetime, *, is_approved: bool
    ) -> TemplateVersion:
        return TemplateVersion(
            version=number,
            content=content,
            note=note,
            created_at=now,
            created_by=actor.name,
            approved_at=now if is_approved else None,
            approved_by=actor.name if is_approved else "",
        )

    async def _record(
        self, tx: Transaction, actor: Principal, verb: str, template: ConfigTemplate, version: int
    ) -> None:
        details: dict[str, object] = {"name": template.name, "version": version}
        await self._audit.record(tx, actor, f"config_template.{verb}", f"template:{template.id}", "done", details)


async def _nobody(_reader: Queries, _name: str) -> list[str]:
    return []


def check_unscoped(actor: Principal) -> None:
    """Raise `Forbidden` for somebody with a scope: a template may reach instances beyond it."""
    if actor.scope:
        words = "config templates and global variables reach every node; your scope does not"
        raise Forbidden(words, reason="scope")
