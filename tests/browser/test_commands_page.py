"""Commands in Chromium: chosen nodes, live results, a cancelled run, the history and the library."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import sign_in
from tests.fakes.fleet import PASSWORD, Fleet

READY_MS = 40_000
COLOURS = r"printf '\033[31mred\033[0m <b>plain</b>\n'; echo warned >&2; sleep 0.1"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """Two nodes, one of them labelled, an administrator and an operator without grants."""
    with Fleet(tmp_path_factory.mktemp("commands-page")) as running:
        running.start_master()
        running.start_worker("n1")
        second = running.start_worker("n2")
        running.call("PATCH", f"/nodes/{second}", {"labels": {"zone": "b"}})
        for name, role in (("admin", "admin"), ("olga", "operator")):
            running.master_command("user", "create", name, "--role", role, "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-commands")).to_be_visible(timeout=READY_MS)
    return page


def write(page, fleet: Fleet, line: str, *nodes: str) -> None:
    """Fill the form: a shell line on these nodes."""
    page.goto(f"{fleet.url}/commands")
    page.get_by_test_id("command-line").fill(line)
    for name in nodes:
        page.get_by_test_id(f"command-node-{name}").check()
    expect(page.get_by_test_id("command-struck")).to_contain_text(str(len(nodes)))


def result(page, node: str):
    return page.get_by_test_id(f"result-{node}")


def test_many_nodes_are_named_before_and_each_answers(admin, fleet, test_output):
    write(admin, fleet, COLOURS + "; test -e missing || exit 7", "n1", "n2")
    admin.get_by_test_id("command-run").click()
    expect(admin.get_by_test_id("confirm").locator("li")).to_have_text(["n1", "n2"])
    admin.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("run-state")).to_have_attribute("data-state", "failed", timeout=READY_MS)
    expect(result(admin, "n1").get_by_test_id("result-exit")).to_contain_text("7")
    admin.get_by_test_id("run-unfold").click()
    said = result(admin, "n2").get_by_test_id("result-stdout")
    expect(said).to_have_text("red <b>plain</b>")
    expect(said.locator(".c1")).to_have_text("red")
    expect(result(admin, "n2").get_by_test_id("result-stderr")).to_have_text("warned")
    folder = test_output / "commands"
    folder.mkdir(exist_ok=True)
    admin.screenshot(path=folder / "run.png")

    before = admin.url
    admin.get_by_test_id("run-retry").click()
    admin.wait_for_url(lambda url: url != before and "/commands/op" in url)
    expect(admin.get_by_test_id("run-state")).to_have_attribute("data-state", "failed", timeout=READY_MS)
    admin.get_by_test_id("run-again").click()
    expect(admin.get_by_test_id("command-line")).to_have_value(COLOURS + "; test -e missing || exit 7")
    expect(admin.get_by_test_id("command-struck")).to_contain_text("n1, n2")
    admin.screenshot(path=folder / "form.png")
    admin.locator(f'[data-test="command-row-{before.rpartition("/")[2]}"]').click()
    expect(admin.get_by_test_id("run-state")).to_be_visible()
    assert admin.url == before


def test_nodes_ticked_in_their_list_are_those_of_the_form(admin, fleet):
    admin.goto(f"{fleet.url}/nodes")
    for node in fleet.get("/nodes")["items"]:
        admin.get_by_test_id(f"node-row-{node['id']}").locator("input[type=checkbox]").check()
    admin.get_by_test_id("nodes-command").click()
    expect(admin.get_by_test_id("command-struck")).to_contain_text("n1, n2", timeout=READY_MS)


def test_what_a_node_says_is_seen_while_it_says_it_and_a_cancel_keeps_it(admin, fleet):
    node_id = next(node["id"] for node in fleet.get("/nodes")["items"] if node["name"] == "n1")
    admin.goto(f"{fleet.url}/nodes/{node_id}")
    admin.get_by_test_id("node-command").click()
    expect(admin.get_by_test_id("command-struck")).to_contain_text("n1")
    admin.get_by_test_id("command-line").fill("echo begun; exec sleep 600")
    admin.get_by_test_id("command-run").click()
    expect(result(admin, "n1").get_by_test_id("result-stdout")).to_have_text("begun", timeout=READY_MS)
    expect(admin.get_by_test_id("run-state")).to_have_attribute("data-state", "running")
    admin.get_by_test_id("run-cancel").click()
    expect(admin.get_by_test_id("confirm").locator("li")).to_have_text(["n1"])
    admin.get_by_test_id("confirm-ok").click()
    expect(result(admin, "n1").get_by_test_id("result-state")).to_have_attribute("data-state", "cancelled")
    expect(result(admin, "n1").get_by_test_id("result-stdout")).to_have_text("begun")
    admin.reload()
    expect(result(admin, "n1").get_by_test_id("result-stdout")).to_have_text("begun", timeout=READY_MS)


def test_labels_choose_words_need_no_shell_and_long_output_is_loaded_whole(admin, fleet):
    admin.goto(f"{fleet.url}/commands")
    admin.get_by_test_id("command-mode-words").check()
    admin.get_by_test_id("command-words").fill("seq\n10000")
    admin.get_by_test_id("command-by-labels").check()
    admin.get_by_test_id("command-labels").fill("zone=b")
    expect(admin.get_by_test_id("command-struck")).to_contain_text("n2")
    admin.get_by_test_id("command-run").click()
    expect(admin.get_by_test_id("run-state")).to_have_attribute("data-state", "succeeded", timeout=READY_MS)
    said = result(admin, "n2").get_by_test_id("result-stdout")
    expect(said).to_contain_text("10000")
    assert not said.inner_text().startswith("1\n2\n")
    result(admin, "n2").get_by_test_id("result-all").click()
    expect(result(admin, "n2").get_by_test_id("result-all")).to_have_count(0)
    assert said.inner_text().startswith("1\n2\n")


def test_a_command_is_kept_taken_renamed_and_forgotten(admin, fleet):
    write(admin, fleet, "uptime -p")
    admin.get_by_test_id("saved-name").fill("how long")
    admin.get_by_test_id("saved-keep").click()
    kept = admin.get_by_test_id("saved-how long")
    expect(kept).to_contain_text("uptime -p")
    admin.get_by_test_id("command-line").fill("uptime -s")
    admin.get_by_test_id("saved-name").fill("how long")
    admin.get_by_test_id("saved-keep").click()
    expect(kept).to_contain_text("uptime -s")
    admin.get_by_test_id("command-line").fill("")
    kept.get_by_test_id("saved-take").click()
    expect(admin.get_by_test_id("command-line")).to_have_value("uptime -s")
    kept.get_by_test_id("saved-rename").click()
    admin.get_by_test_id("saved-new-name").fill("since when")
    admin.get_by_test_id("saved-rename-save").click()
    renamed = admin.get_by_test_id("saved-since when")
    expect(renamed).to_contain_text("uptime -s")
    admin.goto(f"{fleet.url}/")
    admin.get_by_test_id("fleet-grid").wait_for()
    admin.keyboard.press("Control+k")
    admin.get_by_test_id("palette-input").fill("run since")
    admin.get_by_text("Run: since when").wait_for()
    admin.keyboard.press("Enter")
    expect(admin.get_by_test_id("command-line")).to_have_value("uptime -s", timeout=READY_MS)
    renamed.get_by_test_id("saved-remove").click()
    admin.get_by_test_id("confirm-ok").click()
    expect(renamed).to_have_count(0)


def test_the_page_is_not_offered_without_the_grant(page, fleet):
    sign_in(page, fleet, "olga")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    expect(page.get_by_test_id("nav-commands")).to_have_count(0)
