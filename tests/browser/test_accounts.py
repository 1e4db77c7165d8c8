"""Accounts in a browser: users, roles, second factor, fresh proof, API tokens, sessions, the audit log."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import expect

from tests.fakes.console import create_user, let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, Fleet, free_port, pack

ROOT = Path(__file__).resolve().parents[2]
STEP_S = 30
READY_MS = 40_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """One node, one running instance, one administrator."""
    folder = tmp_path_factory.mktemp("accounts")
    with Fleet(folder) as running:
        running.start_master()
        node_id = running.start_worker("w1")
        package = running.upload(pack(ROOT / "examples/http-service", folder / "http.zip"))
        running.deploy(package, node_id, name="web", ports={"http": free_port()})
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-audit")).to_be_visible(timeout=READY_MS)
    return page


def call_api(fleet: Fleet, token: str) -> int:
    """Return the status the API answers a token with."""
    request = urllib.request.Request(f"{fleet.url}/api/v1/nodes", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def addresses(fleet: Fleet) -> list[str]:
    """Return the pages where an operator would find something to do."""
    node = fleet.get("/nodes")["items"][0]
    instance = fleet.get("/instances")["items"][0]
    system = fleet.get("/systems")["items"][0]
    module = fleet.get(f"/systems/{system['id']}/modules")["items"][0]
    return [
        "/nodes",
        f"/nodes/{node['id']}",
        "/systems",
        f"/systems/{system['id']}",
        f"/systems/{system['id']}/modules/{module['id']}",
        "/packages",
        f"/instances/{instance['id']}",
        "/operations",
    ]


ACTIONS = re.compile(
    r"^(node-(add|pause|drain|edit|revoke|remove)|join-create|system-(create|edit|remove|deploy|start|stop|restart|destroy)"
    r"|(panel-)?module-(create|edit|remove)|(panel-)?deploy(-open)?|package-(upload|remove)"
    r"|instance-(start|stop|restart|kill|destroy)|operation-(cancel|retry))$"
)


def actions_on(page, address: str) -> set[str]:
    """Return the handles of actions a page shows once its content is there."""
    page.goto(address)
    expect(page.get_by_test_id("link-state")).to_have_attribute("data-phase", "live", timeout=READY_MS)
    page.wait_for_load_state("networkidle", timeout=READY_MS)
    handles = page.locator("[data-test]").evaluate_all("all => all.map(one => one.dataset.test)")
    return {handle for handle in handles if ACTIONS.match(handle)}


@pytest.mark.parametrize(("role", "acts"), [pytest.param("viewer", False, marks=pytest.mark.long), ("operator", True)])
def test_what_a_role_may_not_do_is_not_shown(browser, admin, fleet, role, acts):
    create_user(admin, fleet, f"eve-{role}", role)
    expect(admin.get_by_test_id(f"user-row-eve-{role}")).to_be_visible()
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    sign_in(page, fleet, f"eve-{role}")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    shown = {address: actions_on(page, fleet.url + address) for address in addresses(fleet)}
    for address, handles in shown.items():
        if not acts:
            assert handles == set(), address
        assert not handles & {"node-add", "node-edit", "node-revoke", "node-remove", "join-create"}, address
    if acts:
        assert {"instance-stop", "system-create", "package-upload", "node-pause"} <= set().union(*shown.values())
    expect(page.get_by_test_id("nav-audit")).to_have_count(0)
    page.goto(f"{fleet.url}/settings")
    expect(page.get_by_test_id("tab-profile")).to_be_visible()
    expect(page.get_by_test_id("tab-users")).to_have_count(0)
    page.goto(f"{fleet.url}/audit")
    expect(page.get_by_test_id("error-note").first).to_be_visible()
    context.close()


def test_the_second_factor_from_enrolment_to_login(browser, admin, fleet, test_output):
    create_user(admin, fleet, "otto", "operator")
    expect(admin.get_by_test_id("user-row-otto")).to_be_visible()
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    sign_in(page, fleet, "otto")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    page.goto(f"{fleet.url}/settings/profile")
    page.get_by_test_id("totp-enrol").click()
    expect(page.get_by_test_id("totp-qr")).to_be_visible()
    secret = page.get_by_test_id("totp-secret").locator("code").inner_text().replace(" ", "")
    (test_output / "accounts").mkdir(exist_ok=True)
    page.screenshot(path=test_output / "accounts" / "totp.png")
    page.get_by_test_id("totp-code").fill(pyotp.TOTP(secret).now())
    page.get_by_test_id("totp-confirm").click()
    codes = page.get_by_test_id("totp-codes").locator("code").inner_text().split()
    assert len(set(codes)) == 10
    with page.expect_download() as download:
        page.get_by_test_id("totp-codes-save").click()
    assert Path(download.value.path()).read_text().split() == codes
    page.get_by_test_id("totp-codes-done").click()
    expect(page.get_by_test_id("totp-state")).to_contain_text("on")

    page.get_by_test_id("user-menu").click()
    page.get_by_test_id("sign-out").click()
    sign_in(page, fleet, "otto")
    page.get_by_test_id("login-totp").fill("000000")
    page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("error-note")).to_be_visible()
    # A code is good once: the one of the next half minute is good already, and was not used.
    page.get_by_test_id("login-totp").fill(pyotp.TOTP(secret).at(time.time() + STEP_S))
    page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)

    page.get_by_test_id("user-menu").click()
    page.get_by_test_id("sign-out").click()
    sign_in(page, fleet, "otto")
    page.get_by_test_id("login-totp").fill(codes[0])
    page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    context.close()


def test_an_old_proof_is_asked_for_anew(admin, fleet):
    let_proofs_age(fleet)
    create_user(admin, fleet, "late", "viewer")
    admin.get_by_test_id("step-up-password").fill("not the password")
    admin.get_by_test_id("step-up-submit").click()
    expect(admin.get_by_test_id("step-up").get_by_test_id("error-note")).to_be_visible()
    admin.get_by_test_id("step-up-password").fill(PASSWORD)
    admin.get_by_test_id("step-up-submit").click()
    expect(admin.get_by_test_id("user-row-late")).to_be_visible()


def test_a_refused_proof_leaves_the_form_as_it_is(admin, fleet):
    let_proofs_age(fleet)
    create_user(admin, fleet, "never", "viewer")
    admin.get_by_test_id("step-up-cancel").click()
    expect(admin.get_by_test_id("error-note")).to_contain_text("password")
    expect(admin.get_by_test_id("user-name")).to_have_value("never")
    assert "never" not in {user["username"] for user in fleet.get("/users")["items"]}


def test_an_api_token_is_shown_once_and_works_until_revoked(admin, fleet):
    admin.goto(f"{fleet.url}/settings/tokens")
    admin.get_by_test_id("token-create").click()
    admin.get_by_test_id("token-name").fill("ci")
    admin.get_by_test_id("token-save").click()
    secret = admin.get_by_test_id("token-secret").locator("code").inner_text()
    assert secret.startswith("ops_")
    assert call_api(fleet, secret) == 200
    admin.get_by_test_id("token-close").click()
    expect(admin.get_by_test_id("token-secret")).to_have_count(0)
    assert secret not in admin.content()
    admin.get_by_test_id("token-row-ci").click()
    admin.get_by_test_id("token-revoke").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("token-row-ci")).to_have_count(0)
    assert call_api(fleet, secret) == 401


def test_a_join_token_comes_with_its_commands(admin, fleet):
    admin.goto(f"{fleet.url}/settings/join-tokens")
    admin.get_by_test_id("join-token-create").click()
    admin.get_by_test_id("join-labels").fill("zone=a")
    admin.get_by_test_id("join-save").click()
    for system in ("linux", "windows", "darwin"):
        admin.get_by_test_id(f"tab-{system}").click()
        expect(admin.get_by_test_id("join-command")).to_contain_text("opsj1.")
    token = next(token for token in fleet.get("/join-tokens")["items"] if token["labels"] == {"zone": "a"})
    admin.get_by_test_id("panel-close").click()
    row = admin.get_by_test_id(f"join-token-row-{token['id']}")
    row.hover()
    row.get_by_test_id("join-token-revoke").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(row).to_have_count(0)


def test_the_last_administrator_is_explained(admin, fleet):
    admin.goto(f"{fleet.url}/settings/users")
    admin.get_by_test_id("user-row-admin").click()
    expect(admin.get_by_test_id("user-last-admin")).to_be_visible()
    expect(admin.get_by_test_id("user-disable")).to_be_disabled()
    expect(admin.get_by_test_id("user-remove")).to_be_disabled()


def test_a_session_is_ended_from_another(browser, admin, fleet):
    create_user(admin, fleet, "guest", "viewer")
    expect(admin.get_by_test_id("user-row-guest")).to_be_visible()
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    sign_in(page, fleet, "guest")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    session = next(one for one in fleet.get("/sessions")["items"] if one["username"] == "guest")
    admin.goto(f"{fleet.url}/settings/sessions")
    row = admin.get_by_test_id(f"session-row-{session['id']}")
    row.hover()
    row.get_by_test_id("session-end").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(row).to_have_count(0)
    expect(page.get_by_test_id("login-username")).to_be_visible(timeout=READY_MS)
    context.close()


def test_one_s_own_password_is_changed_without_signing_out(browser, admin, fleet):
    create_user(admin, fleet, "pia", "viewer")
    expect(admin.get_by_test_id("user-row-pia")).to_be_visible()
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    sign_in(page, fleet, "pia")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    page.goto(f"{fleet.url}/settings/profile")
    page.get_by_test_id("password-before").fill("not the password")
    page.get_by_test_id("password-after").fill(f"{PASSWORD} 2")
    page.get_by_test_id("password-save").click()
    expect(page.get_by_test_id("error-note")).to_be_visible()
    page.get_by_test_id("password-before").fill(PASSWORD)
    page.get_by_test_id("password-save").click()
    expect(page.get_by_test_id("password-done")).to_be_visible()
    expect(page.get_by_test_id("link-state")).to_have_attribute("data-phase", "live", timeout=READY_MS)
    context.close()


def test_the_audit_log_is_filtered_proven_and_exported(admin, fleet):
    create_user(admin, fleet, "seen", "viewer")
    expect(admin.get_by_test_id("user-row-seen")).to_be_visible()
    admin.get_by_test_id("nav-audit").click()
    admin.get_by_test_id("audit-action").fill("user.create")
    admin.get_by_test_id("audit-action").press("Enter")
    admin.get_by_test_id("table-filter").fill("seen")
    row = admin.locator("[data-test^=audit-row-]")
    expect(row).to_have_count(1)
    row.click()
    expect(admin.get_by_test_id("audit-details")).to_contain_text('"seen"')
    admin.get_by_test_id("panel-close").click()
    admin.get_by_test_id("audit-verify").click()
    expect(admin.get_by_test_id("audit-verdict")).to_contain_text("holds")
    admin.get_by_test_id("audit-export").click()
    with admin.expect_download() as download:
        admin.get_by_test_id("audit-export-jsonl").click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert [(row["action"], row["details"]["username"]) for row in rows] == [("user.create", "seen")]


def test_a_node_is_drained_revoked_and_let_in_again(admin, fleet):
    node_id = fleet.start_worker("w2")
    admin.goto(f"{fleet.url}/nodes/{node_id}")
    admin.get_by_test_id("node-drain").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("node-undrain")).to_be_visible()
    assert fleet.get(f"/nodes/{node_id}")["draining"]
    admin.get_by_test_id("node-undrain").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("node-drain")).to_be_visible()

    admin.get_by_test_id("node-revoke").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("node-revoke")).to_have_text("Re-enable")
    expect(admin.get_by_test_id("node-status")).not_to_have_attribute("data-state", "online", timeout=READY_MS)
    admin.get_by_test_id("node-revoke").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("node-revoke")).to_have_text("Revoke")
    fleet.stop("w2")
    assert fleet.start_worker("w2") == node_id
    expect(admin.get_by_test_id("node-status")).to_have_attribute("data-state", "online", timeout=READY_MS)


def test_a_module_overrides_probe_restarts_and_files(admin, fleet):
    system = fleet.get("/systems")["items"][0]
    module = fleet.get(f"/systems/{system['id']}/modules")["items"][0]
    admin.goto(f"{fleet.url}/systems/{system['id']}/modules/{module['id']}/edit")
    admin.get_by_test_id("module-more").click()
    admin.get_by_test_id("module-health-interval").fill("often")
    expect(admin.get_by_test_id("module-save")).to_be_disabled()
    admin.get_by_test_id("module-health-interval").fill("7s")
    admin.get_by_test_id("module-restart-policy").select_option("always")
    admin.get_by_test_id("module-restart-success_codes").fill("0, 3")
    admin.get_by_test_id("module-mount-add").click()
    admin.get_by_test_id("module-mount-path-0").fill("conf/extra.yaml")
    admin.get_by_test_id("module-mount-content-0").fill("port: ${port.http}\n")
    admin.get_by_test_id("module-save").click()
    expect(admin.get_by_test_id("module-save")).to_have_count(0)
    stored = fleet.get(f"/modules/{module['id']}")
    assert stored["health"] == {"interval": "7s"}
    assert stored["restart"] == {"policy": "always", "success_codes": [0, 3]}
    (mount,) = stored["config_mounts"]
    assert (mount["path"], mount["content"]) == ("conf/extra.yaml", "port: ${port.http}\n")
    assert (mount["mode"], mount["template"]) == ("0640", "")
