"""A person at the console: signing in, making users, and proofs that have grown old."""

import contextlib
import sqlite3

import playwright.sync_api

from tests.fakes.fleet import PASSWORD, Fleet

SHOWN = 3000  # characters of a page


def sign_in(page, fleet: Fleet, username: str, password: str = PASSWORD) -> None:
    """Fill the login form and send it; say what stood on the page when it was not there."""
    page.goto(f"{fleet.url}/login")
    field = page.get_by_test_id("login-username")
    try:
        field.wait_for()
    except playwright.sync_api.Error as error:
        raise AssertionError(f"no form at {page.url}: {page.content()[:SHOWN]}") from error
    field.fill(username)
    page.get_by_test_id("login-password").fill(password)
    page.get_by_test_id("login-submit").click()


def create_user(page, fleet: Fleet, name: str, role: str) -> None:
    """Add a user by the form."""
    page.goto(f"{fleet.url}/settings/users")
    page.get_by_test_id("user-create").click()
    page.get_by_test_id("user-name").fill(name)
    page.get_by_test_id("user-password").fill(PASSWORD)
    page.get_by_test_id("access-role").select_option(role)
    page.get_by_test_id("user-save").click()


def let_proofs_age(fleet: Fleet) -> None:
    """Make every session's proof of the password too old for what wants a fresh one."""
    fleet.stop("master")
    with contextlib.closing(sqlite3.connect(fleet.data / "ops.db")) as database, database:
        database.execute("UPDATE sessions SET proven_ms = 0")
    fleet.start_master()
