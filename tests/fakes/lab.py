"""A segment of its own for machines without an operating system: a namespace, a bridge in it, a card for each machine.

This machine hangs on the segment too (`.254`), where a master may listen; nothing is routed any further. Needs root.

with Lab() as lab:
    region = subprocess.Popen([*lab.within, "ops-regional", …])     # the segment's `.1`
    metal = Metal(folder, "SN1", cable=lab.tap())
"""

import os
import secrets
import shutil
import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.fakes.qemu import Tap


def why_not() -> str:
    """Return why there can be no such segment here, empty when there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a network namespace needs root on Linux"
    if shutil.which("ip") is None:
        return "not installed: iproute2"
    probe = f"opsp{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True)
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True)
    return "" if made.returncode == 0 else f"no network namespaces: {made.stderr.decode().strip()}"


class Lab:
    """Nothing is left of it at the end, whatever happens in between."""

    def __init__(self) -> None:
        number = secrets.randbelow(12_000)
        self.name = f"lab{number}"
        self.network = f"10.{150 + number // 256}.{number % 256}"
        self.interface = "br0"
        self.region_address = f"{self.network}.1"
        self.address = f"{self.network}.254"
        self._taps = 0
        self._stack = ExitStack()

    @property
    def within(self) -> tuple[str, ...]:
        """Put this before a command to run it on the segment, where the region is."""
        return ("ip", "netns", "exec", self.name)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _run("ip", "netns", "add", self.name)
            stack.callback(_run, "ip", "netns", "delete", self.name)  # takes the bridge, the taps and both ends along
            near, far = f"{self.name}n", f"{self.name}f"
            self._inside("link", "set", "lo", "up")
            self._inside("link", "add", self.interface, "type", "bridge", "forward_delay", "0", "stp_state", "0")
            self._inside("address", "add", f"{self.region_address}/24", "dev", self.interface)
            self._inside("link", "set", self.interface, "up")
            _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
            self._inside("link", "set", far, "master", self.interface, "up")
            _run("ip", "address", "add", f"{self.address}/24", "dev", near)
            _run("ip", "link", "set", near, "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tap(self) -> Tap:
        """Return a new socket of the segment for one machine."""
        name = f"tap{self._taps}"
        self._taps += 1
        self._inside("tuntap", "add", name, "mode", "tap")
        self._inside("link", "set", name, "master", self.interface, "up")
        return Tap(name, self.within)

    def _inside(self, *words: str) -> None:
        _run("ip", "-netns", self.name, *words)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
