"""A machine of metal that is none: QEMU without acceleration, its console, its power switch, a counter at its disks.

with Metal(folder, "SN1", cable=UserNet("http://192.0.2.1:8081/boot.ipxe")) as metal:
    metal.power_on()
    metal.console.wait_for("login:")
    metal.written_bytes("DISK1")
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

Firmware = Literal["bios", "uefi"]
QEMU = "qemu-system-x86_64"
OVMF_CODE, OVMF_VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
USER_NET_HOST = "192.0.2.1"
"""What this machine's 127.0.0.1 is called in user-mode networks."""
MIB = 1024 * 1024
IN_MEMORY = Path("/dev/shm")


def why_not(firmware: Firmware = "bios") -> str:
    """Return why no machine can be switched on here, empty when one can."""
    if not sys.platform.startswith("linux"):
        return "machines are switched on on Linux only"
    if shutil.which(QEMU) is None:
        return f"not installed: {QEMU}"
    return "" if firmware == "bios" or OVMF_CODE.exists() else "not installed: ovmf"


class UserNet(NamedTuple):
    """A network inside QEMU: its own DHCP says `boot_file`; no root, nothing of it on the wire."""

    boot_file: str = ""
    forwards: tuple[tuple[int, int], ...] = ()  # port of 127.0.0.1 here, port of the machine

    def words(self) -> str:
        """Return what follows `-netdev`."""
        start = f"user,id=n0,net=192.0.2.0/24,host={USER_NET_HOST},dhcpstart=192.0.2.100"
        boot = f",bootfile={self.boot_file}" if self.boot_file else ""
        return start + boot + "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in self.forwards)

    within: tuple[str, ...] = ()


class Tap(NamedTuple):
    """A card on a real segment (tests/fakes/lab.py)."""

    interface: str
    within: tuple[str, ...]  # put before the command: `ip netns exec …`

    def words(self) -> str:
        """Return what follows `-netdev`."""
        return f"tap,id=n0,ifname={self.interface},script=no,downscript=no"


class Disk(NamedTuple):
    """A disk: its file is made sparse and empty when it is not there."""

    serial: str
    size_mib: int = 1024
    boots: bool = True  # whether the firmware looks at it; the operating system sees the disks in the order given


def disk_place(size_mib: int) -> Path | None:
    """Return where disks of that size are kept in memory; None where that has no room for twice as much.

    What machines flush to a file on a real disk, every other test of this computer waits for.
    """
    if not IN_MEMORY.is_dir() or shutil.disk_usage(IN_MEMORY).free < 2 * size_mib * MIB:
        return None
    return IN_MEMORY


class Console:
    """What the machine wrote to its serial port, read as it comes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def text(self) -> str:
        """Return everything since the last `mark`."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.read_bytes()[self._mark :].decode(errors="replace")
        return ""

    def mark(self) -> None:
        """Forget what was written until now."""
        self._mark = self.path.stat().st_size if self.path.exists() else 0

    def wait_for(self, *words: str, within_s: float = 120.0) -> str:
        """Wait until one of `words` was written since the mark; return it."""
        deadline = time.monotonic() + within_s
        while True:
            text = self.text()
            if found := next((word for word in words if word in text), None):
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"the machine did not write {words} within {within_s:.0f} s:\n{text[-4000:]}")
            time.sleep(0.1)


class Metal:
    """One machine. Its console log and firmware settings are in `folder`, its disks in memory: power cuts leave both.

    Its card brings iPXE, as QEMU's cards do; without (`has_ipxe`) it boots by what its firmware has itself.
    """

    def __init__(
        self,
        folder: Path,
        sn: str,
        *,
        cable: UserNet | Tap,
        firmware: Firmware = "bios",
        disks: Sequence[Disk] = (Disk("DISK1"),),
        mac: str = "52:54:00:00:00:01",
        memory_mib: int = 768,
        has_ipxe: bool = True,
    ) -> None:
        self.folder = folder / sn
        self.sn = sn
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, sn))
        self.mac = mac
        self.folder.mkdir(parents=True)
        place = disk_place(sum(disk.size_mib for disk in disks)) or self.folder
        self._kept = tempfile.TemporaryDirectory(dir=place, prefix="ops-metal-")
        self.disks = {disk.serial: Path(self._kept.name, f"{disk.serial}.raw") for disk in disks}
        self._boots = [disk.serial for disk in disks if disk.boots]
        self.console = Console(self.folder / "console.log")
        self._cable, self._firmware, self._memory_mib, self._has_ipxe = cable, firmware, memory_mib, has_ipxe
        self._process: subprocess.Popen[bytes] | None = None
        for disk in disks:
            with self.disks[disk.serial].open("wb") as file:
                file.truncate(disk.size_mib * MIB)
        if firmware == "uefi":
            shutil.copyfile(OVMF_VARS, self.folder / "vars.fd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()
        self._kept.cleanup()

    # --- power -------------------------------------------------------------------------------------------------------
    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    def power_on(self, first: Literal["network", "disk"] | None = None) -> None:
        """Switch on. `first` is where the firmware looks first: a BIOS to the network, UEFI to the disk unless told."""
        assert not self.is_on, f"{self.sn} is on already"
        first = first or ("network" if self._firmware == "bios" else "disk")
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._cable.within, *self._command(first)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self._answer()  # QMP greets
        self._qmp("qmp_capabilities")

    def cut_power(self) -> None:
        """Pull the plug."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()
        self._process = None

    def reset(self) -> None:
        """Press the reset button."""
        self._qmp("system_reset")

    def kill_programs(self) -> None:
        """Have its Linux end every program but process 1 as `kill -9` does: the magic SysRq key and `i`.

        The kernel allows it when it was started with `sysrq_always_enabled`.
        """
        keys = [{"type": "qcode", "data": key} for key in ("alt", "sysrq", "i")]
        self._qmp("send-key", {"keys": keys})

    def wait_off(self, within_s: float = 60.0) -> None:
        """Wait until the machine has switched itself off."""
        assert self._process is not None
        self._process.wait(within_s)
        self.cut_power()

    def _command(self, first: str) -> Iterable[str]:
        boot = {"network": (1, 2), "disk": (9, 1)}[first]
        yield from (QEMU, "-machine", "q35,accel=tcg,graphics=off", "-cpu", "qemu64", "-m", str(self._memory_mib))
        yield from ("-smbios", f"type=1,serial={self.sn},uuid={self.uuid}", "-display", "none", "-qmp", "stdio")
        yield from ("-chardev", f"file,id=console,path={self.console.path},append=on", "-serial", "chardev:console")
        yield from ("-netdev", self._cable.words(), "-object", "rng-random,id=rng,filename=/dev/urandom")
        yield from ("-device", "virtio-rng-pci,rng=rng")
        card = f"virtio-net-pci,netdev=n0,mac={self.mac},bootindex={boot[0]}"
        yield from ("-device", card if self._has_ipxe else f"{card},romfile=")
        for serial, path in self.disks.items():
            place = f",bootindex={boot[1] + self._boots.index(serial)}" if serial in self._boots else ""
            yield from ("-drive", f"file={path},if=none,id={serial},format=raw,discard=unmap")
            yield from ("-device", f"virtio-blk-pci,drive={serial},serial={serial}{place}")
        if self._firmware == "uefi":
            yield from ("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}")
            yield from ("-drive", f"if=pflash,format=raw,unit=1,file={self.folder / 'vars.fd'}")

    # --- looked at from outside --------------------------------------------------------------------------------------
    def written_bytes(self, serial: str) -> int:
        """Return how many bytes were written to a disk since the machine was switched on, as the disk counts them."""
        for device in self._qmp("query-blockstats"):
            if device.get("device") == serial:
                return int(device["stats"]["wr_bytes"])
        raise AssertionError(f"{self.sn} has no disk {serial}")

    def _qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        order = {"execute": command, "arguments": arguments or {}}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        while True:
            answer = self._answer()
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, f"{command}: {answer}"

    def _answer(self) -> dict[str, Any]:
        """Return QEMU's next message; events come between answers."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise AssertionError(f"QEMU of {self.sn} ended: {(self.folder / 'qemu.log').read_text(errors='replace')}")
        return dict(json.loads(line))
