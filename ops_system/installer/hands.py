"""What touches the machine: programs, devices, the restart. `simulate` has other hands that touch a folder instead."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from ops_system.installer.guard import Guard, Halt
from ops_system.installer.inventory import Inventory, partitions_of, probe_device, read_inventory
from ops_system.installer.parsers import blkid_value
from ops_system.model.disk_plan import TARGET, Command
from ops_system.service.surroundings import clean_environment

_log = logging.getLogger(__name__)
_MOUNTABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs"})
_LOOK_S = 0.2  # how often the guard is asked while a program runs
LineOut = Callable[[str], None]


class Hands(Protocol):
    """The only parts of the work that know whether the machine is real."""

    is_simulated: bool
    target: Path
    memory_limit_bytes: int  # of the memory test; 0: as much as is free

    def inventory(self) -> Inventory:
        """Return who and what the machine is now."""

    def device(self, name: str) -> Path:
        """Return where a device (`/dev/sda`) is."""

    def partitions(self, device: str) -> list[str]:
        """Return the device names of a disk's partitions, as they are now."""

    def run(self, command: Command, guard: Guard, say: LineOut) -> str:
        """Run a program to its end; return what it printed. Raises Halt when it fails or may not go on."""

    def open_system(self, device: str, guard: Guard, say: LineOut) -> str:
        """Mount the system that lies on a disk at `target`; return what was found. Raises Halt."""

    def release(self, say: LineOut) -> None:
        """Unmount whatever is mounted at `target`, after a failure; the guard is not asked: nothing is destroyed."""

    def start_kernel(self, carried: Path) -> None:
        """Start the kernel that was loaded; a real machine does not come back from here, or raises Halt.

        A played one plays its installer, which puts what was `carried` into the new system.
        """

    def take_mac(self, mac: str) -> bool:
        """Be the machine with this card, where that is a matter of choice; whether something changed by that."""

    def start_again(self) -> None:
        """The machine restarts from its disk; a played one plays what its new system does then."""


class RealHands:
    """This machine."""

    is_simulated = False
    memory_limit_bytes = 0

    def __init__(self, *, sn: str = "", mac: str = "", target: Path = Path(TARGET)) -> None:
        self._sn, self._mac, self.target = sn, mac, target

    def inventory(self) -> Inventory:
        """See `Hands`."""
        return read_inventory(sn=self._sn, mac=self._mac)

    def device(self, name: str) -> Path:
        """See `Hands`."""
        return Path(name)

    def partitions(self, device: str) -> list[str]:
        """See `Hands`."""
        return [f"/dev/{name}" for name in partitions_of(Path(device).name)]

    def open_system(self, device: str, guard: Guard, say: LineOut) -> str:
        """See `Hands`. The first partition, of those that can be mounted, that holds etc/os-release."""
        self.target.mkdir(parents=True, exist_ok=True)
        for part in self.partitions(device) or [device]:
            kind = blkid_value(probe_device(part), "TYPE")
            if kind not in _MOUNTABLE:
                continue
            self.run(Command(("mount", "-t", kind, part, str(self.target))), guard, say)
            if (self.target / "etc/os-release").exists() or (self.target / "usr/lib/os-release").exists():
                return f"{part} ({kind})"
            self.run(Command(("umount", str(self.target))), guard, say)
        raise Halt("no_system", f"no partition of {device} holds /etc/os-release in a file system known here")

    def run(self, command: Command, guard: Guard, say: LineOut) -> str:
        """See `Hands`."""
        return run_program(command, guard.check, say)

    def release(self, say: LineOut) -> None:
        """See `Hands`."""
        if self.target.is_mount():
            run_program(Command(("umount", "--recursive", str(self.target))), lambda: None, say)

    def start_kernel(self, carried: Path) -> None:
        """See `Hands`: kexec(8)."""
        del carried  # lies in the installer's memory already
        run_program(Command(("sync",)), lambda: None, _log.info)
        run_program(Command(("kexec", "-e")), lambda: None, _log.info)
        raise Halt("kexec_failed", "the installer's kernel was loaded and did not start")

    def take_mac(self, mac: str) -> bool:
        """See `Hands`: a real card has its address."""
        del mac
        return False

    def start_again(self) -> None:
        """See `Hands`: whoever started this process restarts the machine."""


def run_program(command: Command, check: Callable[[], None], say: LineOut, *, folder: Path | None = None) -> str:
    """Run a program with its output as lines of the log; end it, and all it started, when `check` raises.

    Raises Halt for a program that is missing or fails; its last lines are the reason.
    """
    say("$ " + " ".join(command.argv))
    try:
        process = subprocess.Popen(
            command.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, cwd=folder, env={**clean_environment(os.environ), "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as problem:
        raise Halt("program_missing", f"{command.argv[0]} cannot be started: {problem.strerror}") from problem
    lines: list[str] = []
    assert process.stdin is not None
    assert process.stdout is not None
    reader = threading.Thread(target=_read_lines, args=(process.stdout, lines, say), name="output", daemon=True)
    reader.start()
    try:
        _feed(process.stdin, command.stdin.encode())
        while _is_running(process):
            check()
    finally:
        _end(process)
        reader.join()
        process.stdout.close()
    if process.returncode not in command.fine:
        words = "; ".join(lines[-3:]) or "it says nothing"
        raise Halt("program_failed", f"{command.argv[0]} ended with {process.returncode}: {words}")
    return "\n".join(lines)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _read_lines(stream: IO[bytes], lines: list[str], say: LineOut) -> None:
    for raw in stream:
        text = raw.decode(errors="replace").rstrip()
        if text:
            lines.append(text)
            say(text)


def _feed(stdin: IO[bytes], text: bytes) -> None:
    try:
        stdin.write(text)
        stdin.close()
    except BrokenPipeError:
        _log.debug("the program did not read its input")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of a program: its whole process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
