"""A machine without power is switched on by the product itself: its BMC, one network boot, the agent's report."""

import pytest

from tests.fakes.bmc import bmc_of
from tests.fakes.fleet import until
from tests.fakes.qemu import Metal
from tests.fakes.site import Site, why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.long,
    pytest.mark.timeout(600),
]


def test_a_task_powers_its_machine_on_and_an_operator_off(tmp_path):
    with Site(tmp_path) as site:
        site._settings["OPS_MASTER_OUTBOUND_ALLOW"] = "127.0.0.1"  # where this BMC stands
        site.start()
        with Metal(tmp_path, "SN-POWER-1", cable=site.cable()) as metal, bmc_of(metal) as settings:
            path = f"/machines/{site.idc}/{metal.sn}"
            site.call("PUT", f"{path}/bmc", settings)
            assert site.get(f"{path}/power")["state"] == "off"
            site.order(metal, power="auto")
            until(lambda: metal.is_on, "the machine has power")
            site.wait_status(metal, "pending_approval")
            assert metal.written_bytes("DISK1") == 0
            told = site.get(f"{path}/power")
            assert (told["state"], told["is_this_machine"]) == ("on", True)
            assert site.operation(site.post(f"{path}/power", {"action": "off"}))["state"] == "succeeded"
            assert not metal.is_on
