"""A machine that is played (`--mode simulate`): the same steps and the same calls; disk, programs and restart differ.

Its disk is a sparse file below a folder: images are really streamed, hashed, written and read back. Programs that want
a kernel's block devices (mkfs, mdadm, lvm, mount, chroot) are named in the log and not run. Its new system is a folder.
At the restart it plays the call home: it enrols with the token it was given, as a worker would, and starts none.
"""

import base64
import hashlib
import http.client
import logging
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ops_system import __version__
from ops_system.installer.guard import Guard
from ops_system.installer.hands import LineOut, run_program
from ops_system.installer.inventory import Inventory
from ops_system.installer.system import inside, put_file
from ops_system.model.disk_plan import Command
from ops_system.model.machines import DiskInfo, Hardware, NicInfo
from ops_system.model.nodes import Fingerprint
from ops_system.model.system_files import WORKER_CONFIG, TextFile

_log = logging.getLogger(__name__)
DISK_BYTES = 8 * 1024**3
_MEMORY_BYTES = 16 * 1024**3
_ON_FILES = frozenset({"wipefs", "sfdisk"})
_TOKEN_PARTS = 4
_CALL_TIMEOUT_S = 20.0
_MADE = 300  # the first status that is no success


class _Enrol(msgspec.Struct, frozen=True):
    """Body of POST /api/v1/worker/enrol."""

    token_id: str
    token_secret: str
    public_key: str
    name: str
    labels: dict[str, str]
    fingerprint: Fingerprint
    worker_version: str


def made_mac(sn: str) -> str:
    """Return a locally administered address that this serial number always gets."""
    digits = "02" + hashlib.sha256(sn.encode()).hexdigest()[:10]
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


class SimulatedHands:
    """A machine out of a folder. `disks` sparse files of `disk_bytes` each."""

    is_simulated = True
    memory_limit_bytes = 64 * 1024**2

    def __init__(self, sn: str, folder: Path, *, mac: str = "", disks: int = 1, disk_bytes: int = DISK_BYTES) -> None:
        self.sn, self.mac, self.folder, self.target = sn, mac or made_mac(sn), folder, folder / "system"
        self._has_fixed_mac = bool(mac)
        self._disk_bytes = disk_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._disks = [f"sd{chr(ord('a') + number)}" for number in range(disks)]
        for name in self._disks:
            with (folder / f"{name}.disk").open("ab") as file:
                file.truncate(disk_bytes)

    def inventory(self) -> Inventory:
        """See `Hands`."""
        hardware = Hardware(
            vendor="ops-system",
            product="simulated machine",
            cpu_model="played",
            cpu_sockets=1,
            cpu_cores=4,
            cpu_threads=8,
            mem_total_bytes=_MEMORY_BYTES,
            disks=tuple(
                DiskInfo(name, self._disk_bytes, serial=f"{self.sn}-{name}", model="file") for name in self._disks
            ),
            nics=(NicInfo("eth0", self.mac, "played", 1000, has_link=True),),
        )
        digits = hashlib.sha256(self.sn.encode()).hexdigest()
        uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
        return Inventory(self.sn, uuid, self.mac, hardware)

    def device(self, name: str) -> Path:
        """See `Hands`."""
        return self.folder / f"{Path(name).name}.disk"

    def partitions(self, device: str) -> list[str]:
        """See `Hands`: the kernel knows none inside a file."""
        del device
        return []

    def run(self, command: Command, guard: Guard, say: LineOut) -> str:
        """See `Hands`. What works on files is run, the rest is named."""
        guard.check()
        if command.argv[0] not in _ON_FILES:
            say("(played) $ " + " ".join(command.argv))
            return ""
        argv = tuple(str(self.device(word)) if word.startswith("/dev/") else word for word in command.argv)
        return run_program(msgspec.structs.replace(command, argv=argv), guard.check, say)

    def open_system(self, device: str, guard: Guard, say: LineOut) -> str:
        """See `Hands`: a folder stands for the new system."""
        guard.check()
        put_file(self.target, TextFile("/etc/os-release", "NAME=simulated\n"))
        put_file(self.target, TextFile("/usr/lib/systemd/systemd-networkd"))
        say(f"(played) the system of {device} is {self.target}")
        return "played"

    def release(self, say: LineOut) -> None:
        """See `Hands`: nothing is mounted."""
        del say

    def start_kernel(self, carried: Path) -> None:
        """See `Hands`: no kernel is started; the last command of its installer is played."""
        _log.info("%s: (played) the installer's kernel starts", self.sn)
        if carried.is_dir():
            shutil.copytree(carried, self.target, symlinks=True, dirs_exist_ok=True)

    def take_mac(self, mac: str) -> bool:
        """See `Hands`: it has the card its task names, unless one was given with `--mac`."""
        if not mac or mac == self.mac or self._has_fixed_mac:
            return False
        self.mac = mac
        return True

    def start_again(self) -> None:
        """See `Hands`: the new system calls home."""
        token = inside(self.target, f"{WORKER_CONFIG}/token")
        settings = inside(self.target, f"{WORKER_CONFIG}/worker.yaml")
        if not token.exists():
            return
        try:
            said = call_home(settings.read_text(encoding="utf-8"), token.read_text(encoding="utf-8"), self)
        except (OSError, http.client.HTTPException, ImportError) as problem:
            said = f"it could not: {problem}"
        _log.info("%s: call home: %s", self.sn, said)


def call_home(settings: str, token: str, hands: SimulatedHands) -> str:
    """Enrol as the worker in the new system would; return what the master said. Raises OSError, ImportError.

    Only to `http://` addresses: what a master's own authority signed is the worker's to check, and no worker is here.
    """
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in settings.splitlines()}
    parts = urlsplit(msgspec.json.decode(found["master_url"], type=str))
    words = token.strip().split(".")
    if parts.scheme != "http" or len(words) != _TOKEN_PARTS:
        return f"not played to {parts.scheme}://{parts.netloc}"
    labels = msgspec.json.decode(found["labels"], type=dict[str, str])
    name = msgspec.json.decode(found["name"], type=str)
    body = _Enrol(words[2], words[3], _new_public_key(), name, labels, _fingerprint(hands), __version__)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_CALL_TIMEOUT_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/worker/enrol", body=msgspec.json.encode(body), headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        return "joined" if answer.status < _MADE else f"refused: {text[:200]}"
    finally:
        connection.close()


def _new_public_key() -> str:
    """A key that nobody keeps: this node never connects. Raises ImportError in the small executable."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def _fingerprint(hands: SimulatedHands) -> Fingerprint:
    return Fingerprint(
        hostname=hands.sn,
        os="linux",
        arch="amd64",
        platform="simulated",
        kernel="simulated",
        boot_id=os.urandom(16).hex(),
        machine_id=hashlib.sha256(hands.sn.encode()).hexdigest()[:32],
        cpu_model="played",
        cpu_cores=4,
        mem_total_bytes=_MEMORY_BYTES,
        macs=(hands.mac,),
    )
