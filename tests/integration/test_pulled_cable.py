"""A cable pulled between a real worker and a real master: nobody says goodbye, and yet it shows (trust R9)."""

import os
import subprocess
import sys
import time

import pytest

from tests.fakes.cable import Cable, is_possible
from tests.fakes.fleet import PASSWORD, Fleet, free_port, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0 or not is_possible(),
        reason="makes a network namespace",
    ),
]


BACK_WITHIN_S = 15.0


class CabledFleet(Fleet):
    """A master on this end, its worker on the other."""

    def __init__(self, folder, cable, settings):
        super().__init__(folder, settings=settings)
        self.cable = cable

    def master_arguments(self):
        return [self.cable.address if word == "127.0.0.1" else word for word in super().master_arguments()]

    def start_far_worker(self):
        token = self.folder / "w1.token"
        token.write_text(self.master_command("join-token", "create").strip())
        url = f"https://{self.cable.address}:{self.tls_port}"
        command = [*self.cable.within, self._worker, "-master", url, "-work_dir", self.folder / "w1"]
        self._spawn("w1", [*command, "-port", str(free_port()), "-name", "w1", "-token", f"@{token}"])
        return until(lambda: self._online("w1"), "the worker is online")["id"]

    def wait_for_status(self, node_id, status, within_s):
        """Return how long it took."""
        started_s = time.monotonic()
        until(lambda: self.get(f"/nodes/{node_id}")["status"] == status, f"{status}: {self.log('w1')}", within_s)
        return time.monotonic() - started_s


@pytest.mark.parametrize(
    ("settings", "suspect_s", "offline_s", "slack_s"),
    [
        pytest.param(
            {"OPS_MASTER_LOGIC_HEARTBEAT_INTERVAL": "500ms", "OPS_MASTER_LOGIC_NODE_OFFLINE_THRESHOLD": "5s"},
            1.5,
            5.0,
            10.0,  # this one is about what happens, not about when
            id="quick",
            marks=pytest.mark.long,
        ),
        pytest.param({}, 15.0, 25.0, 2.0, id="as delivered", marks=pytest.mark.long),
    ],
)
def test_a_pulled_cable_shows_and_heals(tmp_path, settings, suspect_s, offline_s, slack_s):
    """`slack_s`: a heartbeat that was on its way, one tick of the master's watch, and this test's own look."""
    with Cable() as cable, CabledFleet(tmp_path, cable, settings) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        node_id = fleet.start_far_worker()
        cable.pull()
        took_s = fleet.wait_for_status(node_id, "suspect", suspect_s + slack_s)
        assert took_s >= suspect_s - slack_s  # nothing but silence tells
        took_s += fleet.wait_for_status(node_id, "offline", offline_s - took_s + slack_s)
        assert took_s >= offline_s - slack_s
        cable.mend()
        fleet.wait_for_status(node_id, "online", BACK_WITHIN_S)
        until(lambda: fleet.get(f"/nodes/{node_id}")["linked"], "a link", BACK_WITHIN_S)


def test_the_cable_of_these_tests_leaves_nothing_behind():
    with Cable() as cable:
        assert subprocess.run([*cable.within, "true"]).returncode == 0
    assert cable.name not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
