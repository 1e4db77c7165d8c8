"""A page of which a part does not come, as when the network changes under it, comes all the same."""

import re

import pytest
from playwright.sync_api import expect

READY_MS = 40_000


@pytest.fixture
def page(browser):
    context = browser.new_context(locale="en-US")
    yield context.new_page()
    context.close()


def parts_of(page, fleet):
    """Return the scripts that the sign-in page fetches."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    page.goto(f"{fleet.url}/login")
    expect(page.get_by_test_id("login-username")).to_be_visible(timeout=READY_MS)
    return sorted({url for url in found if "/assets/" in url and url.endswith(".js")})


def test_any_script_that_fails_once_is_fetched_again(page, fleet, browser):
    parts = parts_of(page, fleet)
    failed: set[str] = set()

    def once(route):
        if route.request.url in failed:
            route.continue_()
        else:
            failed.add(route.request.url)
            route.abort("internetdisconnected")

    for part in parts:
        context = browser.new_context(locale="en-US")
        other = context.new_page()
        other.route(part, once)
        other.goto(f"{fleet.url}/login")
        expect(other.get_by_test_id("login-username"), part).to_be_visible(timeout=READY_MS)
        context.close()
    assert len(failed) > 3, "some are asked for only after the form is there"


def test_what_never_comes_is_not_asked_for_without_end(page, fleet):
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.is_navigation_request() else None)
    page.route("**/assets/*.js", lambda route: route.abort("internetdisconnected"))
    page.goto(f"{fleet.url}/login")
    expect(page.locator("body")).to_contain_text("控制台未能加载", timeout=READY_MS)
    assert len(loads) == 4, "once, and three times again"


def test_the_style_of_a_later_page_that_fails_once_is_fetched_again(admin):
    asked: list[str] = []

    def once(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            route.abort("internetdisconnected")
        else:
            route.continue_()

    admin.route("**/assets/AuditPage-*.css", once)
    admin.get_by_test_id("nav-audit").click()
    expect(admin).to_have_url(re.compile("/audit$"), timeout=READY_MS)
    expect(admin.locator("link[href*='AuditPage-'][rel=stylesheet]")).to_have_count(1, timeout=READY_MS)
    expect(admin.get_by_text("user.create")).to_be_visible(timeout=READY_MS)
    assert len(asked) == 2, "the page was loaded again"
