"""Debian's Chromium, driven by Playwright, against a real master and worker."""

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Error, expect

from tests.fakes.chromium import chromium, english_page, why_not
from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet
from tests.fakes.provisioning import Site

SHOWN = 2000  # characters


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Say with a failure where the page was and what stood on it."""
    outcome = yield
    report, page = outcome.get_result(), getattr(item, "funcargs", {}).get("page")
    if report.when == "call" and report.failed and page is not None:
        with contextlib.suppress(Error):
            report.sections.append(("the page", f"{page.url}\n{page.locator('body').inner_text()[:SHOWN]}"))


@pytest.fixture(scope="module")
def browser(request) -> Iterator[object]:
    """One headless Chromium for a file: while Playwright is open, no test of another folder can have an event loop.

    A file says `HAS_WEBGL = True` when its tests want WebGL.
    """
    if reason := why_not():
        pytest.skip(reason)
    with chromium(has_webgl=getattr(request.module, "HAS_WEBGL", False)) as started:
        yield started


@pytest.fixture
def page(browser):
    """A fresh English, light page; a script error or a failed console assertion fails the test."""
    with english_page(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A master with one administrator, and nothing else; a file that needs more has a fleet of its own."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture(scope="module")
def site(fleet) -> Iterator[Site]:
    """A data centre of the file's `fleet`, whose regional client is heard."""
    with Site(fleet, "dc1") as running:
        running.open()
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-provisioning")).to_be_visible()
    return page
