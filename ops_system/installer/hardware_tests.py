"""The tests of a machine's parts: memory by patterns, disks by reading every byte, cards by link and error counters.

Nothing is ever written to a disk here.
"""

import mmap
from collections.abc import Callable
from pathlib import Path

from ops_system.installer import parsers
from ops_system.installer.direct import BLOCK_BYTES, DirectFile, make_buffer
from ops_system.installer.guard import Halt

Told = Callable[[int, int], None]
_PATTERNS = (b"\x00", b"\xff", b"\xaa", b"\x55")
_CHUNK_BYTES = 16 * 1024 * 1024
_SHARE = 0.6  # of the free memory: the agent and its programs live in the rest
_COUNTERS = ("rx_errors", "tx_errors", "rx_crc_errors", "tx_carrier_errors")


def try_memory(
    check: Callable[[], None], tell: Told, *, meminfo: Path = Path("/proc/meminfo"), limit_bytes: int = 0
) -> str:
    """Write patterns to free memory and read them back. Raises Halt with the first place that differs."""
    free = parsers.memory_bytes(meminfo.read_text(encoding="ascii"), "MemAvailable")
    wanted = min(int(free * _SHARE), limit_bytes or free) // _CHUNK_BYTES * _CHUNK_BYTES
    total, done = wanted * len(_PATTERNS), 0
    with mmap.mmap(-1, max(wanted, _CHUNK_BYTES)) as memory:
        for pattern in _PATTERNS:
            expected = pattern * _CHUNK_BYTES
            for place in range(0, len(memory), _CHUNK_BYTES):
                memory[place : place + _CHUNK_BYTES] = expected
            for place in range(0, len(memory), _CHUNK_BYTES):
                check()
                if memory[place : place + _CHUNK_BYTES] != expected:
                    raise Halt("memory_bad", f"memory does not keep {pattern.hex()} at byte {place} of {len(memory)}")
                done += _CHUNK_BYTES
                tell(min(done, total), total)
    return f"{wanted} bytes with {len(_PATTERNS)} patterns"


def try_disk(path: Path, check: Callable[[], None], tell: Told) -> str:
    """Read every byte of a disk. Raises Halt with the first place that cannot be read."""
    buffer = make_buffer()
    with DirectFile(path, is_writing=False) as disk:
        for offset in range(0, disk.size_bytes, BLOCK_BYTES):
            check()
            try:
                got = disk.read(buffer, offset)
            except OSError as problem:
                raise Halt("disk_bad", f"{path} cannot be read at byte {offset}: {problem.strerror}") from problem
            tell(offset + got, disk.size_bytes)
        return f"{path}: {disk.size_bytes} bytes read"


def try_nics(root: Path = Path("/")) -> str:
    """Look at every real card. Raises Halt when none has a link, or one counts errors."""
    words, has_link = [], False
    for card in sorted((root / "sys/class/net").iterdir()):
        if not (card / "device").exists():
            continue
        counted = {name: parsers.speed_mbps(_read(card / "statistics" / name)) for name in _COUNTERS}
        bad = {name: count for name, count in counted.items() if count}
        if bad:
            raise Halt("nic_bad", f"{card.name} counts {', '.join(f'{count} {name}' for name, count in bad.items())}")
        is_up = _read(card / "carrier") == "1"
        has_link = has_link or is_up
        words.append(f"{card.name} {'has a link' if is_up else 'has no link'}")
    if not has_link:
        raise Halt("nic_bad", f"no card has a link: {', '.join(words) or 'there is none'}")
    return ", ".join(words)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
