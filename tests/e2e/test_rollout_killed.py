"""A rollout whose master is killed at random points ends right, and no instance runs twice."""

import io
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet, until
from tests.fakes.packages import make_zip, service_json

WORKERS = ("w1", "w2", "w3")
SCRIPT = b"#!/bin/sh\necho $VERSION $OPS_INSTANCE $$ >>%s\nexec sleep 600\n"
SOON = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "20s"}
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A fleet with a module on three workers, and the log that its services write outside the product."""
    folder = tmp_path_factory.mktemp("site")
    with Fleet(folder) as fleet:
        fleet.start_master()
        for name in WORKERS:
            fleet.start_worker(name)
        for version in ("1.0.0", "2.0.0"):
            upload(fleet, version, SCRIPT % bytes(folder / "effects"))
        upload(fleet, "3.0.0", b"#!/bin/sh\nexit 9\n")
        system = fleet.post("/systems", {"name": "shop"})
        module = fleet.post(f"/systems/{system['id']}/modules", {"name": "app", "package": "app", "version": "1.0.0"})
        answer = fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
        assert fleet.operation(answer)["state"] == "succeeded"
        yield fleet, module["id"]


def upload(fleet, version, script):
    manifest = service_json(name="app", version=version, env={"VERSION": version}, health=SOON)
    data = io.BytesIO(make_zip({"run.sh": script}, manifest)).getvalue()
    fleet.call("POST", "/packages", data, media="application/zip")


def instances(fleet):
    return fleet.get("/instances")["items"]


def processes_of(instance_id):
    """Return the pids of the services' entrypoints, found by what the product cannot fake: their environment."""
    mark, found = f"OPS_INSTANCE={instance_id}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = mark in (path / "environ").read_bytes().split(b"\0")
            if is_ours and (path / "cmdline").read_bytes().startswith(b"sleep\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def roll_out(fleet, module_id, version, dice, kills):
    """Begin a rollout, kill the master `kills` times on the way, and return the operation at its end."""
    body = {"version": version, "strategy": {"bake_s": 0.5, "max_parallel": 2}}
    operation_id = fleet.post(f"/modules/{module_id}/rollout", body)["operation"]["id"]
    path = f"/operations/{operation_id}"
    for _ in range(kills):
        threading.Event().wait(dice.random() * 2)  # a random moment, which no event tells
        fleet.stop("master", signal.SIGKILL)
        fleet.start_master()
    until(lambda: fleet.get(path)["state"] in ENDED, f"{path} ends", 90)
    return fleet.get(path)


def check_whole(fleet, version):
    until(
        lambda: all(one["state"] == "running" and one["version"] == version for one in instances(fleet)),
        f"all run {version}",
        60,
    )
    for one in instances(fleet):
        assert processes_of(one["id"]) == [one["pid"]], one
    lines = (fleet.folder / "effects").read_text().split("\n")
    last = {line.split()[1]: line.split()[0] for line in lines if line}
    assert set(last.values()) == {version}


@pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_master_killed_in_a_rollout_goes_on(site, rounds):
    fleet, module_id = site
    seed = int.from_bytes(os.urandom(4))
    dice = random.Random(seed)
    print("seed", seed)
    for _ in range(rounds):
        version = "1.0.0" if instances(fleet)[0]["version"] == "2.0.0" else "2.0.0"
        operation = roll_out(fleet, module_id, version, dice, kills=2)
        assert operation["state"] == "succeeded", operation
        check_whole(fleet, version)


def test_a_master_killed_while_it_takes_a_bad_version_back_goes_on(site):
    fleet, module_id = site
    before = instances(fleet)[0]["version"]
    operation = roll_out(fleet, module_id, "3.0.0", random.Random(3), kills=1)
    assert (operation["state"], operation["reverted"]) == ("failed", True)
    check_whole(fleet, before)
