"""The pure part of `windows`: numbers of the Windows API and how its answers read. Importable everywhere."""

import struct
from collections.abc import Iterable, Mapping

from ops_system.model.errors import Invalid
from ops_system.processes.base import Exit

CREATE_SUSPENDED = 0x00000004
CREATE_NEW_PROCESS_GROUP = 0x00000200
CREATE_NO_WINDOW = 0x08000000
DETACHED_PROCESS = 0x00000008
CTRL_BREAK_EVENT = 1

_EXCEPTIONS = {
    0xC000013A: "CTRL_C_EXIT",
    0xC0000005: "ACCESS_VIOLATION",
    0xC00000FD: "STACK_OVERFLOW",
    0xC0000409: "STACK_BUFFER_OVERRUN",
    0xC0000142: "DLL_INIT_FAILED",
}
KILLED = 0xE0F50009  # the exit code given to what we terminate, so that a kill reads as a kill

_POLITE = frozenset({"SIGTERM", "SIGINT", "SIGBREAK", "SIGQUIT", "SIGHUP"})
_HEAD = struct.Struct("<II")
_TIME_OF_DAY = struct.Struct("<qqqIIqq")
_BATCH = (".bat", ".cmd")
_BATCH_MEANINGS = frozenset('&|<>^%!"\r\n')


def exit_of_code(code: int) -> Exit:
    """Read an exit code: our own kill and the well-known exceptions are told by name."""
    code &= 0xFFFFFFFF
    if code == KILLED:
        return Exit(signal="SIGKILL")
    if code in _EXCEPTIONS:
        return Exit(signal=_EXCEPTIONS[code])
    return Exit(code=code)


def is_polite(name: str) -> bool:
    """True for signals that become Ctrl-Break: Windows knows no other way to ask a process group to end."""
    return name in _POLITE


def parse_pid_list(data: bytes, pointer_bytes: int = 8) -> tuple[int, tuple[int, ...]]:
    """Read JOBOBJECT_BASIC_PROCESS_ID_LIST: (processes assigned, the pids that fitted)."""
    assigned, listed = _HEAD.unpack_from(data)
    form = "<%dQ" if pointer_bytes == 8 else "<%dI"  # noqa: PLR2004 - ULONG_PTR of 64-bit Windows
    return assigned, struct.unpack_from(form % listed, data, _HEAD.size)


def filetime(low: int, high: int) -> int:
    """Join a FILETIME: 100 ns ticks since 1601, which with the pid names a process for ever."""
    return (high << 32) | low


def boot_id_of(time_of_day: bytes) -> str:
    """Read SYSTEM_TIMEOFDAY_INFORMATION: the moment of the boot by the clock as it was then.

    BootTime moves when the clock is set, BootTimeBias by as much; their difference stays.
    """
    boot, _, _, _, _, bias, _ = _TIME_OF_DAY.unpack_from(time_of_day)
    return f"boot-{boot - bias:x}"


def job_name(instance_id: str) -> str:
    """Return the name by which a restarted worker opens the instance's job again. `Global`: also from a service."""
    return f"Global\\ops-system-instance-{instance_id}"


def descendants(root: int, parents: Mapping[int, int], ages: Mapping[int, int]) -> set[int]:
    """Return `root` and all below it. `parents`: pid -> parent's pid; `ages`: pid -> start time.

    A parent's number may have gone to another process meanwhile: one that is younger than its child is no parent.
    """
    found = {root}
    fresh = {root}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh and _may_be_child(pid, parent, ages)} - found
        found |= fresh
    return found


def _may_be_child(pid: int, parent: int, ages: Mapping[int, int]) -> bool:
    return pid in ages and parent in ages and ages[parent] <= ages[pid]


def check_batch(argv: Iterable[str]) -> None:
    """Refuse arguments that cmd.exe would take for its own words. Raises Invalid.

    Windows runs batch files through cmd.exe, for which there is no safe quoting (CVE-2024-24576 tells of it).
    """
    program, *arguments = argv
    if not program.lower().endswith(_BATCH):
        return
    for argument in arguments:
        if found := sorted(_BATCH_MEANINGS & set(argument)):
            raise Invalid(
                f'"{argument}" cannot be handed to a batch file: cmd.exe gives {" ".join(map(repr, found))} a meaning; '
                "pass it by an environment variable or a config file"
            )
