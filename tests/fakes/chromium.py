"""Debian's Chromium, driven by Playwright.

with chromium() as browser, english_page(browser) as page:
    page.goto(url)
While one is open, nothing else in this thread can have an event loop.
"""

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_MS = 40_000
"""How long something may take to be seen on a page: a computer with much else to do is slow, and no fault."""
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NO_GRAPHICS = ["--disable-gpu"]
"""Painted by the processor: several times cheaper than a graphics card that the processor plays."""
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def why_not() -> str:
    """Return why there is no browser here, empty when there is one."""
    return "" if CHROMIUM else "no chromium: install Debian's package `chromium`"


@contextlib.contextmanager
def chromium(*, has_webgl: bool = False) -> "Iterator[Browser]":
    """Start one without a window; elements are found by their `data-test`."""
    from playwright.sync_api import expect, sync_playwright  # not there where no browser is driven

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS + (WEBGL if has_webgl else NO_GRAPHICS)
        )
        yield browser
        browser.close()


NETWORK_CHANGED = ("net::ERR_NETWORK_CHANGED", "Unable to preload CSS", "Failed to fetch dynamically imported module")


def is_fault(text: str) -> bool:
    """Whether an error of the browser is about us. Tests beside this one make and remove network interfaces: Chromium
    ends what is on its way then, and the page loads it again. A file that is not there has an error of its own (404)."""
    return not any(words in text for words in NETWORK_CHANGED)


@contextlib.contextmanager
def english_page(browser: "Browser") -> "Iterator[Page]":
    """Open a fresh page, English and light; a script error fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US", color_scheme="light")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)) if is_fault(str(error)) else None)
    yield page
    context.close()
    assert errors == []
