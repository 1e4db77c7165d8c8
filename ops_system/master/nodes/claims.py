"""What a worker says of its machine, brought within bounds before it is kept. Pure; called by the nodes service."""

import math

import msgspec

from ops_system.model.nodes import BootService, Disk, Fingerprint

MAX_WORD = 256
MAX_ITEMS = 128
MAX_NUMBER = 2**53  # beyond it JSON readers disagree


def bound_fingerprint(seen: Fingerprint) -> Fingerprint:
    """Return the fingerprint with every word and list cut and every number one that JSON can carry."""
    return msgspec.structs.replace(
        seen,
        **{name: value[:MAX_WORD] for name, value in msgspec.structs.asdict(seen).items() if isinstance(value, str)},
        cpu_cores=bound_number(seen.cpu_cores),
        mem_total_bytes=bound_number(seen.mem_total_bytes),
        macs=_bound_words(seen.macs),
        ips=_bound_words(seen.ips),
        disks=tuple(bound_disk(disk) for disk in seen.disks[:MAX_ITEMS]),
        boot_time_s=seen.boot_time_s if math.isfinite(seen.boot_time_s) else 0.0,
        boot_service=_bound_boot_service(seen.boot_service),
    )


def bound_disk(disk: Disk) -> Disk:
    """Return the disk with its words cut."""
    return msgspec.structs.replace(
        disk,
        **{name: value[:MAX_WORD] for name, value in msgspec.structs.asdict(disk).items() if isinstance(value, str)},
        size_bytes=bound_number(disk.size_bytes),
    )


def bound_word(word: str) -> str:
    """Return the word, cut."""
    return word[:MAX_WORD]


def bound_number(number: int) -> int:
    """Return the count, never below zero and never more than JSON readers agree on."""
    return min(max(number, 0), MAX_NUMBER)


def _bound_boot_service(seen: BootService | None) -> BootService | None:
    if seen is None:
        return None
    return msgspec.structs.replace(seen, unit=bound_word(seen.unit), path=bound_word(seen.path))


def _bound_words(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word[:MAX_WORD] for word in words[:MAX_ITEMS])
