"""A console left open does not grow: the fleet page with 500 simulated nodes, heap after forced collections."""

import pytest

from tests.bench.bench_charts import Probe, sign_in, simulated
from tests.fakes.fleet import PASSWORD, Fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NODES = 500
WARM_S = 60  # code is compiled and caches fill
LOOK_S = 180
MAX_GROWTH_MB_PER_HOUR = 12.0  # a leak of a small object per node and second is ten times that


def test_the_fleet_page_keeps_its_size(browser, tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        with simulated(fleet, NODES):
            page = sign_in(browser, fleet)
            probe = Probe(page)
            page.wait_for_timeout(WARM_S * 1000)
            first_mb, first_parts = probe.heap_mb(), probe.read("Nodes")
            page.wait_for_timeout(LOOK_S * 1000)
            grown_mb, grown_parts = probe.heap_mb() - first_mb, probe.read("Nodes") - first_parts
            page.context.close()
    assert grown_mb * 3600 / LOOK_S < MAX_GROWTH_MB_PER_HOUR
    assert grown_parts < NODES / 10
