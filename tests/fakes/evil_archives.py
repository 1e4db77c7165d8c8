"""Zips that break one rule each, written byte by byte; `EVIL` names them. Every one is otherwise a deployable package.

`build_zip` writes what it is told without looking, so that each header field can lie.
"""

import json
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

STORED, DEFLATED = 0, 8
MANIFEST = {"name": "evil", "version": "1.0", "entrypoint": "run.sh"}
REGULAR, LINK, FOLDER = stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755


@dataclass(frozen=True)
class Member:
    """One entry. What is None is computed from `data`; everything else is written as it stands."""

    name: str | bytes
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    method: int = DEFLATED
    flags: int = 0x800
    crc32: int | None = None
    size_bytes: int | None = None
    packed: bytes | None = None
    header_offset: int | None = None
    local_name: bytes | None = None


def manifest_member(**changes: object) -> Member:
    return Member("service.json", json.dumps({**MANIFEST, **changes}).encode())


BASE = (manifest_member(), Member("run.sh", b"#!/bin/sh\nsleep 600\n", mode=REGULAR))


def build_zip(
    members: Iterable[Member], *, count: int | None = None, comment: bytes = b"", prefix: bytes = b""
) -> bytes:
    """Return a zip with these members in this order."""
    body, directory, number = bytearray(prefix), bytearray(), 0
    for member in members:
        offset = len(body) if member.header_offset is None else member.header_offset
        local, central = _records(member, offset)
        body += local
        directory += central
        number += 1
    end = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        0,
        0,
        min(count or number, 0xFFFF),
        min(count or number, 0xFFFF),
        len(directory),
        len(body),
        len(comment),
    )
    return bytes(body + directory + end + comment)


def _records(member: Member, offset: int) -> tuple[bytes, bytes]:
    name = member.name if isinstance(member.name, bytes) else member.name.encode()
    packed = _deflate(member.data) if member.method == DEFLATED else member.data
    packed = packed if member.packed is None else member.packed
    crc = zlib.crc32(member.data) if member.crc32 is None else member.crc32
    size = len(member.data) if member.size_bytes is None else member.size_bytes
    local_name = name if member.local_name is None else member.local_name
    common = (20, member.flags, member.method, 0, 33, crc, len(packed), size)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", *common, len(local_name), 0) + local_name + packed
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 0x0314, *common, len(name), 0, 0, 0, 0, member.mode << 16, offset
    )
    return (b"" if member.header_offset is not None else local), central + name


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def good_zip(extra: Sequence[Member] = (), **manifest: object) -> bytes:
    """A package that is fine (unless `extra` is not)."""
    return build_zip([manifest_member(**manifest), BASE[1], *extra])


def _with(*members: Member) -> Callable[[], bytes]:
    return lambda: build_zip([*BASE, *members])


def _overlapping() -> bytes:
    """A directory that names the same bytes a thousand times (the bomb of D. Fifield, 2019)."""
    kernel = Member("kernel", b"0" * 2000)
    at = len(build_zip(BASE)) - _directory_bytes(BASE) - 22
    again = [replace(kernel, name=f"copy{number}", header_offset=at, local_name=b"kernel") for number in range(1000)]
    return build_zip([*BASE, kernel, *again])


def _overlapping_same_name() -> bytes:
    """Two entries whose data share bytes, with headers that are both right: the second lies inside the first."""
    inner = Member("inner", b"x" * 100, method=STORED)
    local, _ = _records(inner, 0)
    outer = Member("outer", local, method=STORED)
    at = len(build_zip([*BASE, outer])) - _directory_bytes([*BASE, outer]) - 22 - len(local)
    return build_zip([*BASE, outer, replace(inner, header_offset=at)])


def _directory_bytes(members: Iterable[Member]) -> int:
    return sum(len(_records(member, 0)[1]) for member in members)


def _too_many() -> bytes:
    return build_zip([*BASE, *(Member(f"f{number}") for number in range(20_001))])


def _too_many_hidden() -> bytes:
    """As above, with an end record that admits to two."""
    return build_zip([*BASE, *(Member(f"f{number}") for number in range(20_001))], count=2)


def _bomb() -> bytes:
    return build_zip([*BASE, Member("zeros", bytes(8_000_000))])


def _quota() -> bytes:
    """Claims to be larger than any quota."""
    return build_zip([*BASE, *(Member(f"big{n}", b"x" * 10, size_bytes=0xFFFFFFF0) for n in range(3))])


def _liar() -> bytes:
    """Promises one byte and unpacks to a megabyte."""
    return build_zip([*BASE, Member("liar", bytes(1_000_000), size_bytes=1, crc32=zlib.crc32(b"\0"))])


def _cut_off() -> bytes:
    return good_zip([Member("data", bytes(range(256)) * 50)])[:-40]


def _damaged() -> bytes:
    return build_zip([*BASE, Member("data", b"the right words", crc32=1)])


def _broken_deflate() -> bytes:
    return build_zip([*BASE, Member("data", b"x" * 100, packed=b"\xff" * 20)])


EVIL: dict[str, Callable[[], bytes]] = {
    "nul": _with(Member("a\0b")),
    "control": _with(Member("a\nb")),
    "escape_sequence": _with(Member("a\x1b[2Jb")),
    "backslash": _with(Member("..\\up")),
    "drive": _with(Member("C:/x")),
    "drive_relative": _with(Member("C:x")),
    "absolute": _with(Member("/etc/passwd")),
    "unc": _with(Member("//host/share")),
    "up": _with(Member("../up")),
    "up_inside": _with(Member("a/../../up")),
    "up_alone": _with(Member("..")),
    "dot": _with(Member("./x")),
    "double_slash": _with(Member("a//b")),
    "empty_name": _with(Member("")),
    "reserved": _with(Member("NUL")),
    "reserved_extension": _with(Member("lib/con.txt")),
    "reserved_port": _with(Member("com1")),
    "trailing_dot": _with(Member("run.sh.")),
    "trailing_space": _with(Member("dir /x")),
    "long_name": _with(Member("x" * 256)),
    "long_path": _with(Member("/".join(["abcdefg"] * 130))),
    "not_utf8": _with(Member(b"\xff\xfe.txt")),
    "case_twin": _with(Member("Run.sh")),
    "case_twin_folder": _with(Member("Lib/a"), Member("lib/b")),
    "nfc_twin": _with(Member("caf\u00e9"), Member("cafe\u0301")),
    "casefold_twin": _with(Member("STRASSE"), Member("stra\u00dfe")),
    "same_twice": _with(Member("run.sh", b"#!/bin/sh\nevil\n", mode=REGULAR)),
    "file_and_folder": _with(Member("x"), Member("x/y")),
    "link": _with(Member("passwd", b"/etc/passwd", mode=LINK)),
    "link_then_file": _with(Member("out", b"/tmp", mode=LINK), Member("out/x", b"x")),
    "device": _with(Member("null", mode=stat.S_IFCHR | 0o666)),
    "block_device": _with(Member("sda", mode=stat.S_IFBLK | 0o666)),
    "pipe": _with(Member("pipe", mode=stat.S_IFIFO | 0o666)),
    "socket": _with(Member("sock", mode=stat.S_IFSOCK | 0o666)),
    "folder_as_file": _with(Member("folder", mode=FOLDER)),
    "file_as_folder": _with(Member("file/", mode=REGULAR)),
    "folder_with_content": _with(Member("folder/", b"x", mode=FOLDER)),
    "encrypted": _with(Member("secret", b"x", flags=0x801)),
    "strongly_encrypted": _with(Member("secret", b"x", flags=0x840)),
    "unknown_method": _with(Member("lzma", b"x", method=14)),
    "overlapping": _overlapping,
    "overlapping_nested": _overlapping_same_name,
    "other_local_name": _with(Member("seen", b"x", local_name=b"hidden")),
    "header_outside": _with(Member("x", b"x", header_offset=2**31)),
    "too_many": _too_many,
    "too_many_hidden": _too_many_hidden,
    "quota": _quota,
    "bomb": _bomb,
    "cut_off": _cut_off,
    "no_zip": lambda: b"this is not a zip, whatever its name says",
    "empty": lambda: b"",
}
"""Refused before anything is unpacked."""

EVIL_CONTENT: dict[str, Callable[[], bytes]] = {"liar": _liar, "damaged": _damaged, "broken_deflate": _broken_deflate}
"""Refused while unpacking, since only the data shows the fault."""

BAD_PACKAGES: dict[str, Callable[[], bytes]] = {
    "no_manifest": lambda: build_zip([BASE[1]]),
    "manifest_in_folder": lambda: build_zip([replace(BASE[0], name="evil-1.0/service.json"), BASE[1]]),
    "manifest_is_folder": lambda: build_zip([Member("service.json/", mode=FOLDER), BASE[1]]),
    "manifest_no_json": lambda: build_zip([Member("service.json", b"{"), BASE[1]]),
    "manifest_too_large": lambda: build_zip([Member("service.json", b" " * 1_048_577, method=STORED), BASE[1]]),
    "manifest_wrong": lambda: good_zip(version="a b"),
    "entrypoint_missing": lambda: good_zip(entrypoint="bin/app"),
    "entrypoint_outside": lambda: good_zip(entrypoint="../../bin/sh"),
    "entrypoint_is_folder": lambda: good_zip([Member("bin/", mode=FOLDER)], entrypoint="bin"),
    "entrypoint_is_parent": lambda: good_zip([Member("bin/x", mode=REGULAR)], entrypoint="bin"),
    "stop_entrypoint_missing": lambda: good_zip(stop_entrypoint="stop.sh"),
}
"""Sound zips that are no packages."""
