"""Many services for a while: nothing of what supervises them creeps up. The bench's node, with its sampler."""

import resource
import sys
import time

import pytest

from tests.bench.bench_supervision import Services
from tests.bench.bench_supervision_rest import picture
from tests.bench.supervision_peers import Ours

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SETTLE_S = 3.0
MAX_GROWTH_MB = 3.0


@pytest.fixture
def _enough_descriptors():
    """One descriptor watches each service."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_enough_descriptors")
@pytest.mark.parametrize(
    ("count", "kills", "rest_s"),
    [(100, 20, 5.0), pytest.param(1000, 100, 180.0, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
def test_many_services_at_rest_and_restarted_leave_no_drift(tmp_path, count, kills, rest_s):
    """Three minutes of the ten that `bench_supervision_rest --drift_s 600` looks at."""
    services = Services(Ours(), tmp_path, count)
    try:
        services.start_all()
        restart(services, kills)
        before = look(services)
        time.sleep(rest_s)  # what is looked for is what this time adds
        after = look(services)
        assert (after["fds"], after["threads"]) == (before["fds"], before["threads"])
        assert after["pss_mb"] - before["pss_mb"] < MAX_GROWTH_MB
        restart(services, kills)
        assert (look(services)["fds"], len(services.pids)) == (before["fds"], count)
        services.stop_all()
    finally:
        services.close()


def look(services):
    """Return the least of a few pictures: a file that is being read just now is no leak."""
    pictures = [picture(services) for _ in range(5)]
    return {key: min(one[key] for one in pictures) for key in pictures[0]}


def restart(services, kills):
    for pid in sorted(services.pids)[:kills]:
        services.restart_one(pid)
    time.sleep(SETTLE_S)  # the sampler looks at all of them at least once
