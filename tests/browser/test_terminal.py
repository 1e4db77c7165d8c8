"""The terminal in Chromium: a real shell, programs of the whole screen, a reload, and what a hostile program may not do."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, Fleet, until

READY_MS = 20_000
ESCAPES = r"\033]0;<b>title</b>\007\033[c\033[6n\033[>c\033]52;c;ZXZpbA==\007\033]11;?\007\033[21t\033P$qm\033\\"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """One node and an administrator."""
    with Fleet(tmp_path_factory.mktemp("terminal")) as running:
        running.start_master()
        running.start_worker("w1")
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        yield running


@pytest.fixture
def admin(page, fleet):
    """A page where the administrator is signed in."""
    sign_in(page, fleet, "admin")
    expect(page.get_by_test_id("nav-terminal")).to_be_visible(timeout=READY_MS)
    return page


def open_terminal(page, fleet: Fleet):
    """Open a terminal from the node's page; return its screen, a plain shell ready in it."""
    node_id = fleet.get("/nodes")["items"][0]["id"]
    page.goto(f"{fleet.url}/nodes/{node_id}")
    page.get_by_test_id("node-terminal").click()
    screen = page.get_by_test_id("terminal-screen").last
    expect(screen).to_have_attribute("data-phase", "open", timeout=READY_MS)
    type_line(page, "exec env -i TERM=xterm-256color PATH=$PATH HOME=/ bash --norc")
    type_line(page, "PS1='$ '; clear; echo ready-$((1+1))")
    wait_for(page, "ready-2")
    return screen


def type_line(page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def rows(page) -> str:
    """Return what the front terminal shows, as a reader for the blind would: xterm keeps its rows in `textContent`."""
    return page.evaluate("() => window.__rows()")


READ_ROWS = """
window.__rows = () => {
  const screens = [...document.querySelectorAll('[data-test="terminal-screen"]')]
  const shown = screens.find((one) => one.getClientRects().length > 0)
  return shown ? [...shown.querySelectorAll('.xterm-accessibility-tree > div')].map((row) => row.textContent).join('\\n') : ''
}
"""


def wait_for(page, text: str) -> None:
    page.wait_for_function("text => window.__rows().includes(text)", arg=text, timeout=READY_MS)


@pytest.fixture(autouse=True)
def readable(page) -> None:
    """Let xterm keep its rows as text beside the picture."""
    page.add_init_script(READ_ROWS)
    page.add_init_script("localStorage.setItem('ops.terminal-reader', 'true')")


def test_a_shell_a_full_screen_program_and_a_reload(admin, fleet, test_output):
    open_terminal(admin, fleet)
    type_line(admin, "seq 1 200 | less")
    wait_for(admin, "\n3")
    admin.keyboard.press("G")
    wait_for(admin, "200")
    folder = test_output / "terminal"
    folder.mkdir(exist_ok=True)
    admin.screenshot(path=folder / "less.png")
    admin.reload()
    expect(admin.get_by_test_id("terminal-screen")).to_have_attribute("data-phase", "open", timeout=READY_MS)
    wait_for(admin, "200")
    admin.keyboard.press("q")
    type_line(admin, "echo back-$((1+1))")
    wait_for(admin, "back-2")
    admin.set_viewport_size({"width": 900, "height": 500})
    type_line(admin, "clear; sleep 0.2; echo cols-$(stty size | cut -d' ' -f2)-")
    wait_for(admin, "-\n")
    columns = int(rows(admin).partition("cols-")[2].partition("-")[0])
    assert 40 < columns < 130
    admin.screenshot(path=folder / "narrow.png")
    type_line(admin, "exit 3")
    expect(admin.get_by_test_id("terminal-end")).to_contain_text("3")


def test_a_hostile_program_gets_no_answer_no_clipboard_and_no_markup(admin, fleet):
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_terminal(admin, fleet)
    admin.evaluate("() => navigator.clipboard.writeText('untouched')")
    type_line(admin, f"printf '{ESCAPES}'; read -t 1 -n 1 answer; echo got-${{#answer}}-")
    wait_for(admin, "got-0-")
    assert admin.evaluate("() => navigator.clipboard.readText()") == "untouched"
    expect(admin.locator(".tab .second").first).to_have_text("<b>title</b>")


def test_several_lines_are_asked_about_before_they_are_typed(admin, fleet):
    open_terminal(admin, fleet)
    paste = """text => {
      const data = new DataTransfer()
      data.setData('text/plain', text)
      const target = document.querySelector('.xterm-helper-textarea')
      target.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))
    }"""
    admin.evaluate(paste, "echo one-$((1+1))\necho two-$((1+1))\n")
    expect(admin.get_by_test_id("confirm")).to_contain_text("echo two")
    admin.get_by_test_id("confirm-cancel").click()
    admin.locator(".xterm-helper-textarea").focus()
    admin.evaluate(paste, "echo safe-$((2+2))")
    type_line(admin, "")
    wait_for(admin, "safe-4")
    assert "one-2" not in rows(admin)


def test_an_old_proof_is_asked_for_before_a_terminal_opens(admin, fleet):
    let_proofs_age(fleet)
    until(lambda: fleet.get("/nodes")["items"][0]["status"] == "online", "the node is back")
    admin.goto(f"{fleet.url}/terminal")
    admin.get_by_test_id("terminal-new").click()
    admin.get_by_test_id("step-up-password").fill(PASSWORD)
    admin.get_by_test_id("step-up-submit").click()
    expect(admin.get_by_test_id("terminal-screen").last).to_have_attribute("data-phase", "open", timeout=READY_MS)


def test_a_session_is_found_looked_at_and_ended_from_another_page(admin, browser, fleet):
    open_terminal(admin, fleet)
    type_line(admin, "echo shared-$((1+1))")
    wait_for(admin, "shared-2")
    session = json.loads(admin.evaluate("() => JSON.stringify(new URL(location.href).searchParams.get('open'))"))
    context = browser.new_context(locale="zh-CN", color_scheme="dark")
    context.add_init_script(READ_ROWS)
    context.add_init_script("localStorage.setItem('ops.terminal-reader', 'true')")
    other = context.new_page()
    sign_in(other, fleet, "admin")
    expect(other.get_by_test_id("nav-terminal")).to_be_visible(timeout=READY_MS)
    other.goto(f"{fleet.url}/terminal")
    other.get_by_test_id("terminal-sessions").click()
    row = other.get_by_test_id(f"terminal-session-{session.rpartition('~')[2]}")
    row.get_by_test_id("terminal-watch").click()
    wait_for(other, "shared-2")
    expect(other.get_by_test_id("terminal-read-only")).to_be_visible()
    expect(admin.get_by_test_id("terminal-viewers")).to_be_visible()
    other.get_by_test_id("terminal-sessions").click()
    row.get_by_test_id("terminal-end-session").click()
    other.get_by_test_id("confirm-ok").click()
    expect(admin.get_by_test_id("terminal-end")).to_be_visible()
    context.close()
