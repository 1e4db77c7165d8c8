"""The wall clock of a running master and worker moved by days (R17): nothing falls off, storms, or comes back."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.fakes.chaos import PROVEN, STEADY
from tests.fakes.fleet import PASSWORD, Fleet, until
from tests.fakes.packages import make_zip, service_json

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


@pytest.fixture
def fake_clock(tmp_path):
    """Settings under which programs read a clock that lies by what the file says; the monotonic one stays true."""
    found = next((path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])), None)
    if found is None:
        pytest.skip("libfaketime is not there: apt-get install faketime")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    settings = {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "OPS_MASTER_LOGIC_HEARTBEAT_INTERVAL": "1s",
        "OPS_MASTER_LOGIC_NODE_OFFLINE_THRESHOLD": "5s",
    }
    return offset, settings


class Watched:
    """One node with one service, and what must not change while clocks move."""

    def __init__(self, fleet, effects):
        self.fleet = fleet
        self.effects = effects
        self.node_id = fleet.start_worker()
        manifest = service_json(name="steady", health=PROVEN, env={"EFFECTS": str(effects)})
        archive = fleet.folder / "steady.zip"
        archive.write_bytes(make_zip({"run.sh": STEADY}, manifest))
        self.instance = fleet.deploy(fleet.upload(archive), self.node_id)
        self.starts = 1

    def look(self):
        """Both stay as they are, through several ticks of whatever counts silence."""
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            node = self.fleet.get(f"/nodes/{self.node_id}")
            seen = self.fleet.get(f"/instances/{self.instance['id']}")
            assert node["status"] == "online"
            assert (seen["state"], seen["restarts"]) == ("running", 0), seen
            time.sleep(0.2)  # between two looks; nothing is waited for
        assert len(self.effects.read_text().splitlines()) == self.starts

    def restart(self):
        """A wish of now is carried out, whatever the clocks say."""
        operation = self.fleet.operation(self.fleet.post(f"/instances/{self.instance['id']}/restart"), 20)
        assert operation["state"] == "succeeded"
        self.starts += 1
        until(lambda: len(self.effects.read_text().splitlines()) >= self.starts, "the service has started")


@pytest.mark.timeout(300)
def test_clocks_that_jump_by_three_days_change_nothing_that_runs(tmp_path, fake_clock):
    offset, settings = fake_clock
    effects = tmp_path / "effects"
    effects.touch()
    with Fleet(tmp_path, settings=settings) as fleet:
        fleet.start_master()
        watched = Watched(fleet, effects)
        short = fleet.master_command("token", "create", "short", "--role", "viewer", "--ttl", "1h").strip()
        fleet.master_command("user", "create", "ann", "--role", "viewer", "--password-stdin", stdin=PASSWORD)
        cookie = log_in(fleet)
        assert [status(fleet, Authorization=f"Bearer {short}"), status(fleet, Cookie=cookie)] == [200, 200]
        for jump in ("+3d", "-3d"):
            offset.write_text(jump)
            watched.look()
            watched.restart()
            assert [status(fleet, Authorization=f"Bearer {short}"), status(fleet, Cookie=cookie)] == [401, 401]
            assert status(fleet, Cookie=log_in(fleet)) == 200
        events = fleet.get(f"/instances/{watched.instance['id']}/events?limit=500&sort=at")["items"]
        assert [event["reason"]["code"] for event in events if event["kind"] == "restart"] == []
        assert [event["id"] for event in events] == sorted(event["id"] for event in events)


def log_in(fleet):
    body = json.dumps({"username": "ann", "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json", "Origin": fleet.url}
    request = urllib.request.Request(f"{fleet.url}/api/v1/login", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Set-Cookie"].partition(";")[0]


def status(fleet, **headers):
    request = urllib.request.Request(f"{fleet.url}/api/v1/nodes", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
