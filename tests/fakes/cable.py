"""A network cable that can be pulled: a namespace of its own for one end, a veth pair, and nft that drops everything.

with Cable() as cable:
    subprocess.Popen([*cable.within, "ops-worker", …])      the far end reaches us at `cable.address`
    cable.pull(); cable.mend()
"""

import secrets
import shutil
import subprocess
from contextlib import ExitStack
from types import TracebackType
from typing import Self

_DROP = """
table inet pulled {
  chain inward { type filter hook input priority 0; policy drop; iif lo accept; }
  chain outward { type filter hook output priority 0; policy drop; oif lo accept; }
}
"""


def is_possible() -> bool:
    """Return whether the tools are here."""
    return shutil.which("ip") is not None and shutil.which("nft") is not None


class Cable:
    """Needs root. Nothing is left of it at the end, whatever happens in between."""

    def __init__(self) -> None:
        number = secrets.randbelow(60_000)
        self.name = f"ops{number}"
        network = f"10.{200 + number // 256 % 50}.{number % 256}"
        self.address = f"{network}.1"
        self._far_address = f"{network}.2"
        self._stack = ExitStack()

    @property
    def within(self) -> list[str]:
        """Put this before a command to run it at the far end."""
        return ["ip", "netns", "exec", self.name]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _run("ip", "netns", "add", self.name)
            stack.callback(_run, "ip", "netns", "delete", self.name)  # takes both ends of the pair with it
            near, far = f"{self.name}n", f"{self.name}f"
            _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
            _run("ip", "address", "add", f"{self.address}/24", "dev", near)
            _run("ip", "link", "set", near, "up")
            _run(*self.within, "ip", "address", "add", f"{self._far_address}/24", "dev", far)
            _run(*self.within, "ip", "link", "set", far, "up")
            _run(*self.within, "ip", "link", "set", "lo", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def pull(self) -> None:
        """Let no packet through, without a word to either end."""
        _run(*self.within, "nft", "-f", "-", stdin=_DROP)

    def mend(self) -> None:
        """Let everything through again."""
        _run(*self.within, "nft", "delete", "table", "inet", "pulled")


def _run(*command: str, stdin: str = "") -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, input=stdin)
