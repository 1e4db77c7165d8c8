"""What a zip may contain (trust S13) and how its directory reads (APPNOTE.TXT 6.3): pure, on bytes and numbers.

`runtime.archives` feeds it from a file; the pack tool asks the same name rules before it writes.
"""

import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ops_system.model.errors import Invalid

MAX_PROBLEMS = 20
MAX_NAME_BYTES = 1024
MAX_COMPONENT_BYTES = 255
STORED, DEFLATED = 0, 8
END_BYTES = 22 + 65535 + 20 + 56  # end record, longest comment, zip64 locator and record
LOCAL_BYTES = 30

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UTF8, _ENCRYPTED = 0x800, 0x1 | 0x40 | 0x2000
_UNICODE_PATH, _ZIP64 = 0x7075, 0x0001
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])(?:[ .].*)?\Z", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')


class BadArchive(Exception):
    """The bytes are no zip, or a damaged one; the text says where."""


class ArchiveLimits(msgspec.Struct, frozen=True):
    """Upper bounds. The quota counts unpacked bytes; the ratio compares all of them with the file's size."""

    max_entries: int = 20_000
    max_total_bytes: int = 8 * 1024**3
    max_ratio: int = 200
    max_directory_bytes: int = 32 * 1024**2


class Entry(msgspec.Struct, frozen=True):
    """One entry as the central directory describes it. `name` has no trailing slash; sizes are claims, not facts."""

    name: str
    raw_name: bytes
    is_dir: bool
    mode: int  # Unix mode from the external attributes; 0 when there is none
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    size_bytes: int
    header_offset: int

    @property
    def is_executable(self) -> bool:
        """True when any execute bit is set."""
        return bool(self.mode & 0o111)


class Directory(msgspec.Struct, frozen=True):
    """Where the central directory lies. `shift` is what stands before the zip itself (a self-extractor's program)."""

    offset: int
    size_bytes: int
    count: int
    shift: int


def refuse(problems: list[str]) -> Invalid:
    """Return the error for an archive that breaks rules; `details["problems"]` lists the first of them."""
    more = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    shown = problems[:MAX_PROBLEMS] + more
    return Invalid(f"the archive is refused: {'; '.join(shown)}", problems=shown)


def shown_name(name: str) -> str:
    """Return a name as one line of printable text; one from an archive may hold anything."""
    text = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in name)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - enough to recognize it


# --- reading ---------------------------------------------------------------------------------------------------------
def find_directory(tail: bytes, file_bytes: int) -> Directory:
    """Return where the directory lies, from the last `END_BYTES` of the file. Raises BadArchive."""
    position = tail.rfind(b"PK\x05\x06")
    while position >= 0 and not _is_end(tail, position):
        position = tail.rfind(b"PK\x05\x06", 0, position)
    if position < 0:
        raise BadArchive("no zip: the end record is missing, so the file is of another kind or was cut off")
    _, disk, first_disk, _, count, size, offset, _ = _END.unpack_from(tail, position)
    end = file_bytes - len(tail) + position
    if count == _FULL16 or _FULL32 in {size, offset}:
        large = _find_large(tail, position, file_bytes)
        if large is not None:
            count, size, offset, end = large
    if disk != first_disk or size > end or offset > end - size:
        raise BadArchive("no valid zip: the end record points outside the file, or the zip has several volumes")
    return Directory(end - size, size, count, end - size - offset)


def _is_end(tail: bytes, position: int) -> bool:
    """The comment must reach exactly to the end, so that bytes inside a comment are not taken for the record."""
    if position + _END.size > len(tail):
        return False
    comment_bytes = int(_END.unpack_from(tail, position)[7])
    return position + _END.size + comment_bytes == len(tail)


def _find_large(tail: bytes, position: int, file_bytes: int) -> tuple[int, int, int, int] | None:
    """Count, size, offset of the directory and where it ends, by the zip64 records before the end record."""
    locator_at = position - _LOCATOR.size
    if locator_at < 0 or tail[locator_at : locator_at + 4] != b"PK\x06\x07":
        return None
    record_at = locator_at - _END64.size
    if record_at < 0 or tail[record_at : record_at + 4] != b"PK\x06\x06":
        raise BadArchive("no valid zip: the zip64 end record is not where it belongs")
    *_, count, size, offset = _END64.unpack_from(tail, record_at)
    return count, size, offset, file_bytes - len(tail) + record_at


def read_directory(data: bytes, directory: Directory, limits: ArchiveLimits) -> tuple[Entry, ...]:
    """Return all entries of the central directory. Raises BadArchive when it is damaged or holds too many."""
    entries: list[Entry] = []
    position = 0
    while position < len(data):
        if len(entries) >= limits.max_entries:
            raise BadArchive(f"more than {limits.max_entries} entries")
        entry, position = _read_entry(data, position, directory.shift)
        entries.append(entry)
    if len(entries) != directory.count:
        raise BadArchive(f"the end record promises {directory.count} entries, the directory has {len(entries)}")
    return tuple(entries)


def _read_entry(data: bytes, position: int, shift: int) -> tuple[Entry, int]:
    if position + _CENTRAL.size > len(data) or data[position : position + 4] != b"PK\x01\x02":
        raise BadArchive(f"the directory is damaged at its byte {position}")
    fields = _CENTRAL.unpack_from(data, position)
    (_, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length) = fields[:13]
    disk, _, external, offset = fields[13:]
    name_at = position + _CENTRAL.size
    extra_at = name_at + name_length
    following = extra_at + extra_length + comment_length
    if following > len(data):
        raise BadArchive(f"the directory is damaged at its byte {position}")
    raw, extra = data[name_at:extra_at], dict(_extras(data[extra_at : extra_at + extra_length]))
    size, packed, offset = _large_values(extra.get(_ZIP64, b""), size, packed, offset)
    name = _decode_name(raw, flags, extra.get(_UNICODE_PATH, b""))
    if disk not in {0, _FULL16}:
        raise BadArchive(f'"{shown_name(name)}" lies on another volume')
    is_dir = name.endswith("/")
    entry = Entry(
        name=name[:-1] if is_dir else name,
        raw_name=raw,
        is_dir=is_dir,
        mode=external >> 16,
        flags=flags,
        method=method,
        crc32=crc,
        packed_bytes=packed,
        size_bytes=size,
        header_offset=offset + shift,
    )
    return entry, following


def _extras(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


def _large_values(extra: bytes, *values: int) -> tuple[int, int, int]:
    """Replace each value that is all ones by the next 64-bit number of the zip64 extra field."""
    result: list[int] = []
    for value in values:
        if value == _FULL32 and len(extra) >= 8:  # noqa: PLR2004 - one 64-bit number
            result.append(struct.unpack_from("<Q", extra)[0])
            extra = extra[8:]
        else:
            result.append(value)
    return result[0], result[1], result[2]


def _decode_name(raw: bytes, flags: int, unicode_path: bytes) -> str:
    """UTF-8 by flag or extra field; without either UTF-8 where it reads so, else code page 437 as APPNOTE says."""
    if len(unicode_path) > 5 and unicode_path[1:5] == struct.pack("<L", zlib.crc32(raw)):  # noqa: PLR2004 - version, crc
        raw = unicode_path[5:]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise BadArchive(f"the entry name {raw!r} is not UTF-8") from None
        return raw.decode("cp437")


def data_offset(header: bytes, entry: Entry) -> int:
    """Return where the entry's data begins, from its `LOCAL_BYTES` header and name. Raises BadArchive."""
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BadArchive(f'"{shown_name(entry.name)}": its header is missing')
    *_, name_length, extra_length = _LOCAL.unpack_from(header)
    if header[_LOCAL.size : _LOCAL.size + name_length] != entry.raw_name:
        raise BadArchive(f'"{shown_name(entry.name)}": directory and header disagree about its name')
    return int(entry.header_offset + _LOCAL.size + name_length + extra_length)


# --- rules -----------------------------------------------------------------------------------------------------------
def find_name_problem(name: str, *, is_windows: bool = False) -> str:
    """Return why this relative path (slashes, no trailing one) is refused, or nothing."""
    return next(_name_problems(name, is_windows=is_windows), "")


def _name_problems(name: str, *, is_windows: bool) -> Iterator[str]:
    if not name:
        yield "has an empty name"
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
        yield "has NUL, control or surrogate characters in its name"
    if "\\" in name:
        yield "has a backslash in its name; use /"
    if name.startswith("/"):
        yield "is an absolute path"
    if _DRIVE.match(name):
        yield "names a drive"
    if len(name.encode()) > MAX_NAME_BYTES:
        yield f"has a path of more than {MAX_NAME_BYTES} bytes"
    for part in name.split("/"):
        yield from _component_problems(part, is_windows=is_windows)


def _component_problems(part: str, *, is_windows: bool) -> Iterator[str]:
    if part == "..":
        yield "leaves the archive by .."
    elif part in {"", "."}:
        yield "has an empty or . component in its path"
    elif _RESERVED.match(part):
        yield f'uses "{shown_name(part)}", a name that Windows reserves'
    elif part[-1] in ". ":
        yield f'uses "{shown_name(part)}", which ends in a dot or a space'
    elif len(part.encode()) > MAX_COMPONENT_BYTES:
        yield f"has a component of more than {MAX_COMPONENT_BYTES} bytes"
    elif is_windows and _NOT_ON_WINDOWS.search(part):
        yield f'uses "{shown_name(part)}", which Windows cannot store'


def find_entry_problem(entry: Entry, *, is_windows: bool = False) -> str:
    """Return why this entry is refused, or nothing."""
    return next(_entry_problems(entry, is_windows=is_windows), "")


def _entry_problems(entry: Entry, *, is_windows: bool) -> Iterator[str]:
    yield from _name_problems(entry.name, is_windows=is_windows)
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        yield "is a link; store the file it points to"
    elif kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        yield "is a device, pipe or socket"
    elif kind and (kind == stat.S_IFDIR) != entry.is_dir:
        yield "is a folder by its mode and a file by its name, or the reverse"
    if entry.flags & _ENCRYPTED:
        yield "is encrypted"
    if entry.method not in {STORED, DEFLATED}:
        yield f"is compressed by method {entry.method}; only stored and deflated are read"
    if entry.is_dir and entry.size_bytes:
        yield "is a folder with content"


def find_twins(names: Iterable[tuple[str, bool]]) -> list[str]:
    """Return a problem for each name that another one equals on a system without case or with composed letters.

    `names` are pairs of path and is-folder. Folders on the way count: `Lib/a` and `lib/b` are twins, too; so are a
    file `a` and a path below `a`.
    """
    spelled: dict[str, tuple[str, bool]] = {}
    explicit: set[str] = set()
    problems: list[str] = []
    for name, is_dir in names:
        if name in explicit:
            problems.append(f'"{shown_name(name)}": stands twice')
            continue
        explicit.add(name)
        for path, path_is_dir in (*((parent, True) for parent in _parents(name)), (name, is_dir)):
            known, known_is_dir = spelled.setdefault(_twin_key(path), (path, path_is_dir))
            if known != path:
                problems.append(
                    f'"{shown_name(path)}": differs from "{shown_name(known)}" only by case or by composed letters'
                )
                break
            if known_is_dir != path_is_dir:
                problems.append(f'"{shown_name(path)}": is a file and a folder')
                break
    return problems


def _parents(name: str) -> Iterator[str]:
    position = name.find("/")
    while position > 0:
        yield name[:position]
        position = name.find("/", position + 1)


def _twin_key(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def find_sum_problems(entries: Sequence[Entry], file_bytes: int, limits: ArchiveLimits) -> list[str]:
    """Return what is wrong with the archive as a whole: number, size, ratio."""
    problems: list[str] = []
    total = sum(entry.size_bytes for entry in entries)
    if len(entries) > limits.max_entries:
        problems.append(f"$: more than {limits.max_entries} entries")
    if total > limits.max_total_bytes:
        problems.append(f"$: {total} bytes unpacked, more than the {limits.max_total_bytes} allowed")
    if total > limits.max_ratio * max(file_bytes, 1):
        problems.append(f"$: unpacks to more than {limits.max_ratio} times its size")
    return problems


def find_overlaps(spans: Iterable[tuple[int, int, str]], directory_offset: int) -> list[str]:
    """Return a problem for each entry whose bytes (from its header to its data's end) others use as well."""
    problems: list[str] = []
    end_of_last, last = 0, ""
    for start, end, name in sorted(spans):
        if start < end_of_last:
            problems.append(f'"{shown_name(name)}": overlaps "{shown_name(last)}"')
        if end > directory_offset:
            problems.append(f'"{shown_name(name)}": reaches into the directory')
        if end > end_of_last:
            end_of_last, last = end, name
    return problems
