"""TFTP as boot loaders see it: a kernel's worth of bytes over loopback, ours and Debian's atftpd, the same client.

One block at a time (curl, 1428 bytes) and in windows (atftp, 16 blocks of 1428). Each in turn, median of the rounds.
Also what one DHCP question costs the regional client, without the wire.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ops_system.regional.dhcp.packet import NOWHERE, Message, pack
from ops_system.regional.dhcp.questions import boot_answer
from ops_system.regional.dhcp.rules import Arrival, handle
from ops_system.regional.tftp.server import TftpServer
from ops_system.regional.tftp.sources import BootRoot
from tests.bench.measure import cpu_seconds, emit, median
from tests.fakes.dhcp import FILES, PXE, Site
from tests.fakes.ports import free_port

SIZE_BYTES, ROUNDS, QUESTIONS = 16 * 1024 * 1024, 5, 5000
WITHIN_S = 30.0


def serve(port: int, root: Path) -> None:
    """Run our server alone, as a region does; a line on stdout says when it listens."""

    async def run() -> None:
        server = TftpServer("127.0.0.1", port, BootRoot(root))
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run())
            await server.ready.wait()
            print("ready", flush=True)

    asyncio.run(run())


@contextlib.contextmanager
def process(*command: str | Path, says_ready: bool = False) -> Iterator[int]:
    """Run a server beside the block; give its pid."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert child.stdout is not None
        if says_ready:
            child.stdout.readline()
        yield child.pid
    finally:
        child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def by_curl(port: int, target: Path) -> None:
    """Fetch one block at a time."""
    run("curl", "-sf", "--tftp-blksize", "1428", "-o", target, f"tftp://127.0.0.1:{port}/kernel")


def in_windows(port: int, target: Path) -> None:
    """Fetch 16 blocks at a time."""
    words = ("--option", "blksize 1428", "--option", "windowsize 16")
    run("atftp", "-g", *words, "-r", "kernel", "-l", target, "127.0.0.1", str(port))


def run(*command: str | Path) -> None:
    """Run a client to its end."""
    subprocess.run(command, check=True, capture_output=True, timeout=WITHIN_S)


def took_s(fetch: Callable[[int, Path], None], port: int, target: Path) -> float:
    """Fetch once and check that every byte came."""
    target.unlink(missing_ok=True)
    began_s = time.perf_counter()
    fetch(port, target)
    spent_s = time.perf_counter() - began_s
    assert target.stat().st_size == SIZE_BYTES
    return spent_s


def compare(root: Path, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    """Measure both servers (port, pid) in turn: bytes a second, and what they cost in CPU."""
    for name, fetch in (("TFTP block by block", by_curl), ("TFTP in windows of 16", in_windows)):
        spent: dict[int, list[float]] = {ours[0]: [], theirs[0]: []}
        before = [cpu_seconds([pid]) for _, pid in (ours, theirs)]
        for _ in range(ROUNDS):
            for port, rounds in spent.items():
                rounds.append(took_s(fetch, port, root / "got"))
        cpu = [cpu_seconds([pid]) - was for (_, pid), was in zip((ours, theirs), before, strict=True)]
        own, peer = (SIZE_BYTES / 1e6 / median(spent[port]) for port, _ in (ours, theirs))
        cost = {"cpu_s": round(cpu[0] / ROUNDS, 3), "peer_cpu_s": round(cpu[1] / ROUNDS, 3)}
        emit(f"{name}, ours", own, "MB/s", peer=round(peer, 1), ratio=round(own / peer, 2), **cost)


def question_cost() -> None:
    """Measure one DISCOVER of a boot ROM from bytes to bytes."""
    site = Site()
    site.answers = lambda question: boot_answer(question, FILES)
    options = {53: b"\x01", **PXE}
    data = pack(Message(op=1, xid=1, chaddr=bytes.fromhex("525400000001"), options=options), 1472)
    began_s = time.perf_counter()
    for _ in range(QUESTIONS):
        handle(site.config, site.book, site.answers, Arrival(data, NOWHERE, 68, 67, 0.0))
    emit("DHCP question, bytes to bytes", (time.perf_counter() - began_s) / QUESTIONS * 1e6, "us")


def main() -> int:
    """Run all, or only our server for one of the rounds."""
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), Path(sys.argv[3]))
        return 0
    question_cost()
    if missing := [name for name in ("atftpd", "atftp", "curl") if shutil.which(name) is None]:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "kernel").write_bytes(os.urandom(SIZE_BYTES))
        ours, theirs = free_port(), free_port()
        own = (sys.executable, "-m", "tests.bench.bench_netboot", "serve", str(ours), root)
        peer = ("atftpd", "--daemon", "--no-fork", "--bind-address", "127.0.0.1", "--port", str(theirs), root)
        with process(*own, says_ready=True) as own_pid, process(*peer) as peer_pid:
            time.sleep(0.5)  # atftpd does not say when it listens
            compare(root, (ours, own_pid), (theirs, peer_pid))
    return 0


if __name__ == "__main__":
    sys.exit(main())
