"""Debian's nginx and MariaDB, started as an administrator would, come into care and are let go again."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops_system.processes import procfs
from tests.fakes import debian
from tests.fakes.daemons import no_subreaper
from tests.fakes.master import Api, RunningMaster, run_master
from tests.fakes.worker import running_worker, worker_config
from tests.integration.test_takeover_http import Desk, is_alive, open_desk
from tests.integration.test_worker_master import can_connect, free_port, until, until_state

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no Debian packages here")


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def api(master: RunningMaster) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


@pytest.fixture
async def desk(master: RunningMaster, api: Api, tmp_path: Path) -> AsyncIterator[Desk]:
    async with running_worker(worker_config(tmp_path / "w", master.url, await master.create_join_token())):
        yield await open_desk(api)


def processes_below(folder: Path, program: str) -> dict[int, int]:
    """Return pid and parent of the living processes that run this program of the folder."""
    found = {}
    for pid, row in procfs.read_table().items():
        try:
            executable = Path(f"/proc/{pid}/exe").readlink()
        except OSError:
            continue
        if not row.is_dead and executable.is_relative_to(folder) and executable.name == program:
            found[pid] = row.ppid
    return found


def kill_below(folder: Path) -> None:
    for pid in procfs.read_table():
        if any(word.startswith(str(folder)) for word in procfs.read_argv(pid)):
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
    for program in ("nginx", "mariadbd"):
        for pid in processes_below(folder, program):
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own they may not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "soft")
        kill_below(Path(folder))


async def test_nginx_is_taken_over_reloaded_restarted_after_a_kill_and_let_go(desk: Desk, scratch: Path) -> None:
    port = free_port()
    nginx = await asyncio.to_thread(lambda: debian.daemon_nginx(scratch, port=port))
    with no_subreaper():
        await asyncio.to_thread(lambda: subprocess.run([nginx / "bin/start"], check=True))
    await until(lambda: asyncio.to_thread(can_connect, port), bool)
    tree = await until(lambda: asyncio.to_thread(processes_below, nginx, "nginx"), lambda tree: len(tree) == 3)
    pid = int((nginx / "run/nginx.pid").read_text())
    body = {
        "node_id": desk.node_id,
        "system_id": desk.system_id,
        "name": "nginx",
        "pid_strategy": "pidfile",
        "pid_file": str(nginx / "run/nginx.pid"),
        "executable": str(nginx / "bin/nginx"),
        "uid": os.geteuid(),
        "start_command": [str(nginx / "bin/start")],
        "reload_command": str(nginx / "bin/reload"),
        "log_paths": {"Access Log": str(nginx / "logs/access.log")},
        "health": {"type": "http", "target": "http://127.0.0.1:${port.http}/", "interval": "1s"},
        "ports": {"http": port},
        "stop": {"signal": "SIGQUIT"},
        "restart": {"delay": "0s"},
    }
    made = await desk.api.post("/instances/adopt", body)
    assert (await desk.ended(made))["state"] == "succeeded"
    path = f"/instances/{made['instance']['id']}"
    instance = await desk.api.get(path)
    assert (instance["pid"], instance["health"]) == (pid, "healthy")
    assert processes_below(nginx, "nginx") == tree

    (nginx / "new").mkdir()
    (nginx / "new/index.html").write_text("after the reload")
    config = nginx / "conf/nginx.conf"
    config.write_text(config.read_text().replace("root html;", "root new;"))
    assert (await desk.api.post(f"{path}/reload"))["exit_code"] == 0
    await until(lambda: asyncio.to_thread(page, port), lambda text: text == "after the reload")
    assert (await desk.api.get(path))["pid"] == pid

    workers = set(processes_below(nginx, "nginx")) - {pid}
    os.kill(pid, signal.SIGKILL)
    again = await until(lambda: desk.api.get(path), lambda one: one["pid"] not in {None, pid})
    await until_state(desk.api, instance["id"], "running")
    assert not any(is_alive(worker) for worker in workers)
    await until(lambda: asyncio.to_thread(processes_below, nginx, "nginx"), lambda tree: len(tree) == 3)
    assert page(port) == "after the reload"
    lines = await desk.api.get(f"{path}/logs/Access%20Log?tail=5")
    assert any("GET / HTTP" in line["text"] for line in lines["lines"])

    assert (await desk.ended(await desk.api.post(f"{path}/release")))["state"] == "succeeded"
    assert is_alive(again["pid"])
    name = {"pid_strategy": "match", "process_name": "nginx", "executable": str(nginx / "bin/nginx")}
    shown = await desk.api.post(f"/nodes/{desk.node_id}/match", name)
    assert (shown["leader"]["pid"], len(shown["tree"])) == (again["pid"], 2)
    assert {port["port"] for port in shown["leader"]["ports"]} == {port}
    back = await desk.api.post("/instances/adopt", {**body, **name, "pid_file": ""})
    assert (await desk.ended(back))["state"] == "succeeded"
    ended = await desk.ended(await desk.api.delete(f"/instances/{back['instance']['id']}?stop=1"))
    assert ended["state"] == "succeeded"
    assert processes_below(nginx, "nginx") == {}
    assert not can_connect(port)


@pytest.mark.long
async def test_mariadb_is_taken_over_stopped_and_started_by_its_own_scripts(desk: Desk, scratch: Path) -> None:
    port = free_port()
    database = await asyncio.to_thread(lambda: debian.mariadb(scratch, port=port))
    with no_subreaper():
        start = f"setsid {database}/bin/start >/dev/null 2>&1 </dev/null &"
        await asyncio.to_thread(lambda: subprocess.run(["/bin/sh", "-c", start], check=True))
        await until(lambda: asyncio.to_thread(can_connect, port), bool, timeout_s=40)
    (pid,) = processes_below(scratch, "mariadbd")
    body = {
        "node_id": desk.node_id,
        "system_id": desk.system_id,
        "name": "mariadb",
        "pid_strategy": "pidfile",
        "pid_file": f"{database}/run/mariadb.pid",
        "start_command": [f"{database}/bin/start"],
        "stop_command": [f"{database}/bin/stop"],
        "health": {"type": "tcp", "target": f"127.0.0.1:{port}", "interval": "1s"},
        "restart": {"delay": "4s"},
        "stop": {"timeout": "30s"},
    }
    made = await desk.api.post("/instances/adopt", body)
    assert (await desk.ended(made))["state"] == "succeeded"
    path = f"/instances/{made['instance']['id']}"
    assert (await desk.api.get(path))["pid"] == pid

    os.kill(pid, signal.SIGKILL)  # its own mysqld_safe starts it again, and we start no second one
    await until_state(desk.api, made["instance"]["id"], "backoff")
    again = await until(
        lambda: desk.api.get(path), lambda one: one["state"] == "running" and one["pid"] not in {None, pid}, 40.0
    )
    assert list(processes_below(scratch, "mariadbd")) == [again["pid"]]

    assert (await desk.ended(await desk.api.post(f"{path}/stop")))["state"] == "succeeded"
    assert processes_below(scratch, "mariadbd") == {}
    assert (await desk.ended(await desk.api.post(f"{path}/start")))["state"] == "succeeded"
    (pid,) = processes_below(scratch, "mariadbd")
    assert (await desk.api.get(path))["pid"] == pid
    assert (await desk.ended(await desk.api.post(f"{path}/release")))["state"] == "succeeded"
    assert is_alive(pid)
    assert can_connect(port)


@pytest.mark.skipif(shutil.which("javac") is None, reason="no Java here")
async def test_java_in_the_background_is_told_from_other_java_by_its_command_line(desk: Desk, scratch: Path) -> None:
    scratch.mkdir()
    for name in ("Shop", "Blog"):
        code = f"class {name} {{ public static void main(String[] a) throws Exception {{ Thread.sleep(1000000); }} }}"
        (scratch / f"{name}.java").write_text(code)
        await asyncio.to_thread(
            lambda name=name: subprocess.run(["javac", "-d", scratch, scratch / f"{name}.java"], check=True)
        )
        start = scratch / f"start-{name}"
        start.write_text(f"#!/bin/sh\nsetsid java -Xmx32m -cp {scratch} {name} >/dev/null 2>&1 </dev/null &\n")
        start.chmod(0o755)
        with no_subreaper():
            await asyncio.to_thread(lambda start=start: subprocess.run([start], check=True))
    match = {"pid_strategy": "match", "process_name": f"java -Xmx32m -cp {scratch} Shop"}
    shown = await until(
        lambda: desk.api.post(f"/nodes/{desk.node_id}/match", match), lambda one: one["leader"] is not None
    )
    pid = shown["leader"]["pid"]
    assert shown["leader"]["cmdline"][-1] == "Shop"
    both = {**match, "process_name": f"java -Xmx32m -cp {scratch}"}
    assert (await desk.api.post(f"/nodes/{desk.node_id}/match", both))["refusal"]["code"] == "ambiguous"
    body = {"node_id": desk.node_id, "system_id": desk.system_id, "name": "shop", "restart": {"delay": "0s"}}
    body |= {"start_command": [str(scratch / "start-Shop")], "health": {"type": "command", "target": "true"}}
    made = await desk.api.post("/instances/adopt", {**body, **match})
    assert (await desk.ended(made))["state"] == "succeeded"
    path = f"/instances/{made['instance']['id']}"
    os.kill(pid, signal.SIGKILL)
    again = await until(lambda: desk.api.get(path), lambda one: one["pid"] not in {None, pid})
    assert procfs.read_argv(again["pid"])[-1] == "Shop"
    assert (await desk.ended(await desk.api.delete(f"{path}?stop=1")))["state"] == "succeeded"
    assert not is_alive(again["pid"])
