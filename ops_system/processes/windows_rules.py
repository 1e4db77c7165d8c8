"""The pure part of `windows`: numbers of the Windows API and how its answers read. Importable everywhere."""

import struct

from ops_system.processes.base import Exit

CREATE_SUSPENDED = 0x00000004
CREATE_NEW_PROCESS_GROUP = 0x00000200
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
