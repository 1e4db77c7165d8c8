"""Many workers lose their master at one moment: all come back within a minute, and the API answers all the while (R10)."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_system.storage.folder import DataFolder
from tests.bench.measure import percentile
from tests.bench.ops_sim import seed
from tests.fakes.fleet import Fleet, until

ROOT = Path(__file__).resolve().parents[2]
KEY = "storm"
BACK_WITHIN_S = 60.0
API_P95_S = 1.0

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the storm is told by a signal"),
    pytest.mark.timeout(300),
]


@pytest.fixture(params=[60, pytest.param(500, marks=pytest.mark.long)])
def workers(request):
    return request.param


@pytest.fixture
def fleet(tmp_path, workers):
    with Fleet(tmp_path) as running:
        running.start_master()
        running.stop("master")
        seed(DataFolder(running.data), KEY, workers)
        running.start_master()
        yield running


@contextmanager
def simulated(fleet, workers):
    command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", fleet.url, "--key", KEY]
    with (fleet.folder / "sim.log").open("wb") as log:
        sim = subprocess.Popen(
            [*command, "--workers", str(workers)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        until(lambda: count_linked(fleet) == workers, f"all linked: {fleet.log('sim')}", BACK_WITHIN_S)
        yield sim
    finally:
        sim.terminate()
        sim.wait(30)


def count_linked(fleet, times_s=None):
    """Return how many have a link, by the page that an operator looks at."""
    asked_s, linked, total = time.perf_counter(), 0, 1
    offset = 0
    while offset < total:
        page = fleet.get(f"/nodes?status=online&limit=500&offset={offset}")
        total, offset = page["total"], offset + 500
        linked += sum(node["linked"] for node in page["items"])
        if times_s is not None:
            times_s.append(time.perf_counter() - asked_s)
            asked_s = time.perf_counter()
    return linked


def test_all_are_back_within_a_minute_and_the_api_answers_meanwhile(fleet, workers):
    with simulated(fleet, workers) as sim:
        fleet.stop("master", signal.SIGKILL)
        started_s, times_s = time.monotonic(), []
        fleet.start_master()
        until(lambda: count_linked(fleet, times_s) == workers, "all back after a restart", BACK_WITHIN_S)
        assert time.monotonic() - started_s < BACK_WITHIN_S
        sim.send_signal(signal.SIGUSR1)  # all links break without a word
        until(lambda: count_linked(fleet, times_s) < workers, "the storm", 10)
        until(lambda: count_linked(fleet, times_s) == workers, "all back after a storm", BACK_WITHIN_S)
        assert percentile(times_s, 0.95) < API_P95_S
