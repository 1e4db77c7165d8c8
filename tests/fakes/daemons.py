"""Daemons nobody here started: they fork twice, write a PID file, have a child, and note each start in an effect log."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ops_system.processes import procfs

PR_SET_CHILD_SUBREAPER = 36
SOURCE = """\
import os, signal, sys, time
home, name = sys.argv[1:3]
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGHUP, lambda *_: open(home + "/reloaded", "a").write("x"))
if os.fork() == 0:
    signal.pause()
    while True:
        signal.pause()
with open(home + "/starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
with open(home + "/daemon.pid.new", "w") as file:
    file.write(f"{os.getpid()}\\n")
os.rename(home + "/daemon.pid.new", home + "/daemon.pid")
while True:
    signal.pause()
"""


@contextlib.contextmanager
def no_subreaper() -> Iterator[None]:
    """Let orphans go to init for a while, as they do when a stranger starts a daemon; a supervisor took them in."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Daemon:
    """One daemon and its folder. `name` stands in its command line."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        home.mkdir(parents=True, exist_ok=True)
        self.script = home / "daemon.py"
        self.script.write_text(SOURCE)

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-S", "-E", str(self.script), str(self.home), self.name)

    @property
    def pid_file(self) -> Path:
        return self.home / "daemon.pid"

    @property
    def starts(self) -> list[int]:
        """The pids of all its starts, the oldest first."""
        try:
            return [int(line) for line in (self.home / "starts").read_text().split()]
        except FileNotFoundError:
            return []

    @property
    def pid(self) -> int:
        return self.starts[-1]

    def start(self) -> int:
        """Start it as an administrator would; return its pid."""
        before = len(self.starts)
        with no_subreaper():
            subprocess.run(self.command, check=True, cwd="/", env={"PATH": os.environ["PATH"]})
            self._wait_for_start(before)
        return self.pid

    def _wait_for_start(self, before: int) -> None:
        while len(self.starts) == before or not self.pid_file.exists() or int(self.pid_file.read_text()) != self.pid:
            pass

    def processes(self) -> list[int]:
        """The living processes of the daemon."""
        return [
            pid
            for pid, row in procfs.read_table().items()
            if not row.is_dead and str(self.home) in procfs.read_argv(pid) and self.name in procfs.read_argv(pid)
        ]

    def kill_all(self) -> None:
        """End whatever a test left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
