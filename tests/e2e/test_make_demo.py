"""`make demo` on free ports, in a folder of its own: everything it promises is there, and all ends by Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet, kill_marked, until
from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_demo_has_services_nodes_and_machines_that_are_installed(tmp_path):
    fleet = Fleet(tmp_path)
    folder, log = fleet.data, tmp_path / "demo.log"
    words = ["--data", folder, "--port", fleet.port, "--tls-port", fleet.tls_port, "--nodes", 5, "--machines", 3]
    ports = ["--worker-port", free_port(), "--regional-port", free_port()]
    with log.open("wb") as out:
        demo = subprocess.Popen(
            [sys.executable, ROOT / "packaging/run_demo.py", *map(str, words + ports)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(), start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "The demo is ready" in log.read_text() or demo.poll() is not None, "the demo", 120)
        assert demo.poll() is None, log.read_text()
        fleet.token = fleet.master_command("token", "create", "look", "--role", "admin").strip()
        until(lambda: fleet.get("/nodes?status=online&limit=1")["total"] >= 6, "its nodes")
        until(lambda: states(fleet, "/instances", "state") == ["running", "running"], "its services", 60)
        wanted = ["completed", "completed", "pending_approval"]  # a rule approves two
        until(lambda: states(fleet, "/tasks?idc=dc1", "status") == wanted, "its machines", 90)
        until(lambda: sum(bool(task["node_id"]) for task in fleet.get("/tasks")["items"]) == 2, "they called home")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)
        kill_marked(tmp_path)
    assert demo.returncode == 0


def states(fleet: Fleet, path: str, field: str) -> list[str]:
    return sorted(str(one[field]) for one in fleet.get(path)["items"])


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("OPS_")}
