"""Packages in Chromium: an upload paused, reloaded and gone on with; marks, users, differences, retention."""

import io
import json
import os
import sqlite3
import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet
from tests.fakes.packages import make_zip, service_json

READY_MS = 40_000
SLOW_BYTES_PER_S = 10_000_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master with three versions of a package, the oldest of them planned by a module."""
    with Fleet(tmp_path_factory.mktemp("packages")) as running:
        running.start_master()
        for version in ("1.0", "1.1", "1.2"):
            manifest = service_json(name="app", version=version, env={"MODE": version})
            data = io.BytesIO(make_zip({"run.sh": b"#!/bin/sh\n", f"only-{version}": b"x" * 500}, manifest)).getvalue()
            running.call("POST", "/packages", data, media="application/zip")
        system = running.call("POST", "/systems", {"name": "shop"})
        module = {"name": "web", "package": "app", "version": "1.0"}
        running.call("POST", f"/systems/{system['id']}/modules", module)
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A package of 40 MB that cannot be packed."""
    path = tmp_path_factory.mktemp("large") / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        manifest = {"schema": 1, "name": "large", "version": "1", "entrypoint": "app"}
        archive.writestr("service.json", json.dumps(manifest))
        archive.writestr("app", os.urandom(40_000_000))
    return path


def enter(page, fleet):
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-packages").or_(page.get_by_test_id("operations-link")).first).to_be_visible(
        timeout=READY_MS
    )


def slow_down(page, bytes_per_s):
    session = page.context.new_cdp_session(page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    session.send("Network.emulateNetworkConditions", conditions)


def test_an_upload_is_paused_reloaded_and_gone_on_with(page, fleet, large, test_output):
    folder = test_output / "packages"
    folder.mkdir(exist_ok=True)
    enter(page, fleet)
    page.goto(f"{fleet.url}/packages")
    expect(page.get_by_test_id("package-upload")).to_be_visible(timeout=READY_MS)
    slow_down(page, SLOW_BYTES_PER_S)
    page.get_by_test_id("package-file").set_input_files(large)
    expect(page.get_by_test_id("upload-sending")).to_contain_text("MB / 40.0 MB", timeout=READY_MS)
    page.screenshot(path=folder / "sending.png")
    with page.expect_response(lambda answer: "/uploads/" in answer.url and answer.request.method == "PUT"):
        pass  # the first part has arrived
    page.get_by_test_id("upload-pause").click()
    expect(page.get_by_test_id("upload-paused")).to_contain_text("paused")
    page.reload()
    left = page.get_by_test_id("upload-left")
    expect(left).to_contain_text("Choose the same file again", timeout=READY_MS)
    expect(left).not_to_contain_text("0 B /")
    page.screenshot(path=folder / "left.png")
    page.get_by_test_id("package-file").set_input_files(large)
    expect(page.get_by_test_id("upload-done")).to_contain_text("large 1", timeout=40_000)
    assert fleet.get("/packages?name=large")["total"] == 1


def test_a_version_is_marked_compared_and_looked_after(page, fleet, test_output):
    folder = test_output / "packages"
    folder.mkdir(exist_ok=True)
    enter(page, fleet)
    page.goto(f"{fleet.url}/packages/app/1.1")
    expect(page.get_by_test_id("package-usage")).to_contain_text("Nobody uses", timeout=READY_MS)
    page.get_by_test_id("package-tags").fill("stable, lts")
    page.get_by_test_id("package-note").fill("good since May")
    page.get_by_test_id("package-mark").click()
    expect(page.get_by_test_id("package-marks")).to_contain_text("last changed by admin")
    expect(page.get_by_test_id("package-row-app-1.1")).to_contain_text("lts")
    page.get_by_test_id("package-against").click()
    page.get_by_role("option", name="1.0").click()
    compare = page.get_by_test_id("package-compare")
    expect(compare).to_contain_text("env.MODE")
    expect(compare).to_contain_text("+ only-1.1")
    page.screenshot(path=folder / "panel.png", full_page=True)
    page.goto(f"{fleet.url}/packages/app/1.0")
    expect(page.get_by_test_id("package-usage")).to_contain_text("shop/web", timeout=READY_MS)


@pytest.mark.long  # what it decides is tested without a browser; here are its looks
def test_retention_is_looked_at_set_and_carried_out(page, fleet, test_output):
    folder = test_output / "packages"
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(fleet.data / "ops.db") as database:  # nothing goes that is younger than a day
        database.execute("UPDATE packages SET created_ms = created_ms - 864000000 WHERE name = 'app'")
    fleet.call(
        "POST",
        "/packages",
        make_zip({"run.sh": b"x"}, service_json(name="app", version="1.3")),
        media="application/zip",
    )
    enter(page, fleet)
    page.goto(f"{fleet.url}/packages?retention=1")
    field = page.get_by_test_id("retention-versions").locator("input")
    expect(field).to_be_enabled(timeout=READY_MS)
    field.fill("1")
    field.press("Enter")
    preview = page.get_by_test_id("retention-preview")
    expect(preview).to_contain_text("stays: in use or wanted back")
    page.screenshot(path=folder / "retention.png")
    page.get_by_test_id("retention-save").click()
    page.get_by_test_id("retention-run").click()
    page.get_by_test_id("confirm-ok").click()
    expect(page.get_by_test_id("operation-note-state")).to_contain_text("succeeded", timeout=READY_MS)
    left = [one["version"] for one in fleet.get("/packages?name=app")["items"]]
    assert "1.2" not in left
    assert "1.0" in left
    for look, scheme, language in (("zh-dark", "dark", "zh-CN"), ("narrow", "light", "en-US")):
        size = {"width": 480 if look == "narrow" else 1440, "height": 900}
        context = page.context.browser.new_context(viewport=size, locale=language, color_scheme=scheme)
        other = context.new_page()
        enter(other, fleet)
        for name, path in (("retention", "packages?retention=1"), ("panel", "packages/app/1.0")):
            other.goto(f"{fleet.url}/{path}")
            expect(other.get_by_test_id("side-panel").or_(other.get_by_test_id("retention-panel")).first).to_be_visible(
                timeout=READY_MS
            )
            other.screenshot(path=folder / f"{name}-{look}.png")
        context.close()
