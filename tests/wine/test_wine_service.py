"""worker.exe as a service of (Wine's) Windows: installed, started, stopped, started again, removed."""

import time

import pytest

from tests.fakes.fleet import free_port, until
from tests.fakes.winefleet import WineFleet, run_wine, windows_package

pytestmark = [pytest.mark.wine, pytest.mark.timeout(900)]


@pytest.fixture
def fleet(lane, tmp_path):
    assert lane.build("worker") == 0
    with WineFleet(lane, tmp_path) as running:
        running.start_master()
        yield running


def test_the_boot_service_runs_the_worker_and_leaves_its_services_alone(fleet, lane, tmp_path):
    worker = str(lane.LANE / "dist" / "worker.exe")
    token = tmp_path / "token"
    token.write_text(fleet.master_command("join-token", "create").strip())
    where = ("-work_dir", lane.as_windows(tmp_path / "w1"), "-port", str(free_port()), "-name", "w1")
    said = fleet.windows(worker, "-master", fleet.url, "-token", f"@{token}", *where, "-autostart", "1")
    node = until(lambda: fleet._online("w1"), f"the service is online; it said: {said}", 60)
    assert "RUNNING" in fleet.windows("sc", "query", "ops-worker") or node["status"] == "online"

    instance = fleet.deploy(fleet.upload(windows_package(lane, tmp_path / "win.zip")), node["id"])
    pid = instance["pid"]
    alive = tmp_path / "w1" / "instances" / instance["id"] / "alive"

    fleet.windows("net", "stop", "ops-worker")
    until(lambda: fleet._online("w1") is None, "the worker is gone", 60)
    stopped_at = time.time()
    until(lambda: alive.stat().st_mtime > stopped_at, "the service goes on without the worker")

    fleet.windows("net", "start", "ops-worker")
    until(lambda: fleet._online("w1"), "the worker is back", 60)
    until(lambda: fleet.get(f"/instances/{instance['id']}")["state"] == "running", "its service too")
    assert fleet.get(f"/instances/{instance['id']}")["pid"] == pid

    fleet.operation(fleet.call("DELETE", f"/instances/{instance['id']}?stop=1"))
    removed = fleet.windows(worker, "-autostart", "0")
    until(lambda: fleet._online("w1") is None, f"the service is removed; it said: {removed}", 60)


def test_a_service_that_is_not_there_is_said(fleet, lane):
    code, said = run_wine(lane, lane.LANE / "dist" / "worker.exe", "-autostart", "0")
    assert code == 0
    assert "not" in said or "absent" in said
