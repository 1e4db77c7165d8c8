"""Which file of a log holds which of its bytes, whatever the files are called by now: pure. Used by `filelog`.

A file is known by its inode and by how it begins, a packed one or a copy by how it begins alone. So places stay as they
are when files are renamed, packed, copied and truncated, also while nobody looked.
"""

import hashlib
from typing import NamedTuple

import msgspec

HEAD_BYTES = 256  # of a beginning
LOST_BYTES = 1 << 36  # left free where nobody knows how much was written: no place is ever given twice


class File(NamedTuple):
    """A file as it is found. `size` and `head`, its first HEAD_BYTES, are those of its text, unpacked."""

    name: str
    key: tuple[int, int]  # device and inode
    size: int
    head: bytes


class Part(NamedTuple):
    """One file and which bytes of the log it holds, unpacked. `head` is the digest of the first `head_size`."""

    name: str
    key: tuple[int, int]
    start: int
    size: int
    head_size: int = 0
    head: str = ""

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.start + self.size

    @property
    def is_packed(self) -> bool:
        """Whether it is a gzip file."""
        return self.name.endswith(".gz")


class Places(msgspec.Struct, frozen=True):
    """What is kept of a log over restarts of the worker. `end` is what it was when a file came or went last."""

    end: int = 0
    parts: tuple[Part, ...] = ()

    def as_json(self) -> bytes:
        """Return it as text."""
        return msgspec.json.encode(self)


def read_places(data: bytes) -> Places:
    """Return what `as_json` gave. Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(data, type=Places)


def digest(head: bytes) -> str:
    """Return what is kept of a beginning: no word of the log itself."""
    return hashlib.blake2s(head, digest_size=12).hexdigest()


def placed(before: list[Part], found: list[File], end: int) -> list[Part]:
    """Give every file its place in the log: the one it had, or behind its predecessor. `end` is that of the log."""
    owners = _owners(before, found)
    done: list[Part] = []
    for index, file in enumerate(found):
        old = owners.get(index)
        is_last = index == len(found) - 1
        behind = max(done[-1].end, end if is_last else 0) if done else end
        done.append(_part(file, old.start if old is not None else behind))
    return _without_overlap(done)


def is_lost(before: list[Part], found: list[File]) -> bool:
    """Whether the newest of the files known is not there any more: how far the log had come is not known."""
    return bool(before) and before[-1] not in _owners(before, found).values()


def identities(parts: list[Part]) -> list[tuple[tuple[int, int], int, int]]:
    """Return what has changed when a file came, went, or shows more of its beginning."""
    return [(part.key, part.start, part.head_size) for part in parts]


def _part(file: File, start: int) -> Part:
    return Part(file.name, file.key, start, file.size, len(file.head), digest(file.head))


def _owners(before: list[Part], found: list[File]) -> dict[int, Part]:
    """Return which of the files known each one is: first by inode, then by the beginning."""
    owners: dict[int, Part] = {}
    left = {part.key: part for part in before}
    for index, file in enumerate(found):
        part = left.get(file.key)
        if part is not None and _is_same(part, file):
            owners[index] = left.pop(file.key)
    for index, file in enumerate(found):
        if index in owners:
            continue
        alike = [part for part in left.values() if part.head_size and _is_same(part, file)]
        if alike:
            part = max(alike, key=lambda part: (part.size == file.size, part.start))
            owners[index] = left.pop(part.key)
    return owners


def _is_same(part: Part, file: File) -> bool:
    return part.size <= file.size and digest(file.head[: part.head_size]) == part.head


def _without_overlap(done: list[Part]) -> list[Part]:
    """Cut off what was written to an old file after its successor had begun, and drop what is out of order."""
    kept: list[Part] = []
    for part in reversed(done):
        if kept and part.start >= kept[-1].start:
            continue
        kept.append(part._replace(size=min(part.size, kept[-1].start - part.start)) if kept else part)
    return kept[::-1]
