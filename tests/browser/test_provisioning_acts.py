"""Acts of provisioning in Chromium: power by a BMC with its result, an image that is used, a rule, an installer at work."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.bmc import PASSWORD as BMC_PASSWORD
from tests.fakes.bmc import USER, bmc_of
from tests.fakes.fleet import PASSWORD, Fleet
from tests.fakes.provisioning import SYSTEM

READY_MS = 40_000
IS_UNCOVERED = """note => {
    const { x, y, height } = note.getBoundingClientRect()
    return note.contains(document.elementFromPoint(x + 20, y + height / 2))
}"""
IMAGE = b"\0" * 510 + b"\x55\xaa" + b"x" * 100_000


class Powered:
    """A machine that only runs or not."""

    def __init__(self, sn: str) -> None:
        self.sn, self.uuid = sn, f"4c4c4544-0000-{sn}"
        self.is_on = False

    def power_on(self, first=None) -> None:
        self.is_on = True

    def cut_power(self) -> None:
        self.is_on = False


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master that may call the BMC on this machine, and its administrator."""
    folder = tmp_path_factory.mktemp("provisioning-acts")
    with Fleet(folder, settings={"OPS_MASTER_OUTBOUND_ALLOW": "127.0.0.1"}) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


def orders(page, action: str, ends: str, power: str, *, is_asked: bool) -> None:
    """Press a button of the power box and see how the order ends, and what the BMC says then."""
    page.get_by_test_id(f"power-{action}").click()
    if is_asked:
        page.get_by_test_id("confirm-ok").click()
    expect(page.get_by_test_id("operation-note-state")).to_have_attribute("data-state", ends, timeout=READY_MS)
    expect(page.get_by_test_id("power-state")).to_have_attribute("data-state", power, timeout=READY_MS)


def test_a_machine_is_switched_by_its_bmc_and_the_result_is_seen(admin, fleet, site, test_output):
    folder = test_output / "provisioning-acts"
    folder.mkdir(exist_ok=True)
    site.create("SN-P1", "00:1a:2b:3c:5d:01")
    site.report("SN-P1", "00:1a:2b:3c:5d:01")
    machine = Powered("SN-P1")
    with bmc_of(machine) as bmc:
        admin.goto(f"{fleet.url}/provisioning/machines/dc1/SN-P1")
        admin.get_by_test_id("bmc-edit").click(timeout=READY_MS)
        admin.get_by_test_id("bmc-kind").select_option("redfish")
        admin.get_by_test_id("bmc-address").fill(bmc["address"])
        admin.get_by_test_id("bmc-username").fill(USER)
        admin.get_by_test_id("bmc-password").fill("wrong")
        admin.get_by_test_id("bmc-plain").check()
        admin.get_by_test_id("bmc-save").click()
        box = admin.get_by_test_id("power")
        expect(box.get_by_text("BMC", exact=False).first).to_be_visible(timeout=READY_MS)
        expect(box.get_by_test_id("error-note")).to_be_visible(timeout=READY_MS)
        admin.screenshot(path=folder / "wrong-password.png")
        admin.get_by_test_id("bmc-edit").click()
        admin.get_by_test_id("bmc-password").fill(BMC_PASSWORD)
        admin.get_by_test_id("bmc-save").click()
        expect(admin.get_by_test_id("power-state")).to_have_attribute("data-state", "off", timeout=READY_MS)
        expect(box.get_by_test_id("error-note")).to_be_hidden()
        orders(admin, "on", "succeeded", "on", is_asked=False)
        admin.screenshot(path=folder / "on.png")
        orders(admin, "off", "succeeded", "off", is_asked=True)
        assert not machine.is_on
    assert BMC_PASSWORD not in admin.content()


def test_an_image_goes_only_when_nobody_needs_it(admin, fleet, site, test_output):
    facts = "name=edge&version=1&format=raw&os_type=Debian&os_version=12"
    fleet.call("POST", f"/images?{facts}", IMAGE, media="application/octet-stream", timeout_s=60)
    site.create("SN-I1", "00:1a:2b:3c:5d:02")

    def remove() -> None:
        admin.get_by_test_id("image-remove").click(timeout=READY_MS)
        expect(admin.get_by_test_id("confirm-ok")).to_be_disabled()
        admin.get_by_test_id("confirm-typed").fill("edge")
        admin.get_by_test_id("confirm-ok").click()

    admin.goto(f"{fleet.url}/provisioning/images")
    admin.get_by_test_id("image-row-edge").click(timeout=READY_MS)
    remove()
    refused = admin.get_by_test_id("error-note")
    expect(refused).to_contain_text("is used by task dc1/SN-I1", timeout=READY_MS)
    admin.screenshot(path=test_output / "provisioning-acts" / "image-used.png")
    assert refused.evaluate(IS_UNCOVERED)
    expect(admin.get_by_test_id("image-row-edge")).to_be_visible()
    fleet.call("DELETE", "/tasks/dc1/SN-I1")
    remove()
    expect(admin.get_by_test_id("image-row-edge")).to_be_hidden(timeout=READY_MS)
    expect(refused).to_be_hidden()
    assert fleet.get("/images")["items"] == []


def test_a_rule_approves_what_it_names_and_goes(admin, fleet, site, test_output):
    admin.goto(f"{fleet.url}/provisioning/rules")
    expect(admin.get_by_test_id("approval-rules-empty").or_(admin.get_by_test_id("rule-create")).first).to_be_visible(
        timeout=READY_MS
    )
    admin.get_by_test_id("rule-create").click()
    admin.get_by_test_id("rule-save").click()
    expect(admin.get_by_test_id("rule-save")).to_be_visible()  # without a name nothing is made
    admin.get_by_test_id("rule-name").fill("rack 7")
    admin.get_by_test_id("rule-idc").select_option("dc1")
    admin.get_by_test_id("rule-tags").fill("rack=7")
    admin.get_by_test_id("rule-save").click()
    row = admin.get_by_test_id("rule-row-rack 7")
    expect(row).to_contain_text("0 / 1", timeout=READY_MS)
    site.create("SN-R1", "00:1a:2b:3c:5d:03", tags={"rack": "7"})
    site.report("SN-R1", "00:1a:2b:3c:5d:03", disks="one")
    admin.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-R1")
    expect(admin.get_by_test_id("task-approval")).to_contain_text("rule rack 7", timeout=READY_MS)
    admin.goto(f"{fleet.url}/provisioning/rules")
    expect(row).to_contain_text("1 / 1", timeout=READY_MS)
    admin.screenshot(path=test_output / "provisioning-acts" / "rule.png")
    row.get_by_test_id("rule-remove").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(row).to_be_hidden(timeout=READY_MS)
    assert fleet.get("/approval-rules")["items"] == []


def test_a_machine_in_the_hands_of_an_installer_says_since_when(admin, fleet, site, test_output):
    site.create("SN-H1", "00:1a:2b:3c:5d:04")
    site.report("SN-H1", "00:1a:2b:3c:5d:04", disks="one")
    site.approve("SN-H1", [SYSTEM.serial])
    site.install("SN-H1")
    admin.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-H1")
    expect(admin.get_by_test_id("task-status")).to_have_attribute("data-state", "installing", timeout=READY_MS)
    shown = admin.get_by_test_id("task-handed-over")
    expect(shown).to_be_hidden()
    site.hand_over("SN-H1")
    expect(shown).to_contain_text("its installer is at work", timeout=READY_MS)
    admin.screenshot(path=test_output / "provisioning-acts" / "handed-over.png", full_page=True)
