"""The one gate of network boot."""

import pytest
from msgspec.structs import replace

from ops_system.model.machines import Machine
from ops_system.model.tasks import BOOTS_AGENT, TaskStatus
from ops_system.regional.boot.gate import Boots, Known, asks, decide
from tests.fakes.provision import SPEC, a_task


@pytest.mark.parametrize("status", list(TaskStatus))
def test_only_an_unfinished_task_boots_the_agent(status):
    verdict = decide(Known("sn-001", replace(a_task(), status=status)))
    assert verdict.boots is (Boots.AGENT if status in BOOTS_AGENT else Boots.LOCAL)
    assert verdict.why == status.value


def test_a_rescue_is_a_rescue():
    task = a_task(install=replace(SPEC, method="rescue"))
    assert decide(Known("sn-001", task)).boots is Boots.RESCUE


@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_quarantined_machine_starts_from_its_disk_whatever_its_task(status):
    known = Known("sn-001", replace(a_task(), status=status), Machine("dc1", "sn-001", quarantined="two_agents"))
    assert decide(known).is_local


@pytest.mark.parametrize("is_discovery_on", [False, True])
def test_a_known_machine_without_a_task_is_not_discovered_again(is_discovery_on):
    known = Known("sn-001", None, Machine("dc1", "sn-001"), is_discovery_on)
    assert decide(known).why == "no_task"


def test_an_unknown_machine_reports_only_where_discovery_is_on():
    assert decide(Known(is_discovery_on=True)).boots is Boots.REPORT
    assert decide(Known()).is_local


def test_who_asks_is_made_normal_and_what_is_no_mac_is_nobody():
    assert asks("52-54-00-00-00-01", " SN ", "ABC") == asks("5254.0000.0001", "SN", "abc")
    assert asks("01:00:00:00:00:01").mac == "" == asks("../..").mac
