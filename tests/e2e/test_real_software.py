"""The product runs software that nobody here wrote, and leaves nothing of it behind."""

import socket
import urllib.request
from pathlib import Path

import pytest

from tests.bench.measure import family
from tests.fakes.fleet import until


def talk_to_redis(port: int, *lines: str) -> list[str]:
    """Send inline commands to redis; return one answer line each."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        connection.makefile("rw", newline="\r\n") as peer,
    ):
        answers = []
        for line in lines:
            peer.write(line + "\r\n")
            peer.flush()
            answer = peer.readline().strip()
            answers.append(peer.readline().strip() if answer.startswith("$") else answer)
        return answers


def processes_of(instance_id: str) -> list[int]:
    """Return the processes that carry the instance's marker."""
    marker = f"OPS_INSTANCE={instance_id}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def destroy(fleet, instance_id: str) -> None:
    answer = fleet.call("DELETE", f"/instances/{instance_id}?stop=1")
    assert fleet.operation(answer)["state"] == "succeeded"


def test_redis_is_deployed_answers_and_is_gone_on_destroy(fleet, node_id, redis_zip):
    archive, port = redis_zip
    package = fleet.upload(archive)
    instance = fleet.deploy(package, node_id)
    assert instance["state"] == "running"
    assert instance["health"] == "healthy"
    assert talk_to_redis(port, "PING", "SET city Berlin", "GET city") == ["+PONG", "+OK", "Berlin"]
    executable = Path(f"/proc/{instance['pid']}/exe").readlink()
    assert executable.name == "redis-server"

    logs = fleet.get(f"/instances/{instance['id']}/logs")["items"]
    assert [log["name"] for log in logs][:2] == ["stdout", "stderr"]
    lines = fleet.get(f"/instances/{instance['id']}/logs/stdout?tail=100")["lines"]
    assert any("Ready to accept connections" in line["text"] for line in lines)

    destroy(fleet, instance["id"])
    assert processes_of(instance["id"]) == []
    assert refuses(port)
    with pytest.raises(Exception, match="404"):
        fleet.get(f"/instances/{instance['id']}")


def test_nginx_master_and_workers_run_stop_and_start_again(fleet, node_id, nginx_zip):
    archive, port = nginx_zip
    package = fleet.upload(archive)
    instance = fleet.deploy(package, node_id)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
        assert b"nginx here" in page.read()
    tree = family(instance["pid"])  # nginx rewrites the environment of its workers: follow the parents instead
    assert len(tree) >= 3

    path = f"/instances/{instance['id']}"
    assert fleet.operation(fleet.post(f"{path}/stop"))["state"] == "succeeded"
    assert fleet.get(path)["state"] == "stopped"
    assert [pid for pid in tree if Path(f"/proc/{pid}").exists()] == []
    assert refuses(port)

    assert fleet.operation(fleet.post(f"{path}/start"))["state"] == "succeeded"
    assert fleet.get(path)["state"] == "running"
    first_pid = fleet.get(path)["pid"]
    assert fleet.operation(fleet.post(f"{path}/restart"))["state"] == "succeeded"
    assert fleet.get(path)["pid"] != first_pid

    log = fleet.get(f"{path}/logs/Access%20Log?tail=10")["lines"]
    assert any("GET / HTTP" in line["text"] for line in log)
    destroy(fleet, instance["id"])
    assert until(lambda: refuses(port), "port free")
