"""A bcryptprimitives.dll for Wine 8, which has none: code written in Rust asks it for random numbers.

The file holds no code. Its one export, ProcessPrng, is forwarded to RtlGenRandom (advapi32, SystemFunction036), which
takes the same first two arguments. Only the test lane uses it. Source: "PE Format" (Microsoft), PE32+.
"""

import struct

_EXPORT_RVA = 0x1000
_FILE_ALIGNMENT, _SECTION_ALIGNMENT = 0x200, 0x1000
_AMD64, _PE32_PLUS, _GUI = 0x8664, 0x20B, 2
_EXECUTABLE_IMAGE, _LARGE_ADDRESS_AWARE, _DLL = 0x0002, 0x0020, 0x2000
_DYNAMIC_BASE, _NX_COMPATIBLE = 0x0040, 0x0100
_INITIALIZED_READABLE = 0x40000040
_IMAGE_BASE = 0x180000000
_DOS_BYTES, _DIRECTORIES = 0x40, 16


def make_forwarder(name: str, export: str, target: str) -> bytes:
    """Return a 64-bit DLL called `name` whose only export is `target` ("dll.function") of another one."""
    exports = _exports(name, export, target)
    headers = _headers(len(exports))
    return headers.ljust(_FILE_ALIGNMENT, b"\0") + exports.ljust(_FILE_ALIGNMENT, b"\0")


def _exports(name: str, export: str, target: str) -> bytes:
    """Return the export section: directory, three tables of one entry, strings. It must fit into one file block."""
    tables = _EXPORT_RVA + 40
    strings = tables + 10
    texts = [text.encode() + b"\0" for text in (name, export, target)]
    name_at, export_at = strings, strings + len(texts[0])
    target_at = export_at + len(texts[1])
    directory = struct.pack("<IIHHIIIIIII", 0, 0, 0, 0, name_at, 1, 1, 1, tables, tables + 4, tables + 8)
    section = directory + struct.pack("<IIH", target_at, export_at, 0) + b"".join(texts)
    assert len(section) <= _FILE_ALIGNMENT
    return section


def _headers(export_bytes: int) -> bytes:
    directories = struct.pack("<II", _EXPORT_RVA, export_bytes) + bytes(8 * (_DIRECTORIES - 1))
    optional = _optional_header() + directories
    dos = b"MZ".ljust(_DOS_BYTES - 4, b"\0") + struct.pack("<I", _DOS_BYTES)
    flags = _EXECUTABLE_IMAGE | _LARGE_ADDRESS_AWARE | _DLL
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", _AMD64, 1, 0, 0, 0, len(optional), flags)
    sizes = (export_bytes, _EXPORT_RVA, _FILE_ALIGNMENT, _FILE_ALIGNMENT)
    section = struct.pack("<8sIIIIIIHHI", b".edata", *sizes, 0, 0, 0, 0, _INITIALIZED_READABLE)
    return dos + coff + optional + section


def _optional_header() -> bytes:
    standard = struct.pack("<HBBIIIII", _PE32_PLUS, 1, 0, 0, _FILE_ALIGNMENT, 0, 0, _EXPORT_RVA)
    image = struct.pack("<QII", _IMAGE_BASE, _SECTION_ALIGNMENT, _FILE_ALIGNMENT)
    versions = struct.pack("<HHHHHHI", 10, 0, 0, 0, 6, 0, 0)
    sizes = struct.pack("<III", 2 * _SECTION_ALIGNMENT, _FILE_ALIGNMENT, 0)
    kind = struct.pack("<HH", _GUI, _DYNAMIC_BASE | _NX_COMPATIBLE)
    stack_and_heap = struct.pack("<QQQQII", 0x100000, 0x1000, 0x100000, 0x1000, 0, _DIRECTORIES)
    return standard + image + versions + sizes + kind + stack_and_heap
