"""Workers update themselves, as frozen executables do: new versions, broken ones, and the way back (trust S14)."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.builds import make_version
from tests.fakes.fleet import ApiError, Fleet, free_port, pack, until

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
NEWER, UNLINKED = "0.9.1", "0.9.2"
CRASHES = "#!/bin/sh\ncase $1 in --version) echo 'ops-worker 0.9.3' ;; *) kill -9 $$ ;; esac\n"


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Folders of packages: a good newer worker, and one that speaks a protocol no master knows."""
    if not all((DIST / name).is_file() for name in ("master", "worker")):
        subprocess.run([sys.executable, ROOT / "packaging/build.py", "master", "worker"], check=True)
    folder = tmp_path_factory.mktemp("builds")
    scratch = folder / "scratch"
    for version, changes in ((NEWER, {}), (UNLINKED, {"protocol": ("ops_system.protocol.frames", 1, 9)})):
        (folder / version).mkdir()
        make_version(DIST / "worker", folder / version / "worker", scratch, version, **changes)
    return folder


@pytest.fixture
def fleet(tmp_path, tmp_path_factory):
    installed = tmp_path / "worker"
    installed.write_bytes((DIST / "worker").read_bytes())
    installed.chmod(0o755)
    settings = {"OPS_RUNTIME_DIR": str(tmp_path / "runtime")}
    with Fleet(tmp_path, worker=installed, settings=settings) as running:
        running.start_master()
        yield running


def offer(fleet, folder, version, **changes):
    """Upload the worker in `folder` as an update."""
    manifest = {"name": "ops-worker", "version": version, "entrypoint": "worker", "os": "linux", **changes}
    (folder / "service.json").write_text(json.dumps(manifest))
    return fleet.upload(pack(folder, fleet.folder / f"{version}.zip"))


def start_service(fleet, node_id):
    package = fleet.upload(pack(ROOT / "examples/http-service", fleet.folder / "http.zip"))
    return fleet.deploy(package, node_id, ports={"http": free_port()})


def is_untouched(fleet, service):
    now = fleet.get(f"/instances/{service['id']}")
    return (now["pid"], now["restarts"], now["state"]) == (service["pid"], service["restarts"], "running")


def version_of(fleet, node_id):
    node = fleet.get(f"/nodes/{node_id}")
    return node["worker_version"] if node["status"] == "online" else ""


def update(fleet, node_id, version, **order):
    return fleet.post(f"/nodes/{node_id}/update", {"version": version, **order})


def test_a_worker_becomes_the_new_version_in_its_own_process_and_stays_it(fleet, builds):
    node_id = fleet.start_worker("w1")
    installed = (fleet.folder / "worker").read_bytes()
    service = start_service(fleet, node_id)
    offer(fleet, builds / NEWER, NEWER)
    operation = fleet.operation(update(fleet, node_id, NEWER))
    assert operation["state"] == "succeeded", operation
    assert [(step["name"], step["state"]) for step in operation["steps"]] == [
        (name, "succeeded") for name in ("fetch", "verify", "switch", "prove")
    ]
    until(lambda: version_of(fleet, node_id) == NEWER, "the node shows its new version")
    assert fleet.programs["w1"].poll() is None, "it is the same process"
    assert (fleet.folder / "worker").read_bytes() == installed, "the installed executable is never written to"
    until(lambda: is_untouched(fleet, service), "the service went on")
    rows = fleet.get(f"/audit?action=worker.update&target=node:{node_id}")["items"]
    assert [row["outcome"] for row in rows] == ["done", "begun"]
    with pytest.raises(ApiError) as again:
        update(fleet, node_id, NEWER)
    assert (again.value.status, again.value.body["code"]) == (409, "not_allowed")
    fleet.stop("w1", signal.SIGKILL)
    fleet.start_worker("w1")
    until(lambda: version_of(fleet, node_id) == NEWER, "the boot service's start goes on with the new version")
    until(lambda: is_untouched(fleet, service), "the service went on")


def test_a_version_that_gets_no_link_makes_way_by_itself(fleet, builds):
    node_id = fleet.start_worker("w1")
    before = version_of(fleet, node_id)
    service = start_service(fleet, node_id)
    offer(fleet, builds / UNLINKED, UNLINKED)
    operation = fleet.operation(update(fleet, node_id, UNLINKED, prove_within_s=5))
    assert operation["state"] == "failed"
    assert operation["error"]["code"] == "update_failed"
    assert "no link to the master within 5 s" in operation["error"]["message"]
    assert version_of(fleet, node_id) == before
    assert fleet.programs["w1"].poll() is None, "it is the same process"
    until(lambda: is_untouched(fleet, service), "the service went on")


@pytest.mark.long
def test_a_version_that_ends_before_its_link_is_not_started_again(fleet, builds):
    node_id = fleet.start_worker("w1")
    before = version_of(fleet, node_id)
    service = start_service(fleet, node_id)
    offer(fleet, builds / UNLINKED, UNLINKED)
    killed = update(fleet, node_id, UNLINKED, prove_within_s=600)
    state = fleet.folder / "w1" / "program" / "state.json"
    until(lambda: b'"attempts": 1' in state.read_bytes() if state.exists() else False, "the new version has its try")
    until(lambda: new_one_runs(fleet), "the new version runs")
    fleet.stop("w1", signal.SIGKILL)
    fleet.stop("master", signal.SIGKILL)
    fleet.start_master()
    fleet.start_worker("w1")
    check_returned(fleet, killed, node_id, before)

    folder = fleet.folder / "crashes"
    folder.mkdir()
    (folder / "worker").write_text(CRASHES)
    offer(fleet, folder, "0.9.3")
    crashed = update(fleet, node_id, "0.9.3")
    until(lambda: fleet.programs["w1"].poll() is not None, "the new version has crashed")
    assert fleet.programs.pop("w1").returncode == -signal.SIGKILL
    fleet.start_worker("w1")
    check_returned(fleet, crashed, node_id, before)
    until(lambda: is_untouched(fleet, service), "the service went on")


def new_one_runs(fleet):
    """Return whether the process of the worker has become the program that was sent."""
    environ = Path(f"/proc/{fleet.programs['w1'].pid}/environ").read_bytes()
    return b"OPS_INSTALLED_EXECUTABLE=" in environ


def check_returned(fleet, answer, node_id, version):
    operation = fleet.operation(answer)
    assert operation["state"] == "failed"
    assert "ended before it had its link" in operation["error"]["message"]
    assert version_of(fleet, node_id) == version
