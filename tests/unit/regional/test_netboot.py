"""What DHCP says to whom: the gate's word, in the way that each firmware understands."""

import pytest
from msgspec.structs import replace

from ops_system.model.tasks import TaskStatus
from ops_system.regional.boot.gate import Known
from ops_system.regional.dhcp.packet import MessageType
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, DhcpQuestion
from ops_system.regional.netboot import Answers
from tests.fakes.clock import FakeClock
from tests.fakes.provision import a_task

FILES = BootFiles(script_url="http://192.0.2.1:8081/boot.ipxe", http_url="http://192.0.2.1:8081/static")
ROM = DhcpQuestion("52:54:00:00:00:01", MessageType.DISCOVER, arch=0, vendor_class="PXEClient:Arch:00000")
BIOS_IPXE = replace(ROM, user_class="iPXE")
UEFI, UEFI_IPXE = replace(ROM, arch=7), replace(BIOS_IPXE, arch=7)
UEFI_HTTP = replace(ROM, arch=16, vendor_class="HTTPClient:Arch:00016")
ARM = replace(ROM, arch=11)
SYSTEM = replace(ROM, arch=None, vendor_class="udhcp 1.35.0")
FINISHED = replace(a_task("sn-001", clock=FakeClock()), status=TaskStatus.COMPLETED)


class Picture:
    """Knows one thing, whoever asks."""

    def __init__(self, known):
        self._known = known

    def find(self, _asks):
        return self._known


def answer_to(question, known, *, serves=True):
    return Answers(Picture(known), FILES, lambda: serves)(question)


@pytest.mark.parametrize("question", [ROM, BIOS_IPXE, ARM, SYSTEM], ids=["bios", "ipxe", "arm", "system"])
def test_a_machine_that_is_done_hears_of_no_boot_file(question):
    assert answer_to(question, Known("sn-001", FINISHED)) == DhcpAnswer()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (UEFI, DhcpAnswer(boot_file="snponly.efi")),
        (UEFI_IPXE, DhcpAnswer(boot_url=FILES.script_url)),
        (UEFI_HTTP, DhcpAnswer(boot_url=f"{FILES.http_url}/snponly.efi")),
    ],
    ids=["pxe", "ipxe", "http"],
)
def test_uefi_that_is_done_is_led_to_its_disk_by_the_script(question, answer):
    assert answer_to(question, Known("sn-001", FINISHED)) == answer


@pytest.mark.parametrize("question", [ROM, UEFI, UEFI_HTTP], ids=["bios", "uefi", "http"])
def test_strangers_and_a_client_that_stands_by_get_silence(question):
    assert answer_to(question, Known()) is None
    assert answer_to(question, Known("sn-001", FINISHED), serves=False) is None
    assert answer_to(question, Known(is_discovery_on=True)) != DhcpAnswer()
