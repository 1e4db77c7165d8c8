"""A stop ends a role within ten seconds whoever hangs on it (R20): programs of their own, peers that do nothing."""

import asyncio
import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_system.model.instances import State
from tests.fakes.fleet import PASSWORD, PROGRAMS, Fleet, free_port, pack, until
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import SLEEPER, make_zip
from tests.fakes.wishes import wish

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 30.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stops by signals")


@contextlib.contextmanager
def frozen_solid(program: subprocess.Popen) -> Iterator[None]:
    """A peer that keeps its connections open and says nothing more."""
    program.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        program.send_signal(signal.SIGCONT)


def connect(port: int) -> socket.socket:
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    peer.settimeout(30)
    return peer


def request_of(fleet: Fleet, method: str, path: str, *headers: str) -> bytes:
    lines = [
        f"{method} /api/v1{path} HTTP/1.1",
        f"Host: 127.0.0.1:{fleet.port}",
        f"Authorization: Bearer {fleet.token}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def watch_and_never_read(fleet: Fleet, path: str) -> socket.socket:
    """Open a WebSocket and stop reading behind its first bytes."""
    viewer = connect(fleet.port)
    key = f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}"
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
    viewer.sendall(request_of(fleet, "GET", path, *upgrade))
    assert b"101" in viewer.recv(64)
    return viewer


def subscribe(viewer: socket.socket, text: bytes) -> None:
    assert len(text) < 126
    viewer.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)


def test_a_master_stops_with_stuck_viewers_an_upload_a_handshake_and_a_silent_worker(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "ada", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        until(lambda: is_open(fleet.tls_port), "the TLS listener is open")
        node_id = fleet.start_worker("w1")
        package = fleet.upload(pack(ROOT / "examples/http-service", tmp_path / "http.zip"))
        instance = fleet.deploy(package, node_id, ports={"http": free_port()})
        with contextlib.ExitStack() as stuck:
            live = stuck.enter_context(watch_and_never_read(fleet, "/live"))
            subscribe(live, b'{"subscribe": ["nodes", "instances", "operations"]}')
            stuck.enter_context(watch_and_never_read(fleet, f"/instances/{instance['id']}/logs/stdout/follow"))
            upload = stuck.enter_context(connect(fleet.port))
            upload.sendall(
                request_of(fleet, "POST", "/packages", "Content-Type: application/zip", "Content-Length: 9999")
            )
            upload.sendall(b"PK")
            shaking = stuck.enter_context(connect(fleet.tls_port))
            stuck.enter_context(frozen_solid(fleet.programs["w1"]))
            master = fleet.programs.pop("master")
            master.terminate()
            assert master.wait(WITHIN_S) == 0, fleet.log("master")
            assert shaking.recv(1) == b""
        fleet.start_master()
        until(lambda: fleet.get(f"/nodes/{node_id}")["linked"], "the worker is back")


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_a_worker_stops_with_a_silent_master_and_a_stuck_reader(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start_master()
        fleet.start_worker("w1")
        with connect(fleet._worker_ports["w1"]) as reader:
            reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
            with frozen_solid(fleet.programs["master"]):
                worker = fleet.programs.pop("w1")
                worker.terminate()
                assert worker.wait(WITHIN_S) == 0, fleet.log("w1")


async def test_a_worker_stops_in_the_middle_of_a_download(tmp_path):
    master = MastersEnd(tmp_path)
    await master.start()
    master.gate = asyncio.Event()
    token = tmp_path / "token"
    token.write_text(master.join_token)
    flags = ["-work_dir", str(tmp_path / "w"), "-port", "0", "-token", f"@{token}", "-name", "n1"]
    worker = await asyncio.create_subprocess_exec(PROGRAMS / "ops-worker", "-master", master.url, *flags)
    try:
        await master.until(lambda: master.snapshots)
        archive = make_zip({"run.sh": SLEEPER, "blob": os.urandom(3_000_000)})
        master.apply(wish(package=master.add_package("web", "1.0.0", archive)))
        await master.until(lambda: master.ranges)
        worker.terminate()
        async with asyncio.timeout(WITHIN_S):
            assert await worker.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        master.gate.set()
        await master.stop()
    reports = [report.state for report in master.report_log]
    assert State.RUNNING not in reports
    assert not list((tmp_path / "w/versions").rglob("run.sh"))
