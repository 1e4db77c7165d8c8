"""`worker leave` as a person runs it, on a node whose worker was started by hand."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.fakes.fleet import Fleet, free_port, pack, until
from tests.fakes.packages import SLEEPER, service_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes by signal 0")


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start_master()
        yield fleet
        fleet.token = ""  # the nodes are gone, and what ran on them with them


def deploy(fleet, name):
    """Deploy a service on a new node; return its instance."""
    node_id = fleet.start_worker(name)
    source = fleet.folder / "source"
    source.mkdir(exist_ok=True)
    (source / "run.sh").write_text(SLEEPER)
    (source / "service.json").write_text(json.dumps(service_json()))
    package = fleet.upload(pack(source, fleet.folder / "web.zip"))
    return fleet.deploy(package, node_id, name=f"web-{name}", ports={"http": free_port()})


def leave(fleet, name, *flags):
    command = [fleet._worker, "leave", "-work_dir", str(fleet.folder / name), *flags]
    environment = {**fleet._environment(), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_services_are_stopped_kept_or_the_reason_to_refuse(fleet):
    stopped, kept = deploy(fleet, "w1"), deploy(fleet, "w2")
    running = leave(fleet, "w1", "-stop", "1")
    assert running.returncode == 3
    assert "stop it first" in running.stderr
    for name in ("w1", "w2"):
        fleet.stop(name)
        refused = leave(fleet, name)
        assert refused.returncode == 1
        assert f"web-{name}" in refused.stderr
        assert (fleet.folder / name / "node.json").exists()
    try:
        for name, flag, word in (("w1", "-stop", "stopped and removed"), ("w2", "-keep", "without care")):
            done = leave(fleet, name, flag, "1")
            assert done.returncode == 0, done.stderr
            assert f"{word}: web-{name}" in done.stdout
            assert "the master knows" in done.stdout
            assert not (fleet.folder / name / "node.key").exists()
        assert not is_alive(stopped["pid"])
        assert not list((fleet.folder / "w1/instances").iterdir())
        assert is_alive(kept["pid"])
    finally:
        os.kill(kept["pid"], signal.SIGKILL)
    assert all(node["revoked"] for node in fleet.get("/nodes")["items"])
    until(lambda: not any(node["linked"] for node in fleet.get("/nodes")["items"]), "no links")


def test_leaving_with_the_master_away_says_what_is_left_to_do(fleet):
    fleet.start_worker("w1")
    fleet.stop("w1")
    fleet.stop("master")
    done = leave(fleet, "w1")
    assert done.returncode == 0
    assert "could not be told" in done.stdout
    assert "revoke or remove node w1" in done.stdout
    assert leave(fleet, "w1").returncode == 1
    fleet.start_master()
    assert [node["revoked"] for node in fleet.get("/nodes")["items"]] == [False]
