"""A worker on (Wine's) Windows under a Linux master: from the first call to the destroyed instance."""

import time
import urllib.request

import pytest

from tests.fakes.fleet import ApiError, until
from tests.fakes.winefleet import WineFleet, windows_package

pytestmark = [pytest.mark.wine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fleet(lane, tmp_path_factory):
    with WineFleet(lane, tmp_path_factory.mktemp("wine")) as running:
        running.start_master()
        running.start_worker("w1")
        yield running


@pytest.fixture(scope="module")
def node(fleet):
    return fleet.get("/nodes")["items"][0]


@pytest.fixture(scope="module")
def instance_id(fleet, lane, node, tmp_path_factory):
    """A deployed service, running."""
    package = fleet.upload(windows_package(lane, tmp_path_factory.mktemp("package") / "win.zip"))
    return fleet.deploy(package, node["id"])["id"]


def get(fleet, instance_id):
    return fleet.get(f"/instances/{instance_id}")


def running(fleet, instance_id, unlike=None):
    """The instance, once it is proven under another pid than `unlike`."""

    def is_there():
        found = get(fleet, instance_id)
        return found if found["state"] == "running" and found["pid"] not in {None, unlike} else None

    return until(is_there, f"running unlike {unlike}", 40)


def test_the_node_tells_what_it_is_and_how_it_does(fleet, node):
    assert (node["os"], node["arch"], node["status"]) == ("windows", "amd64", "online")
    assert "Windows" in node["platform"]
    assert node["cpu_cores"] >= 1
    assert node["mem_total_bytes"] > 1_000_000_000
    metrics = until(lambda: fleet.get(f"/nodes/{node['id']}")["metrics"], "a first sample")
    assert 0 < metrics["mem_percent"] <= 100
    seen = fleet.get(f"/nodes/{node['id']}")["last_seen"]
    until(lambda: fleet.get(f"/nodes/{node['id']}")["last_seen"] != seen, "a next heartbeat")


def test_the_status_port_answers(fleet):
    port = fleet._worker_ports["w1"]
    for path, word in (("health", b'"linked"'), ("metrics", b"ops_worker")):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            assert word in answer.read()


def test_a_package_runs_and_its_output_is_read(fleet, instance_id):
    found = running(fleet, instance_id)
    assert (found["package"], found["version"], found["health"]) == ("win-service", "1.0.0", "healthy")

    def lines():
        return [line["text"] for line in fleet.get(f"/instances/{instance_id}/logs/stdout?tail=20")["lines"]]

    said = until(lambda: lines() if len(lines()) >= 2 else None, "two lines of output")
    assert said[0].strip() == "started with --mode release"
    assert said[1].startswith("serving as ")


def test_what_is_killed_comes_back(fleet, lane, instance_id):
    before = running(fleet, instance_id)
    kill = f"import psutil; psutil.Process({before['pid']}).kill()"  # Wine's taskkill would tell exit code 0
    fleet.windows(str(lane.PYTHON), "-c", kill)
    after = running(fleet, instance_id, unlike=before["pid"])
    assert after["restarts"] == 1


def test_a_worker_that_is_killed_and_started_anew_finds_the_same_process(fleet, instance_id):
    before = running(fleet, instance_id)
    fleet.crash("w1")
    alive = fleet.folder / "w1" / "instances" / instance_id / "alive"
    seen_at = time.time()
    until(lambda: alive.stat().st_mtime > seen_at, "the service goes on without its worker")
    fleet.start_worker("w1")
    until(lambda: get(fleet, instance_id)["state"] == "running", "running again in the picture")
    after = get(fleet, instance_id)
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])


def test_stop_start_and_destroy(fleet, instance_id):
    pid = running(fleet, instance_id)["pid"]
    fleet.operation(fleet.post(f"/instances/{instance_id}/stop"))
    assert get(fleet, instance_id)["state"] == "stopped"
    assert str(pid) not in fleet.windows("tasklist").split()
    fleet.operation(fleet.post(f"/instances/{instance_id}/start"))
    running(fleet, instance_id, unlike=pid)
    fleet.operation(fleet.call("DELETE", f"/instances/{instance_id}?stop=1"))
    with pytest.raises(ApiError, match="404"):
        get(fleet, instance_id)
    assert not (fleet.folder / "w1" / "instances" / instance_id).exists()
