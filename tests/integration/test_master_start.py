"""A whole master: first start, setup, the TLS door, the locks, the end. Real sockets, a real data folder."""

import asyncio
import contextlib
import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from ops_system.master.app import open_master
from ops_system.master.config import SCHEMA
from ops_system.master.web.openapi import build_document
from ops_system.master.web.route import Permission
from ops_system.master.web.table import full_path, is_parameter
from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.runtime import config as settings
from tests.fakes.master import PASSWORD, run_master

PROGRAM = Path(sys.executable).with_name("ops-master")


async def test_setup_opens_the_network(tmp_path):
    async with run_master(tmp_path, is_set_up=False) as master, aiohttp.ClientSession() as browser:
        data = tmp_path / "data"
        code = (data / "setup-code").read_text().strip()
        assert code == master.opened.setup_code
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "setup-code").stat().st_mode) == 0o600
        assert master.master.doors.tls_port == 0
        async with browser.get(f"{master.url}/api/v1/setup") as answer:
            assert await answer.json() == {"required": True}
        body = {"code": code, "username": "admin", "password": PASSWORD}
        async with browser.post(f"{master.url}/api/v1/setup", json=body) as answer:
            assert answer.status == 201, await answer.text()
        url = await master.wait_for_tls()
        login = {"username": "admin", "password": PASSWORD}
        async with browser.post(f"{url}/api/v1/login", json=login, ssl=master.tls_context()) as answer:
            assert answer.status == 200
            cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-ops_session=")
        assert "Secure" in cookie
        async with browser.get(f"{url}/health", ssl=master.tls_context()) as answer:
            assert (await answer.json())["status"] == "ok"
            assert "Strict-Transport-Security" not in answer.headers
        assert not (data / "setup-code").exists()


async def test_every_route_refuses_a_stranger_unless_it_is_open(tmp_path):
    async with run_master(tmp_path) as master, aiohttp.ClientSession() as stranger:
        for route in master.master.routes:
            path = "/".join("x" if is_parameter(part) else part for part in full_path(route).split("/"))
            options = {"data": b"{", "headers": {"Content-Type": "text/plain"}} if route.method != "GET" else {}
            async with stranger.request(route.method, master.url + path, **options) as answer:
                told = (answer.status, route.operation_id)
                if route.permission in {Permission.OPEN, Permission.LOOPBACK}:
                    assert answer.status != 401 or path.endswith(("/login", "/setup")), told
                else:
                    assert answer.status == 401, told


OPEN_PATHS = {"/health", "/api/v1/version", "/api/v1/openapi.json", "/api/v1/setup", "/api/v1/login"}


async def test_only_what_the_contract_names_is_open(tmp_path):
    async with run_master(tmp_path) as master:
        is_open = {full_path(route) for route in master.master.routes if route.permission is Permission.OPEN}
        assert {path for path in is_open if not path.startswith("/api/v1/worker/")} == OPEN_PATHS
        assert [full_path(r) for r in master.master.routes if r.permission is Permission.LOOPBACK] == ["/metrics"]


async def test_the_document_describes_every_route(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        document = await api.get("/openapi.json")
        assert document == json.loads(json.dumps(build_document(master.master.routes, document["info"]["version"])))
        count = sum(len(methods) for methods in document["paths"].values())
        assert count == len(master.master.routes)


async def test_a_command_on_the_data_folder_is_seen_at_once(tmp_path):
    async with run_master(tmp_path, is_set_up=False) as master:
        async with master.admin_client("viewer") as api:
            assert (await api.get("/nodes"))["total"] == 0
        await master.create_user("admin")
        await master.wait_for_tls()
        async with aiohttp.ClientSession() as browser, browser.get(f"{master.url}/api/v1/setup") as answer:
            assert await answer.json() == {"required": False}


async def test_denied_attempts_are_audited(tmp_path):
    async with run_master(tmp_path) as master:
        async with (
            master.admin_client("viewer") as api,
            api.session.post(f"{master.url}/api/v1/systems", json={}) as answer,
        ):
            assert answer.status == 403
        async with master.admin_client() as api:
            rows = await api.get("/audit?outcome=denied")
            assert rows["total"] == 1
            assert rows["items"][0]["actor_name"] == "test-viewer"
            assert (await api.get("/audit/verify"))["ok"] is True


async def test_a_second_master_on_the_same_folder_is_refused(tmp_path):
    async with run_master(tmp_path) as master:
        config = master.master.ground.config
        with pytest.raises(SafetyRefusal, match="another master"):
            async with open_master(config):
                pass


async def test_a_store_that_cannot_be_is_refused(tmp_path):
    for key, text in (("provision.store", "etcd"), ("provision.etcd", "10.0.0.1:2379")):
        config = settings.build(SCHEMA, {key: text, "server.data_dir": str(tmp_path / "data")})
        with pytest.raises(UsageError, match=key):
            async with open_master(config):
                pass
    assert not (tmp_path / "data").exists()


async def test_a_taken_tls_port_is_tried_again_and_told_by_health(tmp_path):
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        rival.listen()
        port = rival.getsockname()[1]
        async with run_master(tmp_path, is_set_up=False, server__tls_port=str(port)) as master:
            await master.create_user("admin")
            async with master.admin_client() as api:
                async with asyncio.timeout(20):
                    while (health := await _health(api))["status"] == "ok":  # noqa: ASYNC110 - asked over HTTP
                        await asyncio.sleep(0.05)
        assert f"port {port}" in health["parts"]["listener"]
        config = settings.build(
            SCHEMA,
            {
                "server.port": "0",
                "server.listen": "127.0.0.1",
                "server.tls_port": str(port),
                "server.data_dir": str(tmp_path / "data"),
            },
        )
        with pytest.raises(SafetyRefusal, match=f"port {port}"):  # at a later start nobody is promised anything yet
            async with open_master(config) as master:
                await master.run(lambda _opened: None)


async def _health(api):
    async with api.session.get(f"{api._url}/health") as answer:
        return await answer.json()


def start(folder: Path, *flags: str, **options) -> subprocess.Popen:
    command = [PROGRAM, "-data_dir", folder, "-port", "0", "-tls_port", "0", "-open_browser", "0", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def first_line(program: subprocess.Popen) -> str:
    line = program.stdout.readline()
    assert line, program.stderr.read()
    return line


def test_the_program_stops_on_a_signal_with_stuck_peers(tmp_path):
    program = start(tmp_path / "data")
    try:
        port = int(first_line(program).rsplit(":", 1)[1])
        with contextlib.ExitStack() as peers:
            for head in (
                b"",
                b"GET /health HTT",
                b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            ):
                peer = peers.enter_context(socket.create_connection(("127.0.0.1", port)))
                peer.sendall(head)
            program.terminate()
            assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()


def test_a_port_in_use_is_exit_3_and_named(tmp_path):
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        rival.listen()
        port = rival.getsockname()[1]
        program = start(tmp_path / "data", "-port", str(port))
        _, errors = program.communicate(timeout=30)
    assert program.returncode == 3
    assert f"port {port}" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-prot", "1"], "-port"),
        (["usr", "create", "x"], "user create"),
        (["user", "create", "x", "--role", "king"], "admin"),
        (["user", "create", "x", "--role", "admin"], "password-stdin"),
        (["token", "create", "x"], "-role"),
        (["-config", "missing.yaml"], "missing.yaml"),
        (["-autostart", "1", "-minio_sk", "in-clear"], "-minio_sk=@FILE"),
    ],
)
def test_a_wrong_command_line_is_exit_2_in_one_line(tmp_path, words, said):
    done = subprocess.run([PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_commands_on_the_data_folder(tmp_path):
    def run(*words: str, given: str = "") -> subprocess.CompletedProcess:
        command = [PROGRAM, *words, "-data_dir", tmp_path / "data"]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=30, check=False)

    assert run("user", "create", "ada", "--role", "admin", "--password-stdin", given=PASSWORD + "\n").returncode == 0
    token = run("token", "create", "ci", "--role", "viewer", "--ttl", "90d").stdout
    assert token.startswith("ops_")
    assert len(token.splitlines()) == 1
    join = run("join-token", "create", "--labels", "zone=a,rack=1", "--uses", "2").stdout
    assert join.startswith("opsj1.")
    short = run("user", "create", "bob", "--role", "viewer", "--password-stdin", given="short\n")
    assert short.returncode == 1
    assert "password" in short.stderr
    doctor = run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "database" in doctor.stdout
    (tmp_path / "data").chmod(0o755)
    doctor = run("doctor")
    assert doctor.returncode == 1
    assert "chmod go-rwx" in doctor.stdout
