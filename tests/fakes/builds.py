"""Frozen executables of other versions, made from one build in a moment: only the constants of a module change.

The build's archive of modules (PyInstaller's PYZ: a table of offsets, each module zlib on marshal) is rewritten in place;
a change must keep the length of the text it replaces.
"""

import hashlib
import importlib.util
import io
import marshal
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from types import CodeType
from typing import Any

_GZIP = b"\x1f\x8b\x08"
_HEADER_BYTES = 12  # "PYZ\0", Python's magic number, where the table is


def make_version(build: Path, product: Path, scratch: Path, version: str, **constants: tuple[str, Any, Any]) -> Path:
    """Return an executable like `build` that calls itself `version`.

    `constants`: further changes, (module, old constant, new constant) each.
    """
    if scratch.exists():
        shutil.rmtree(scratch)
    text = build.read_bytes()
    head, payload = text[: (at := text.index(_GZIP, text.index(b"\nexec ")))], text[at:]
    with tarfile.open(fileobj=io.BytesIO(payload), mode="r:gz") as tar:
        safely = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}  # Debian 12's 3.11.2 has none
        tar.extractall(scratch, **safely)
    program = scratch / "worker"
    data = bytearray(program.read_bytes())
    running = importlib.import_module("ops_system").__version__
    for module, old, new in (("ops_system", running, version), *constants.values()):
        _change(data, module, old, new)
    program.write_bytes(data)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(scratch, ".")
    own = b"id='worker-" + hashlib.sha256(data).hexdigest()[:16].encode() + b"'"
    product.write_bytes(re.sub(rb"id='worker-[0-9a-f]+'", own, head) + packed.getvalue())
    product.chmod(0o755)
    return product


def _change(data: bytearray, module: str, old: Any, new: Any) -> None:
    start = data.index(b"PYZ\0" + importlib.util.MAGIC_NUMBER)
    table_at = int.from_bytes(data[start + 8 : start + _HEADER_BYTES], "big")
    table = dict(marshal.loads(data[start + table_at :]))
    _, offset, length = table[module]
    at = start + offset
    code = marshal.loads(zlib.decompress(data[at : at + length]))
    packed = zlib.compress(marshal.dumps(_replaced(code, old, new)), 9)
    assert len(packed) <= length, f"{module} with {new!r} is longer than before; try another value"
    data[at : at + length] = packed.ljust(length, b"\0")  # zlib stops at the end of its stream


def _replaced(code: CodeType, old: Any, new: Any) -> CodeType:
    assert any(type(one) is type(old) and one == old for one in code.co_consts), f"{old!r} is not in {code.co_filename}"
    consts = tuple(new if type(one) is type(old) and one == old else one for one in code.co_consts)
    return code.replace(co_consts=consts)
