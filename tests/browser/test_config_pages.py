"""Systems as YAML, their topology, environment and variables, and the config centre in Chromium."""

import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, until
from tests.fakes.packages import make_zip, service_json

READY_MS = 40_000
TEXT = "node: ${node.name}\nregion: ${var.REGION}\n"
SYSTEM = """name: shop
env: {STAGE: test}
modules:
  db: {package: app, version: "1.0.0"}
  web:
    package: app
    version: "1.0.0"
    depends_on: [db]
    env: {STAGE: live}
    env_secrets: [KEY]
    config_mounts: [{path: conf/web.yaml, template: web.yaml}]
"""
OTHER = SYSTEM.replace("shop", "other").replace("web.yaml}", "other.yaml}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """One worker and one package with a reload command."""
    with Fleet(tmp_path_factory.mktemp("config")) as running:
        running.start_master()
        manifest = service_json(name="app", hooks={"reload": ["true"]})
        data = io.BytesIO(make_zip({"run.sh": b"#!/bin/sh\nexec sleep 600\n"}, manifest)).getvalue()
        running.call("POST", "/packages", data, media="application/zip")
        running.start_worker("w1")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        running.call("PATCH", "/variables", {"values": {"REGION": "eu"}})
        text = {"name": "web.yaml", "format": "yaml", "content": TEXT, "approve": True}
        running.post("/config-templates", text)
        yield running


@pytest.fixture(scope="module")
def shop(fleet) -> dict:
    """The system, running: its db and its web."""
    secrets = {"web": {"KEY": "hush-95"}}
    fleet.post("/systems/apply", {"document": SYSTEM, "secrets": secrets})
    (system,) = fleet.get("/systems")["items"]
    fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
    until(lambda: [one["state"] for one in fleet.get("/instances")["items"]] == ["running"] * 2, "both run")
    return system


def test_values_of_an_instance_and_of_its_module_are_changed_where_they_stand(page, fleet, shop, test_output):
    folder = test_output / "config"
    folder.mkdir(exist_ok=True)
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-config")).to_be_visible(timeout=READY_MS)
    instance = next(one for one in fleet.get("/instances")["items"] if one["name"] == "web")
    page.goto(f"{fleet.url}/instances/{instance['id']}")
    page.get_by_test_id("instance-environment").click()
    expect(page.get_by_test_id("env-origin-STAGE")).to_contain_text("module hides: system", timeout=READY_MS)
    expect(page.get_by_test_id("env-KEY")).to_contain_text("hidden")

    page.get_by_test_id("env-edit-STAGE").press("Enter")
    page.get_by_test_id("env-input-STAGE").fill("mine")
    page.get_by_test_id("env-input-STAGE").press("Escape")
    expect(page.get_by_test_id("env-STAGE")).to_contain_text("live")
    page.get_by_test_id("env-edit-STAGE").press("Enter")
    page.get_by_test_id("env-input-STAGE").fill("mine")
    page.get_by_test_id("env-input-STAGE").press("Enter")
    expect(page.get_by_test_id("env-origin-STAGE")).to_contain_text("instance hides: module, system")
    expect(page.get_by_test_id("impact-w1")).to_have_text("by a restart")
    page.get_by_test_id("env-remove-STAGE").click()
    page.get_by_test_id("confirm-ok").click()
    expect(page.get_by_test_id("env-origin-STAGE")).to_contain_text("module hides: system")

    page.goto(f"{fleet.url}/systems/{shop['id']}/modules/{instance['module_id']}/environment")
    page.get_by_test_id("variables-level").select_option("module")
    page.get_by_test_id("variable-name").fill("REGION")
    page.get_by_test_id("variable-value").fill("us")
    page.get_by_test_id("variable-value").press("Enter")
    expect(page.get_by_test_id("counts-origin-REGION")).to_contain_text("module hides: all systems", timeout=READY_MS)
    expect(page.get_by_test_id("impact-w1")).to_have_text("by its reload command")
    page.screenshot(path=folder / "environment.png")
    page.get_by_test_id("config-parallel").fill("0")
    expect(page.get_by_test_id("config-apply")).to_be_disabled()
    page.get_by_test_id("config-parallel").fill("2")
    page.get_by_test_id("config-apply").click()
    page.get_by_test_id("confirm-ok").click()
    until(
        lambda: [one["state"] for one in fleet.get("/operations?kind=config.apply")["items"]] == ["succeeded"],
        "the reload has ended",
    )
    expect(page.get_by_test_id("config-apply")).to_be_disabled(timeout=READY_MS)


@pytest.mark.long
def test_the_panel_in_chinese_dark_and_narrow(browser, fleet, shop, test_output):
    folder = test_output / "config"
    folder.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 375, "height": 800}, locale="zh-CN", color_scheme="dark")
    page = context.new_page()
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("login-submit")).to_have_count(0, timeout=READY_MS)
    instance = next(one for one in fleet.get("/instances")["items"] if one["name"] == "web")
    for name, path in {
        "environment": f"/instances/{instance['id']}/environment",
        "variables": "/config?tab=variables",
        "topology": f"/systems/{shop['id']}/topology",
        "import": "/systems/import",
    }.items():
        page.set_viewport_size({"width": 375, "height": 800})
        page.goto(f"{fleet.url}{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, name
        page.screenshot(path=folder / f"{name}-narrow-zh-dark.png")
        page.set_viewport_size({"width": 1600, "height": 1000})
        page.screenshot(path=folder / f"{name}-wide-zh-dark.png")
    context.close()


@pytest.mark.long
def test_from_a_template_and_a_document_to_a_reload(page, fleet, shop, test_output):
    folder = test_output / "config"
    folder.mkdir(exist_ok=True)
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-config")).to_be_visible(timeout=READY_MS)

    page.goto(f"{fleet.url}/config/new")
    page.get_by_test_id("template-name").fill("other.yaml")
    page.get_by_test_id("template-save").click()
    text = page.get_by_test_id("code-text")
    text.fill("node: ${node.name}\nlist: [\n")
    page.get_by_test_id("version-approve").click()
    expect(page.get_by_text("line 3, column 1").first).to_be_visible(timeout=READY_MS)
    page.screenshot(path=folder / "fault.png")
    text.fill("node: ${node.name}\nregion: eu # where\n")
    page.get_by_test_id("version-approve").click()
    expect(page.get_by_text("version 2, approved 2")).to_be_visible(timeout=READY_MS)
    template = page.url.partition("?")[0]

    page.goto(f"{fleet.url}/systems/import")
    page.get_by_test_id("import-text").fill(OTHER)
    page.get_by_test_id("import-look").click()
    expect(page.get_by_test_id("import-diff")).to_contain_text("$.modules", timeout=READY_MS)
    page.get_by_test_id("import-secret-web.KEY").fill("hush-95")
    page.screenshot(path=folder / "import.png")
    page.get_by_test_id("import-apply").click()
    expect(page.get_by_test_id("import-diff")).to_contain_text("Applied", timeout=READY_MS)

    system = next(one for one in fleet.get("/systems")["items"] if one["id"] != shop["id"])
    fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
    until(lambda: [one["state"] for one in fleet.get("/instances")["items"]] == ["running"] * 4, "all run")
    page.goto(f"{fleet.url}/systems/{system['id']}/topology")
    expect(page.get_by_test_id("topology-text")).to_contain_text("starts after db", timeout=READY_MS)
    expect(page.get_by_test_id("topology-web")).to_be_visible()
    page.screenshot(path=folder / "topology.png")

    page.goto(template)
    page.get_by_test_id("code-text").fill("node: ${node.name}\nregion: us # where\n")
    page.get_by_test_id("tab-preview").click()
    page.get_by_test_id("preview-instance").select_option(index=0)
    expect(page.get_by_test_id("code-text")).to_have_value("node: w1\nregion: us # where\n", timeout=READY_MS)
    page.get_by_test_id("tab-text").click()
    page.get_by_test_id("version-approve").click()
    expect(page.get_by_text("version 3, approved 3")).to_be_visible(timeout=READY_MS)
    page.get_by_test_id("tab-impact").click()
    expect(page.get_by_test_id("impact-w1")).to_have_text("by its reload command", timeout=READY_MS)
    page.screenshot(path=folder / "impact.png")
    page.get_by_test_id("config-apply").click()
    page.get_by_test_id("confirm-ok").click()
    page.get_by_test_id("config-operation").click()
    until(
        lambda: fleet.get("/operations?kind=config.apply")["items"][0]["state"] == "succeeded", "the reload has ended"
    )
    page.emulate_media(color_scheme="dark")
    page.goto(f"{template}?tab=versions")
    page.get_by_test_id("diff-3").click()
    expect(page.get_by_test_id("diff")).to_contain_text("+region: us", timeout=READY_MS)
    page.screenshot(path=folder / "versions.png")
