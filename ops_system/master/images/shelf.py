"""Where images and profiles stand in the store of installations: one key each, shared by every master.

/os/global/images/NAME/VERSION              an Image; never changed
/os/global/images_to_free/SHA256            bytes that nothing names since a while
/os/global/profiles/NAME                    a Profile as it stands
/os/global/profile_versions/NAME/NNNNNN     a Profile as it was
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from ops_system.kv.base import DeleteRequest, KeyValue, PutRequest, RangeRequest, Store, TxnRequest
from ops_system.kv.follow import list_all
from ops_system.kv.ranges import prefix_end
from ops_system.kv.swap import Write, change, guard
from ops_system.master.images.profile_rules import Profile
from ops_system.master.images.rules import Image, ImageUser
from ops_system.model.tasks import FINISHED, TaskStatus
from ops_system.provision.keys import EVERYTHING, IMAGES, PROFILES

_TO_FREE = b"/os/global/images_to_free/"
_VERSIONS = b"/os/global/profile_versions/"
KEPT_VERSIONS = 50
_AT_ONCE = 50  # tasks in one answer, which stays below 4 MB
T = TypeVar("T")


class _Freed(msgspec.Struct, frozen=True):
    at: datetime


class _Named(msgspec.Struct, frozen=True):
    """What is read of an ImageRef to know which image a task needs."""

    name: str
    version: str


class _Install(msgspec.Struct, frozen=True):
    image: _Named | None = None
    kernel: _Named | None = None
    initrd: _Named | None = None


class _Task(msgspec.Struct, frozen=True):
    idc: str
    sn: str
    status: TaskStatus
    install: _Install


def image_key(name: str, version: str) -> bytes:
    """Return the key of an image."""
    return IMAGES + f"{name}/{version}".encode()


class Shelf:
    """The keys of images and profiles."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- images ---------------------------------------------------------------------------------------------------
    async def images(self) -> list[Image]:
        """Return every image, by name and version."""
        return await self._list(IMAGES, Image)

    async def image(self, name: str, version: str) -> Image | None:
        """Return one image."""
        return await self._get(image_key(name, version), Image)

    async def add_image(self, image: Image) -> Image:
        """Write a new image and return it, or return the one that has its name and version already."""
        known: list[Image] = []

        def rule(seen: KeyValue | None) -> list[Write]:
            known[:] = [] if seen is None else [msgspec.json.decode(seen.value, type=Image)]
            if seen is not None:
                return []
            return [
                PutRequest(image_key(image.name, image.version), msgspec.json.encode(image)),
                DeleteRequest(_TO_FREE + image.sha256.encode()),
            ]

        await change(self._store, image_key(image.name, image.version), rule, may_repeat=True)
        return known[0] if known else image

    async def remove_image(self, image: Image, at: datetime) -> None:
        """Remove an image; its bytes are noted to be freed."""
        freed = PutRequest(_TO_FREE + image.sha256.encode(), msgspec.json.encode(_Freed(at)))
        key = image_key(image.name, image.version)
        await change(
            self._store, key, lambda seen: [] if seen is None else [DeleteRequest(key), freed], may_repeat=True
        )

    async def need_bytes(self, sha256: str) -> None:
        """Say that bytes are about to be named again: nobody frees them from now on."""
        await self._store.delete(DeleteRequest(_TO_FREE + sha256.encode()))

    async def to_free(self, before: datetime) -> list[KeyValue]:
        """Return the notes of bytes that nothing has named since `before`; `forget` a note when they are gone."""
        named = {image.sha256 for image in await self.images()}
        notes = (await list_all(self._store, _TO_FREE)).kvs
        return [kv for kv in notes if _freed_at(kv) <= before and sha256_of(kv) not in named]

    async def is_still(self, note: KeyValue) -> bool:
        """Whether a note stands unchanged: nobody needs its bytes again."""
        return note in (await self._store.range(RangeRequest(note.key))).kvs

    async def forget(self, note: KeyValue) -> None:
        """Remove a note, unless it was written anew."""
        await self._store.txn(TxnRequest((guard(note.key, note),), (DeleteRequest(note.key),)))

    async def users_of(self, image: Image) -> list[ImageUser]:
        """Return the unfinished tasks that need an image."""
        keys = [kv.key for kv in (await self._all_keys()) if kv.key.endswith(b"/task")]
        found: list[ImageUser] = []
        for start in range(0, len(keys), _AT_ONCE):
            reads = tuple(RangeRequest(key) for key in keys[start : start + _AT_ONCE])
            for answer in (await self._store.txn(TxnRequest((), reads))).responses:
                found += [ImageUser("task", f"{task.idc}/{task.sn}") for task in _tasks(answer) if _needs(task, image)]
        return found

    async def _all_keys(self) -> list[KeyValue]:
        """Return every key, without values, page by page."""
        found: list[KeyValue] = []
        key, end = EVERYTHING, prefix_end(EVERYTHING)
        while True:
            answer = await self._store.range(RangeRequest(key, end, limit=1000, keys_only=True))
            found += answer.kvs
            if not answer.more:
                return found
            key = answer.kvs[-1].key + b"\0"

    # --- profiles -------------------------------------------------------------------------------------------------
    async def profiles(self) -> list[Profile]:
        """Return every profile, by name."""
        return await self._list(PROFILES, Profile)

    async def profile(self, name: str) -> Profile | None:
        """Return a profile as it stands."""
        return await self._get(PROFILES + name.encode(), Profile)

    async def profile_versions(self, name: str) -> list[Profile]:
        """Return a profile as it was and is, the newest first."""
        return list(reversed(await self._list(_VERSIONS + f"{name}/".encode(), Profile)))

    async def change_profile(self, name: str, rule: Callable[[Profile | None], Profile | None]) -> Profile | None:
        """Write what `rule` makes of the profile as it stands; None removes it with its past. Raises what it raises."""
        made: list[Profile | None] = [None]

        def writes(seen: KeyValue | None) -> list[Write]:
            before = None if seen is None else msgspec.json.decode(seen.value, type=Profile)
            made[0] = rule(before)
            return _profile_writes(name, made[0])

        await change(self._store, PROFILES + name.encode(), writes)
        return made[0]

    async def _get(self, key: bytes, wanted: type[T]) -> T | None:
        found = await self._store.range(RangeRequest(key))
        return msgspec.json.decode(found.kvs[0].value, type=wanted) if found.kvs else None

    async def _list(self, prefix: bytes, wanted: type[T]) -> list[T]:
        decoder = msgspec.json.Decoder(wanted)
        return [decoder.decode(kv.value) for kv in (await list_all(self._store, prefix)).kvs]


def sha256_of(note: KeyValue) -> str:
    """Return whose bytes a note of `to_free` is about."""
    return note.key.removeprefix(_TO_FREE).decode()


def _freed_at(note: KeyValue) -> datetime:
    return msgspec.json.decode(note.value, type=_Freed).at


def _profile_writes(name: str, profile: Profile | None) -> list[Write]:
    past = _VERSIONS + f"{name}/".encode()
    if profile is None:
        return [DeleteRequest(PROFILES + name.encode()), DeleteRequest(past, prefix_end(past))]
    encoded, oldest = msgspec.json.encode(profile), profile.version - KEPT_VERSIONS
    return [
        PutRequest(PROFILES + name.encode(), encoded),
        PutRequest(past + b"%06d" % profile.version, encoded),
        *([DeleteRequest(past + b"%06d" % oldest)] if oldest > 0 else []),
    ]


def _tasks(answer: object) -> list[_Task]:
    return [msgspec.json.decode(kv.value, type=_Task) for kv in getattr(answer, "kvs", ())]


def _needs(task: _Task, image: Image) -> bool:
    wanted = _Named(image.name, image.version)
    return task.status not in FINISHED and wanted in {task.install.image, task.install.kernel, task.install.initrd}
