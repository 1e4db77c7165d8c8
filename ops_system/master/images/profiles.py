"""Install profiles: kept with their past, checked, and shown as an installer would get them."""

import asyncio
from collections.abc import Callable

import msgspec

from ops_system.kv.base import RangeRequest, Store
from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.master.images.builtins import BUILTINS
from ops_system.master.images.profile_rules import (
    NewProfile,
    Profile,
    ProfileChange,
    ProfilePreview,
    ProfileText,
    TextProblem,
    check_profile,
)
from ops_system.master.images.shelf import Shelf
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.catalogue import TEMPLATE_KINDS
from ops_system.model.errors import Conflict, Invalid, NotFound
from ops_system.model.machines import DiskInfo, Hardware, Machine, check_idc, check_sn
from ops_system.model.tasks import InstallSpec, Task
from ops_system.provision import values
from ops_system.provision.keys import MachineKeys
from ops_system.provision.templates import check, render
from ops_system.runtime.clock import Clock

TOPIC = "profiles"
_SAMPLE_DISK = DiskInfo("sda", 480_103_981_056, "SAMPLE-DISK-1", "0x5000c500a1b2c3d4", "Sample SSD")
_SAMPLE = Machine(
    idc="dc1",
    sn="SAMPLE-1",
    uuid="4c4c4544-0000-2010-8020-80c04f202020",
    macs=("52:54:00:12:34:56",),
    hardware=Hardware(firmware="uefi", disks=(_SAMPLE_DISK,)),
)
_CALLBACK = "http://regional.example:8081/callback"
_SORTS = frozenset({"name", "method", "os_type", "changed_at"})


class Profiles:
    """The one list of profiles."""

    def __init__(self, *, shelf: Shelf, store: Store, audit: Audit, bus: Bus, clock: Clock) -> None:
        self._shelf = shelf
        self._store = store
        self._audit = audit
        self._bus = bus
        self._clock = clock

    async def list_page(self, query: ListQuery) -> Page[Profile]:
        """Return one page."""
        field = query.sort.removeprefix("-") or "name"
        if field not in _SORTS:
            known = ", ".join(sorted(_SORTS))
            raise Invalid(f"sort: there is no field {field!r} here; use one of {known}", problems=["sort: unknown"])
        text = query.q.lower()
        found = [one for one in await self._shelf.profiles() if text in f"{one.name} {one.os_type} {one.note}".lower()]
        found.sort(key=lambda one: str(getattr(one, field)), reverse=query.sort.startswith("-"))
        return Page(items=found[query.offset : query.offset + query.limit], total=len(found))

    async def get(self, name: str) -> Profile:
        """Return a profile as it stands. Raises NotFound."""
        profile = await self._shelf.profile(name)
        if profile is None:
            raise _missing(name)
        return profile

    async def versions(self, name: str, query: ListQuery) -> Page[Profile]:
        """Return how it was, the newest first. Raises NotFound."""
        await self.get(name)
        found = await self._shelf.profile_versions(name)
        return Page(items=found[query.offset : query.offset + query.limit], total=len(found))

    async def create(self, body: NewProfile, actor: Principal) -> Profile:
        """Keep a new profile. Raises Invalid, Conflict when there is one of this name."""
        await self._judge(body)
        if await self._shelf.profile(body.name) is not None:
            raise _taken(body.name)
        made = self._version_of(check_profile(body), 1, actor)

        def rule(before: Profile | None) -> Profile:
            if before is not None:
                raise _taken(body.name)
            return made

        return await self._write(made.name, rule, actor, "profile.create")

    async def change(self, name: str, body: ProfileChange, actor: Principal) -> Profile:
        """Put a profile in the place of the one of this name. Raises NotFound, Invalid, Conflict."""
        if body.name not in ("", name):
            raise Invalid("$.name: a profile keeps its name", problems=["$.name: another name"])
        fields = {key: getattr(body, key) for key in NewProfile.__struct_fields__}
        wanted = NewProfile(**fields | {"name": name})
        await self._judge(wanted)
        wanted = check_profile(wanted)

        def rule(before: Profile | None) -> Profile:
            if before is None:
                raise _missing(name)
            if body.if_version not in (0, before.version):
                raise Conflict(
                    f"profile {name} is at version {before.version} now, by {before.changed_by}; look at it first",
                    version=before.version,
                )
            return self._version_of(wanted, before.version + 1, actor)

        rule(await self._shelf.profile(name))
        return await self._write(name, rule, actor, "profile.change")

    async def roll_back(self, name: str, version: int, actor: Principal) -> Profile:
        """Make an earlier version the newest. Raises NotFound."""
        past = await self._shelf.profile_versions(name)
        wanted = next((one for one in past if one.version == version), None)
        if wanted is None:
            raise NotFound(f"there is no version {version} of profile {name}", name=name, version=version)
        fields = {key: getattr(wanted, key) for key in NewProfile.__struct_fields__}
        return await self.change(name, ProfileChange(**fields), actor)

    async def delete(self, name: str, actor: Principal) -> None:
        """Remove a profile and its past. Tasks keep what they were made of. Raises NotFound."""
        await self.get(name)
        await self._audit.record_alone(actor, "profile.delete", f"profile:{name}", "done")
        await self._shelf.change_profile(name, lambda _before: None)
        self._bus.publish(Changed(TOPIC, name, None))

    # --- showing --------------------------------------------------------------------------------------------------
    async def preview(self, body: ProfilePreview) -> ProfileText:
        """Render a profile's template for a machine, or for a sample. Raises NotFound for names that are unknown."""
        profile = body.profile if body.profile is not None else await self.get(body.name)
        problems: list[TextProblem] = []
        try:
            profile = check_profile(profile)
        except Invalid as error:
            told = error.details.get("problems") or [error.message]
            problems = [TextProblem(0, str(one)) for one in (told if isinstance(told, list) else [told])]
        given = await self._values(profile, body)
        if profile.method not in TEMPLATE_KINDS:
            return ProfileText("", tuple(problems), is_sample=not body.sn)
        text, found = await asyncio.to_thread(_rendered, template_of(profile), given)
        return ProfileText(text, (*problems, *found), is_sample=not body.sn)

    async def _values(self, profile: NewProfile, body: ProfilePreview) -> dict[str, object]:
        spec = InstallSpec(
            method=profile.method,
            os_type=profile.os_type,
            os_version=profile.os_version,
            profile=profile.name,
            values=profile.values,
            network=profile.network,
            packages=profile.packages,
            ssh_keys=profile.ssh_keys,
        )
        if not body.sn:
            place = values.Place("dc1", _SAMPLE.sn, _SAMPLE.macs[0], "tsk_sample", (_SAMPLE_DISK.id,))
            return values.values_of(place, spec, _SAMPLE, _CALLBACK)
        machine, task = await self._machine(check_idc(body.idc), check_sn(body.sn))
        ids = tuple(disk.id for disk in machine.hardware.disks if disk.id) if machine.hardware else ()
        place = values.Place(body.idc, body.sn, machine.macs[0] if machine.macs else "", "", ids)
        if task is not None:
            shown = values.place_of(task)
            place = shown if shown.disks else msgspec.structs.replace(shown, disks=ids)
        return values.values_of(place, spec, machine, _CALLBACK, task.network if task else None)

    async def _machine(self, idc: str, sn: str) -> tuple[Machine, Task | None]:
        keys = MachineKeys(idc, sn)
        meta = (await self._store.range(RangeRequest(keys.meta))).kvs
        if not meta:
            raise NotFound(f"nothing is known of a machine {sn} in {idc}", idc=idc, sn=sn)
        task = (await self._store.range(RangeRequest(keys.task))).kvs
        known = msgspec.json.decode(task[0].value, type=Task) if task else None
        return msgspec.json.decode(meta[0].value, type=Machine), known

    async def _judge(self, profile: NewProfile) -> None:
        """Raise Invalid for a template that could never be rendered."""
        problems = await asyncio.to_thread(check, profile.template, values.NAMES) if profile.template else ()
        if problems:
            told = [f"$.template: line {one.line}: {one.message}" for one in problems]
            raise Invalid("; ".join(told), problems=told, line=problems[0].line)

    def _version_of(self, body: NewProfile, version: int, actor: Principal) -> Profile:
        fields = {name: getattr(body, name) for name in NewProfile.__struct_fields__}
        return Profile(**fields, version=version, changed_at=self._clock.now(), changed_by=actor.name)

    async def _write(
        self, name: str, rule: Callable[[Profile | None], Profile], actor: Principal, action: str
    ) -> Profile:
        await self._audit.record_alone(actor, action, f"profile:{name}", "done")
        made = await self._shelf.change_profile(name, rule)
        assert made is not None  # the rules of this class remove nothing
        self._bus.publish(Changed(TOPIC, name, made))
        return made


def template_of(profile: NewProfile) -> str:
    """Return the text an installer is told by: the profile's own, or the product's; empty for other methods."""
    if profile.method not in TEMPLATE_KINDS:
        return ""
    return profile.template or BUILTINS[profile.method]


def _rendered(text: str, given: dict[str, object]) -> tuple[str, list[TextProblem]]:
    found = [TextProblem(one.line, one.message) for one in check(text, values.NAMES)]
    if found:
        return "", found
    try:
        return render(text, given), []
    except Invalid as error:
        line = error.details.get("line")
        return "", [TextProblem(line if isinstance(line, int) else 0, error.message)]


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no profile {name}", name=name)


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a profile {name} already; change it, or take another name", name=name)
