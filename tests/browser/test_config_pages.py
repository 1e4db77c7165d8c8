"""Systems as YAML, their topology, and the config centre in Chromium."""

import io
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet, until
from tests.fakes.packages import make_zip, service_json

READY_MS = 20_000
SYSTEM = """name: shop
modules:
  db: {package: app, version: "1.0.0"}
  web:
    package: app
    version: "1.0.0"
    depends_on: [db]
    env_secrets: [KEY]
    config_mounts: [{path: conf/web.yaml, template: web.yaml}]
"""


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
        yield running


def test_from_a_template_and_a_document_to_a_reload(page, fleet, test_output):
    folder = test_output / "config"
    folder.mkdir(exist_ok=True)
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-config")).to_be_visible(timeout=READY_MS)

    page.goto(f"{fleet.url}/config/new")
    page.get_by_test_id("template-name").fill("web.yaml")
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
    page.get_by_test_id("import-text").fill(SYSTEM)
    page.get_by_test_id("import-look").click()
    expect(page.get_by_test_id("import-diff")).to_contain_text("$.modules", timeout=READY_MS)
    page.get_by_test_id("import-secret-web.KEY").fill("hush-95")
    page.screenshot(path=folder / "import.png")
    page.get_by_test_id("import-apply").click()
    expect(page.get_by_test_id("import-diff")).to_contain_text("Applied", timeout=READY_MS)

    (system,) = fleet.get("/systems")["items"]
    fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
    until(lambda: [one["state"] for one in fleet.get("/instances")["items"]] == ["running"] * 2, "both run")
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
