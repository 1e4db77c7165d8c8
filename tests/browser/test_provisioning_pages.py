"""Installations in Chromium: made by form and by table, approved with the disks in sight, followed live to their end."""

import re

from playwright.sync_api import expect

from tests.fakes.console import let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, until

READY_MS = 40_000
CARD = {"mac": "00:1a:2b:3c:4d:06", "address": "10.0.0.6/24", "gateway": ""}
SYSTEM = "S4EVNX0R100001"
TABLE = """idc,sn,mac,os_type,os_version,hostname
dc1,SN-T1,00:1a:2b:3c:4e:01,Debian,12,t1
dc1,SN T2,00:1a:2b:3c:4e,Debian,12,t2
dc1,SN-T1,00:1a:2b:3c:4e:03,Debain,12,t3
"""


def erase(page, sn: str) -> None:
    """Type the serial number and press the red button."""
    page.get_by_test_id("approve-typed").fill(sn)
    page.get_by_test_id("approve-ok").click()


def add_card(page, form: str, place: int, *, mac: str = "", address: str = "") -> None:
    """Add a card to the network of a form."""
    page.get_by_test_id(f"{form}-card-add").click()
    card = page.get_by_test_id(f"{form}-card-{place}")
    card.get_by_test_id("card-mac").fill(mac)
    if address:
        card.get_by_test_id("card-how").select_option("static")
        card.get_by_test_id("card-address").fill(address)
        card.get_by_test_id("card-gateway").focus()


def status_of(page):
    """Return the mark of the task's status."""
    return page.get_by_test_id("task-status")


def test_a_machine_is_made_approved_and_followed_to_its_end(admin, fleet, site, test_output):
    folder = test_output / "provisioning"
    folder.mkdir(exist_ok=True)
    admin.goto(f"{fleet.url}/provisioning/tasks")
    expect(admin.get_by_test_id("tasks-empty")).to_be_visible(timeout=READY_MS)
    admin.get_by_test_id("task-create").click()
    admin.get_by_test_id("task-sn").fill("SN-0001")
    admin.get_by_test_id("task-mac").fill("00:1a:2b:3c:4d:01")
    admin.get_by_test_id("task-os").select_option("Debian")
    admin.get_by_test_id("task-version").select_option("12")
    admin.get_by_test_id("task-hostname").fill("-wrong")
    admin.get_by_test_id("task-save").click()
    expect(admin.get_by_text("parts divided by dots")).to_be_visible()
    admin.get_by_test_id("task-hostname").fill("web-1")
    add_card(admin, "task", 0, address="10.0.0.5")
    add_card(admin, "task", 1, mac="00:1a:2b:3c:4d:02")
    expect(admin.get_by_text("With its prefix")).to_be_visible()
    admin.get_by_test_id("task-card-0").get_by_test_id("card-address").fill("10.0.0.5/24")
    admin.screenshot(path=folder / "cards.png")
    expect(admin.get_by_test_id("task-idc")).to_have_value("dc1")
    admin.get_by_test_id("task-save").click()
    expect(status_of(admin)).to_have_attribute("data-state", "pending", timeout=READY_MS)
    for line in ("00:1a:2b:3c:4d:01 10.0.0.5/24", "00:1a:2b:3c:4d:02 DHCP"):
        expect(admin.get_by_text(line)).to_be_visible()

    site.report("SN-0001", "00:1a:2b:3c:4d:01")
    expect(status_of(admin)).to_have_attribute("data-state", "pending_approval", timeout=READY_MS)
    admin.get_by_test_id("task-approve").click()
    expect(admin.get_by_test_id("disk-sda")).to_contain_text("ZC1A2B3C", timeout=READY_MS)
    expect(admin.get_by_test_id("approve-cancel")).to_be_focused()
    expect(admin.get_by_test_id("approve-ok")).to_be_disabled()
    expect(admin.get_by_test_id("disk-sdc").locator("input")).to_be_disabled()
    admin.get_by_test_id("disk-nvme0n1").locator("input").check()
    expect(admin.get_by_test_id("disk-nvme0n1").get_by_test_id("erase")).to_be_visible()
    admin.get_by_test_id("dry-run").click()
    expect(admin.get_by_test_id("dry-run-steps")).to_contain_text("wipe", timeout=READY_MS)
    admin.screenshot(path=folder / "approve.png", full_page=True)
    admin.get_by_test_id("approve-typed").fill("SN-000")
    expect(admin.get_by_test_id("approve-ok")).to_be_disabled()
    erase(admin, "SN-0001")
    expect(status_of(admin)).to_have_attribute("data-state", "approved", timeout=READY_MS)
    expect(admin.get_by_test_id("task-approval")).to_contain_text(SYSTEM)

    site.install("SN-0001")
    site.tell("SN-0001", "write-image", 25, 500_000_000, 2_000_000_000, "write-image: began")
    expect(status_of(admin)).to_have_attribute("data-state", "installing", timeout=READY_MS)
    step = admin.get_by_test_id("step-write-image")
    expect(step).to_contain_text("500 MB / 2.00 GB", timeout=READY_MS)
    site.tell("SN-0001", "write-image", 75, 1_500_000_000, 2_000_000_000, "<b>line of the agent</b>")
    expect(step).to_contain_text(re.compile(r"1\.50 GB / 2\.00 GB · .*/s · .*left"), timeout=READY_MS)
    expect(admin.get_by_test_id("task-log")).to_contain_text("<b>line of the agent</b>")
    admin.screenshot(path=folder / "installing.png", full_page=True)
    site.finish("SN-0001")
    expect(status_of(admin)).to_have_attribute("data-state", "completed", timeout=READY_MS)


def test_another_machine_than_was_shown_is_shown_and_not_approved(admin, fleet, site, test_output):
    site.create("SN-0002", "00:1a:2b:3c:4d:02")
    site.report("SN-0002", "00:1a:2b:3c:4d:02")
    admin.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-0002/approve")
    admin.get_by_test_id("disk-nvme0n1").locator("input").check(timeout=READY_MS)
    admin.get_by_test_id("approve-typed").fill("SN-0002")
    expect(admin.get_by_test_id("approve-ok")).to_be_enabled()
    site.report("SN-0002", "00:1a:2b:3c:4d:02", disks="changed", boot="b2")
    change = admin.get_by_test_id("inventory-change")
    expect(change).to_contain_text("0x5000c500a1b2c3d4", timeout=READY_MS)
    expect(admin.get_by_test_id("approve-ok")).to_be_disabled()
    admin.screenshot(path=test_output / "provisioning" / "changed.png")
    admin.get_by_test_id("take-newer").click()
    expect(change).to_be_hidden()
    expect(admin.get_by_test_id("approve-typed")).to_have_value("")
    admin.get_by_test_id("approve-reject").click()
    expect(status_of(admin)).to_have_attribute("data-state", "rejected", timeout=READY_MS)


def test_disks_of_another_cluster_are_named_once_more(admin, fleet, site):
    site.create("SN-0003", "00:1a:2b:3c:4d:03")
    site.report("SN-0003", "00:1a:2b:3c:4d:03", disks="shared")
    admin.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-0003/approve")
    admin.get_by_test_id("disk-sdb").locator("input").check(timeout=READY_MS)
    admin.get_by_test_id("approve-typed").fill("SN-0003")
    expect(admin.get_by_test_id("approve-ok")).to_be_disabled()
    admin.get_by_test_id("approve-foreign").check()
    erase(admin, "SN-0003")
    expect(status_of(admin)).to_have_attribute("data-state", "approved", timeout=READY_MS)
    assert fleet.get("/tasks/dc1/SN-0003")["approval"]["overwrite_foreign"] == ["ZC1A2B3D"]


def test_a_table_tells_every_fault_and_makes_all_or_none(admin, fleet, site, test_output):
    admin.goto(f"{fleet.url}/provisioning/tasks/bulk")
    admin.get_by_test_id("bulk-text").fill(TABLE)
    admin.get_by_test_id("bulk-check").click()
    expect(admin.get_by_test_id("bulk-problems")).to_be_visible(timeout=READY_MS)
    table = admin.get_by_test_id("bulk-table")
    for words in ("Six bytes as", "SN-T1 stands in line 2 already", "did you mean"):
        expect(table).to_contain_text(words)
    expect(admin.get_by_test_id("bulk-create")).to_be_disabled()
    admin.screenshot(path=test_output / "provisioning" / "bulk.png")
    admin.get_by_test_id("language-menu").click()
    admin.get_by_test_id("language-zh").click()
    for words in ("六个字节", "SN-T1 在第 2 行已经出现", "最接近的是“Debian"):
        expect(table).to_contain_text(words)
    admin.screenshot(path=test_output / "provisioning" / "bulk-zh.png")
    admin.get_by_test_id("language-menu").click()
    admin.get_by_test_id("language-en").click()
    admin.get_by_test_id("bulk-text").fill("\n".join(TABLE.splitlines()[:2]))
    admin.get_by_test_id("bulk-check").click()
    expect(admin.get_by_test_id("bulk-fine")).to_be_visible(timeout=READY_MS)
    admin.get_by_test_id("bulk-create").click()
    expect(admin.get_by_test_id("bulk-made")).to_be_visible(timeout=READY_MS)
    admin.get_by_test_id("panel-close").click()
    expect(admin.get_by_test_id("task-row-SN-T1")).to_be_visible(timeout=READY_MS)


def test_a_list_follows_its_rows_and_counts_what_it_does_not_show(admin, fleet, site, test_output):
    asked: list[str] = []
    admin.on("websocket", lambda link: link.on("framesent", lambda sent: asked.append(str(sent))))
    site.create("SN-L1", "00:1a:2b:3c:4f:01")
    admin.goto(f"{fleet.url}/provisioning/tasks?status=pending_approval")
    moving = admin.get_by_test_id("tasks-pending,booting,approved,installing")
    expect(moving).to_contain_text(re.compile(r"[1-9]"), timeout=READY_MS)
    expect(admin.get_by_test_id("task-row-SN-L1")).to_be_hidden()
    site.report("SN-L1", "00:1a:2b:3c:4f:01")
    row = admin.get_by_test_id("task-row-SN-L1")
    expect(row).to_be_visible(timeout=READY_MS)
    site.approve("SN-L1", [SYSTEM])
    expect(row).to_be_hidden(timeout=READY_MS)
    admin.goto(f"{fleet.url}/provisioning/tasks?q=SN-L1")
    state = row.locator("[data-state]").first
    expect(state).to_have_attribute("data-state", "approved", timeout=READY_MS)
    site.install("SN-L1")
    expect(state).to_have_attribute("data-state", "installing", timeout=READY_MS)
    admin.screenshot(path=test_output / "provisioning" / "counts.png")
    told = "".join(asked)
    assert "task:dc1/SN-L1" in told
    assert "tasks:dc1" not in told


def test_an_unmatched_machine_becomes_a_task(admin, fleet, site):
    admin.goto(f"{fleet.url}/provisioning/unmatched")
    expect(admin.get_by_test_id("unmatched-empty")).to_be_visible(timeout=READY_MS)
    site.report("SN-0099", "00:1a:2b:3c:4d:99")
    row = admin.get_by_test_id("unmatched-row-SN-0099")
    expect(row).to_contain_text("PowerEdge R640", timeout=READY_MS)
    row.get_by_test_id("unmatched-install").click()
    expect(admin.get_by_test_id("task-mac")).to_have_value("00:1a:2b:3c:4d:99")
    admin.get_by_test_id("task-os").select_option("Debian")
    admin.get_by_test_id("task-save").click()
    expect(status_of(admin)).to_have_attribute("data-state", "pending_approval", timeout=READY_MS)


def test_an_image_comes_in_and_a_profile_is_tried_and_brought_back(admin, fleet, tmp_path):
    image = tmp_path / "edge_12.raw"
    image.write_bytes(b"\0" * 510 + b"\x55\xaa" + b"x" * 1_000_000)
    admin.goto(f"{fleet.url}/provisioning/images/new")
    admin.get_by_test_id("image-file").set_input_files(image)
    expect(admin.get_by_test_id("image-name")).to_have_value("edge")
    expect(admin.get_by_test_id("image-format")).to_have_value("raw")
    admin.get_by_test_id("image-os").select_option("Debian")
    admin.get_by_test_id("image-save").click()
    expect(admin.get_by_test_id("image-remove")).to_be_visible(timeout=READY_MS)
    expect(admin.get_by_test_id("image-row-edge")).to_contain_text("1.00 MB")

    admin.goto(f"{fleet.url}/provisioning/profiles")
    admin.get_by_test_id("profile-create").click()
    admin.get_by_test_id("profile-name").fill("edge")
    admin.get_by_test_id("profile-os").select_option("Debian")
    admin.get_by_test_id("profile-version").select_option("12")
    admin.get_by_test_id("profile-method").select_option("preseed")
    add_card(admin, "profile", 0, mac="00:1a:2b:3c:4d:06", address="10.0.0.6/24")
    add_card(admin, "profile", 1)
    admin.get_by_test_id("profile-dns").fill("10.0.0.2")
    admin.get_by_test_id("profile-save").click()
    expect(admin.get_by_text("Six bytes as")).to_be_visible()  # the second card has no name
    admin.get_by_test_id("profile-card-1").get_by_test_id("card-remove").click()
    admin.get_by_test_id("tab-template").click()
    admin.get_by_test_id("template-begin").click()
    expect(admin.get_by_test_id("code-text")).to_have_value(re.compile("d-i "), timeout=READY_MS)
    admin.get_by_test_id("code-text").fill("d-i netcfg/get_hostname string {{ hostnam }}")
    admin.get_by_test_id("tab-preview").click()
    expect(admin.get_by_test_id("preview-problems")).to_contain_text("hostnam", timeout=READY_MS)
    admin.get_by_test_id("tab-template").click()
    admin.get_by_test_id("code-text").fill("d-i netcfg/get_hostname string {{ hostname }}")
    admin.get_by_test_id("profile-save").click()
    expect(admin.get_by_test_id("profile-remove")).to_be_visible(timeout=READY_MS)
    network = {"hostname": "", "interfaces": [CARD], "dns": ["10.0.0.2"]}
    assert fleet.get("/profiles/edge")["network"] == network
    admin.get_by_test_id("tab-template").click()
    admin.get_by_test_id("code-text").fill("d-i netcfg/get_hostname string {{ sn }}")
    admin.get_by_test_id("profile-save").click()
    admin.get_by_test_id("tab-versions").click()
    admin.get_by_test_id("profile-back-1").click()
    until(lambda: "hostname }}" in fleet.get("/profiles/edge")["template"], "the first text again")
    admin.get_by_test_id("tab-settings").click()
    card = admin.get_by_test_id("profile-card-0")
    expect(card.get_by_test_id("card-address")).to_have_value("10.0.0.6/24")
    card.get_by_test_id("card-how").select_option("dhcp")
    admin.get_by_test_id("profile-save").click()
    until(lambda: not fleet.get("/profiles/edge")["network"]["interfaces"][0]["address"], "the card asks DHCP")


def test_two_people_approve_where_the_data_centre_asks_for_them(admin, fleet, site):
    admin.goto(f"{fleet.url}/provisioning/idcs/dc1")
    admin.get_by_test_id("idc-second").check(timeout=READY_MS)
    admin.get_by_test_id("idc-protected").fill("ZC1A2B3C")
    admin.get_by_test_id("idc-save").click()
    until(lambda: fleet.get("/idcs")["items"][0]["settings"]["needs_second_approval"], "two people asked for")
    site.create("SN-0004", "00:1a:2b:3c:4d:04")
    site.report("SN-0004", "00:1a:2b:3c:4d:04")
    admin.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-0004/approve")
    expect(admin.get_by_test_id("disk-sda")).to_contain_text("protected", timeout=READY_MS)
    expect(admin.get_by_test_id("disk-nvme0n1").locator("input")).to_be_checked()
    erase(admin, "SN-0004")
    expect(admin.get_by_test_id("approve-first")).to_contain_text("You have approved", timeout=READY_MS)
    site.approve("SN-0004", [SYSTEM])
    expect(admin.get_by_test_id("approve-not-waiting")).to_be_visible(timeout=READY_MS)
    approval = fleet.get("/tasks/dc1/SN-0004")["approval"]
    assert (approval["by"], approval["second_by"]) == ("admin", "test")


def test_a_wipe_wants_the_password_again(page, fleet, site):
    site.create("SN-0005", "00:1a:2b:3c:4d:05")
    site.report("SN-0005", "00:1a:2b:3c:4d:05", disks="one")
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-provisioning")).to_be_visible(timeout=READY_MS)
    let_proofs_age(fleet)
    page.goto(f"{fleet.url}/provisioning/tasks/dc1/SN-0005/approve")
    expect(page.get_by_test_id("disk-nvme0n1").locator("input")).to_be_checked(timeout=READY_MS)
    erase(page, "SN-0005")
    page.get_by_test_id("step-up-password").fill(PASSWORD)
    page.get_by_test_id("step-up-submit").click()
    expect(page.get_by_test_id("approve-first")).to_be_visible(timeout=READY_MS)
