"""An Ethernet segment for network boot: a bridge on this machine, and namespaces as the machines plugged into it.

with Segment() as segment:
    box = segment.plug("52:54:00:00:00:01")      a namespace with `eth0`; the server binds to `segment.bridge`
    box.run("busybox", "udhcpc", …); with box.inside(): socket.socket(…)
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_CLONE_NEWNET = 0x40000000
_DROP = """
table netdev {table} {{
  chain weather {{
    type filter hook ingress device {card} priority 0;
    {which} numgen random mod 100 < {percent} drop;
  }}
}}
"""
# Dropped where packets come in: one that is dropped where it goes out is an error for its sender, not a loss.


def needs(*programs: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test that makes namespaces and runs `programs` in them."""
    missing = [name for name in ("ip", *programs) if shutil.which(name) is None]
    cannot = not sys.platform.startswith("linux") or os.geteuid() != 0 or bool(missing)
    reason = f"makes network namespaces as root; not here: {', '.join(missing) or 'the rights'}"
    return [pytest.mark.root, pytest.mark.skipif(cannot, reason=reason)]


class Box:
    """A machine on the segment: a namespace with one card, `eth0`."""

    def __init__(self, name: str, near: str) -> None:
        self.name = name
        self.near = near  # the bridge's end of its cable

    def command(self, *command: str | Path) -> list[str]:
        """Return a command as it runs in here."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command: str | Path, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever it is."""
        return subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout_s, check=False)

    def give(self, address: str) -> None:
        """Set an address, as `192.0.2.5/24`."""
        run("ip", "-n", self.name, "address", "add", address, "dev", "eth0")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make what this thread opens belong to this machine: sockets stay what they are afterwards."""
        with Path("/proc/self/ns/net").open("rb") as home, Path("/run/netns", self.name).open("rb") as away:
            _enter(away.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


class Segment:
    """Needs root. Nothing is left of it at the end, whatever happens in between."""

    def __init__(self, *, ipv6: bool = False) -> None:
        number = secrets.randbelow(12_800)
        self.name = f"opsg{number}"
        self.bridge = f"{self.name}b"
        self.network = IPv4Network(f"10.{100 + number // 256}.{number % 256}.0/24")
        self.address = self.network.network_address + 1
        self._ipv6 = ipv6
        self._boxes = 0
        self._stack = ExitStack()

    def host(self, last: int) -> IPv4Address:
        """Return an address of this segment."""
        return self.network.network_address + last

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            run("ip", "link", "add", self.bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
            stack.callback(run, "ip", "link", "delete", self.bridge)
            self._quiet(self.bridge, "")
            run("ip", "address", "add", f"{self.address}/24", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def plug(self, mac: str) -> Box:
        """Plug a machine in."""
        self._boxes += 1
        near = f"{self.name}p{self._boxes}"
        box = Box(f"{self.name}n{self._boxes}", near)
        run("ip", "netns", "add", box.name)
        self._stack.callback(run, "ip", "netns", "delete", box.name)
        run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", box.name)
        run("ip", "link", "set", near, "master", self.bridge)
        run("ip", "-n", box.name, "link", "set", "eth0", "address", mac)
        self._quiet("eth0", box.name)
        for interface in ("lo", "eth0"):
            run("ip", "-n", box.name, "link", "set", interface, "up")
        run("ip", "link", "set", near, "up")
        return box

    def tap(self) -> str:
        """Return a new card of this machine on the segment, for QEMU."""
        self._boxes += 1
        name = f"{self.name}t{self._boxes}"
        run("ip", "tuntap", "add", name, "mode", "tap")
        self._stack.callback(run, "ip", "link", "delete", name)
        self._quiet(name, "")
        run("ip", "link", "set", name, "master", self.bridge, "up")
        return name

    def lose(self, box: Box, percent: int, which: str = "meta l4proto udp") -> None:
        """Lose so many of a hundred packets between `box` and the rest, both ways, once. `which`: in nft's words."""
        for within, card in (([], box.near), (box.command(), "eth0")):
            rules = _DROP.format(table=box.near, card=card, percent=percent, which=which)
            run(*within, "nft", "-f", "-", stdin=rules)
        self._stack.callback(run, "nft", "delete", "table", "netdev", box.near)

    def _quiet(self, interface: str, namespace: str) -> None:
        """No IPv6 where nobody asks for it; where it is, without the second that finds doubled addresses."""
        within = ["ip", "netns", "exec", namespace] if namespace else []
        key = f"net.ipv6.conf.{interface}.{'accept_dad' if self._ipv6 else 'disable_ipv6'}"
        run(*within, "sysctl", "-qw", f"{key}={0 if self._ipv6 else 1}")


@contextlib.contextmanager
def dnsmasq(box: Box, folder: Path, *arguments: str) -> Iterator[None]:
    """Run dnsmasq on a machine of the segment."""
    files = (f"--pid-file={folder}/dnsmasq.pid", f"--dhcp-leasefile={folder}/dnsmasq.leases", "--conf-file=/dev/null")
    command = box.command("dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", *files, *arguments)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def rival(segment: Segment, folder: Path) -> Iterator[None]:
    """Run a DHCP server at `.2` that gives addresses (`.200` to `.210`) and knows nothing of booting."""
    box = segment.plug("52:54:00:00:00:ff")
    box.give(f"{segment.host(2)}/24")
    span = f"--dhcp-range={segment.host(200)},{segment.host(210)},1h"
    with dnsmasq(box, folder, span, "--dhcp-authoritative", "--no-ping"):
        yield


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def run(*command: str, stdin: str = "") -> None:
    """Run a command that must work; what it says stands in the error."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
