"""The Protocol of a fingerprint probe, the choice of the right one, and what all systems share."""

import contextlib
import hashlib
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil

from ops_system.model.nodes import Disk, Fingerprint

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LISTINGS = 5  # of the network interfaces, when they change while they are listed
_DOCUMENTATION_ADDRESS = ("192.0.2.1", 9)  # RFC 5737: routed like any other, reaches nobody


class Probe(Protocol):
    """What differs by system. Every answer is empty rather than an error where the system does not tell."""

    def platform(self) -> str:
        """Return the name and version a person knows, e.g. "Debian GNU/Linux 12 (bookworm)"."""

    def kernel(self) -> str:
        """Return the kernel's release."""

    def boot_id(self) -> str:
        """Return a string that is another one after each boot."""

    def machine_id(self) -> str:
        """Return the system's own stable id, not yet hashed."""

    def cpu_model(self) -> str:
        """Return the processor's name."""

    def disks(self) -> tuple[Disk, ...]:
        """Return the mounted file systems with the device below, where known."""


def local_probe() -> Probe:
    """Return the probe of the system this runs on."""
    if sys.platform == "win32":
        from ops_system.worker.fingerprint.windows import WindowsProbe

        return WindowsProbe()
    if sys.platform == "darwin":
        from ops_system.worker.fingerprint.darwin import DarwinProbe

        return DarwinProbe()
    from ops_system.worker.fingerprint.linux import LinuxProbe

    return LinuxProbe()


def read_fingerprint(probe: Probe, master_url: str = "") -> Fingerprint:
    """Return what this machine is. The address that leads to `master_url` comes first in `ips`."""
    return Fingerprint(
        hostname=socket.gethostname(),
        os=os_name(),
        arch=arch_name(),
        platform=probe.platform(),
        kernel=probe.kernel(),
        boot_id=probe.boot_id(),
        machine_id=hash_machine_id(probe.machine_id()),
        cpu_model=probe.cpu_model(),
        cpu_cores=psutil.cpu_count() or 1,
        mem_total_bytes=psutil.virtual_memory().total,
        macs=_macs(),
        ips=_ips(primary_ip(master_url)),
        disks=probe.disks(),
        boot_time_s=psutil.boot_time(),
    )


def os_name() -> str:
    """Return `linux`, `windows` or `darwin`."""
    return {"win32": "windows", "darwin": "darwin"}.get(sys.platform, "linux")


def arch_name() -> str:
    """Return `amd64`, `arm64`, or what the system calls it."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def hash_machine_id(machine_id: str) -> str:
    """Return the id that leaves this machine: machine-id(5) asks not to show the original to a network."""
    if not machine_id:
        return ""
    return hashlib.sha256(b"ops-machine-v1\n" + machine_id.strip().encode()).hexdigest()[:32]


def primary_ip(master_url: str) -> str:
    """Return the local address from which packets to the master leave, empty where there is no route.

    Connecting a datagram socket only asks the routing table; nothing is sent.
    """
    parts = urlsplit(master_url)
    targets = [(parts.hostname, parts.port or 443)] if parts.hostname else []
    for host, port in [*targets, _DOCUMENTATION_ADDRESS]:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.connect((host, port))
                address = str(asking.getsockname()[0])
        except OSError:
            continue
        if not address.startswith("127."):
            return address
    return ""


def _interfaces() -> Mapping[str, Sequence[Any]]:
    """Return the addresses of each network interface. Windows cannot list them while one comes or goes."""
    for _ in range(_LISTINGS):
        with contextlib.suppress(RuntimeError):
            return psutil.net_if_addrs()
    return psutil.net_if_addrs()


def _ips(primary: str) -> tuple[str, ...]:
    found = [
        address.address.partition("%")[0]
        for addresses in _interfaces().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    others = [ip for ip in found if ip != primary and not ip.startswith(("127.", "::1", "fe80:", "169.254."))]
    return ((primary, *others) if primary else tuple(others)) or ("127.0.0.1",)


def _macs() -> tuple[str, ...]:
    found = {
        address.address.lower().replace("-", ":")
        for name, addresses in _interfaces().items()
        for address in addresses
        if address.family == psutil.AF_LINK and not name.startswith(("veth", "docker", "br-", "ifb"))
    }
    return tuple(sorted(mac for mac in found if mac.strip("0:")))
