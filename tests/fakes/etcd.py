"""Debian's etcd, started on free ports in a folder of the test; one member or several."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.ports import free_port

READY_WITHIN_S = 30.0
NEEDS_ETCD = pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd-server is not installed")


@dataclass
class Member:
    """One etcd process."""

    name: str
    folder: Path
    client_port: int
    peer_port: int
    options: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None  # how to reach it by https; None: by http
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        """Where other members reach it."""
        return f"http://127.0.0.1:{self.peer_port}"

    def start(self, cluster: str) -> None:
        """Start the process; it goes on with what is in its folder."""
        words = ["etcd", "--name", self.name, "--data-dir", str(self.folder / self.name), "--log-level", "error"]
        words += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        words += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        words += ["--initial-cluster", cluster, "--initial-cluster-state", "new", *self.options]
        log = (self.folder / f"{self.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_ready(self) -> None:
        """Return when it serves."""
        until_s = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=READY_WITHIN_S, context=self.tls):
                    return
            except OSError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.05)  # another program's start sends no event


def make_members(
    folder: Path, count: int, options: tuple[str, ...] = (), tls: ssl.SSLContext | None = None
) -> list[Member]:
    """Return members that are not started yet, on fresh ports."""
    return [Member(f"m{number}", folder, free_port(), free_port(), options, tls) for number in range(count)]


def words_of(members: list[Member]) -> str:
    """Return the cluster as each member is told it."""
    return ",".join(f"{member.name}={member.peer_url}" for member in members)


@contextlib.asynccontextmanager
async def run_etcd(
    folder: Path, members: int = 1, options: tuple[str, ...] = (), tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[Member]]:
    """Run a cluster on fresh ports. With `tls` its clients come by https; `options` name its certificate."""
    cluster = make_members(folder, members, options, tls)
    words = words_of(cluster)
    try:
        for member in cluster:
            await asyncio.to_thread(member.start, words)
        for member in cluster:
            await asyncio.to_thread(member.wait_ready)
        yield cluster
    finally:
        for member in cluster:
            await asyncio.to_thread(member.kill)
