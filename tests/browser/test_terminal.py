"""The terminal in Chromium: a real shell, programs of the whole screen, a reload, and what a hostile program may not do."""

import hashlib
import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.fakes.console import let_proofs_age, sign_in
from tests.fakes.fleet import PASSWORD, Fleet, until

READY_MS = 40_000
HAS_WEBGL = True
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
    admin.get_by_test_id("terminal-options").click()
    admin.get_by_test_id("terminal-search").click()
    admin.get_by_test_id("terminal-find").fill("200")
    admin.keyboard.press("Enter")
    admin.keyboard.press("Escape")
    admin.reload()
    expect(admin.get_by_test_id("terminal-screen")).to_have_attribute("data-phase", "open", timeout=READY_MS)
    wait_for(admin, "200")
    admin.keyboard.press("q")
    type_line(admin, "echo back-$((1+1))")
    wait_for(admin, "back-2")
    admin.set_viewport_size({"width": 900, "height": 500})
    type_line(admin, "clear; until [ $(stty size | cut -d' ' -f2) -lt 130 ]; do sleep 0.1; done; echo narrow-$((1+1))")
    wait_for(admin, "narrow-2")
    type_line(admin, "echo cols-$(($(stty size | cut -d' ' -f2) > 40))")
    wait_for(admin, "cols-1")
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


PASTE = """text => {
  const data = new DataTransfer()
  data.setData('text/plain', text)
  const target = document.querySelector('.xterm-helper-textarea')
  target.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))
}"""


def test_ten_megabytes_are_pasted_whole_and_asked_about_in_short(admin, fleet):
    open_terminal(admin, fleet)
    admin.evaluate(PASTE, "x" * 10_000_000 + "\n" + "echo never-$((1+1))\n")
    expect(admin.get_by_test_id("confirm")).to_contain_text("xxx")
    assert len(admin.get_by_test_id("confirm").inner_text()) < 5000
    admin.get_by_test_id("confirm-cancel").click()
    admin.locator(".xterm-helper-textarea").focus()
    type_line(admin, "stty raw -echo; echo r''aw; head -c 10000000 | md5sum; stty sane")
    wait_for(admin, "raw")
    text = "0123456789" * 1_000_000
    admin.evaluate(PASTE, text)
    wait_for(admin, hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    expect(admin.get_by_test_id("terminal-screen")).to_have_attribute("data-phase", "open")


def test_several_lines_are_asked_about_before_they_are_typed(admin, fleet):
    open_terminal(admin, fleet)
    admin.evaluate(PASTE, "echo one-$((1+1))\necho two-$((1+1))\n")
    expect(admin.get_by_test_id("confirm")).to_contain_text("echo two")
    admin.get_by_test_id("confirm-cancel").click()
    admin.locator(".xterm-helper-textarea").focus()
    admin.evaluate(PASTE, "echo safe-$((2+2))")
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


def open_phase(page) -> None:
    expect(page.get_by_test_id("terminal-screen").last).to_have_attribute("data-phase", "open", timeout=READY_MS)


@pytest.mark.skipif(shutil.which("vim.tiny") is None, reason="vim.tiny is not here (Debian: vim-tiny)")
def test_an_editor_outlives_a_resize_a_reload_other_pages_and_a_restart_of_the_master(
    admin, fleet, tmp_path, test_output
):
    open_terminal(admin, fleet)
    file = tmp_path / "written"
    type_line(admin, f"TERM=xterm vim.tiny -u NONE -n {file}")
    wait_for(admin, "~")
    admin.keyboard.type("ifirst")
    wait_for(admin, "first")
    admin.set_viewport_size({"width": 900, "height": 500})
    admin.keyboard.press("Enter")
    admin.keyboard.type("second")
    wait_for(admin, "second")
    admin.reload()
    open_phase(admin)
    wait_for(admin, "first")
    admin.get_by_test_id("nav-nodes").click()
    expect(admin.get_by_test_id("terminal-screen")).to_have_count(0)
    admin.get_by_test_id("nav-terminal").click()
    open_phase(admin)
    wait_for(admin, "second")
    fleet.stop("master")
    expect(admin.get_by_test_id("terminal-screen").last).to_have_attribute("data-phase", "broken", timeout=READY_MS)
    fleet.start_master()
    open_phase(admin)
    wait_for(admin, "second")
    (test_output / "terminal").mkdir(exist_ok=True)
    admin.screenshot(path=test_output / "terminal" / "vim.png")
    admin.keyboard.press("Enter")
    admin.keyboard.type("third")
    wait_for(admin, "third")
    admin.keyboard.press("Escape")
    type_line(admin, ":wq")
    until(lambda: file.exists() and file.read_text() == "first\nsecond\nthird\n", "the file is written")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("htop") is None, reason="htop is not here")
def test_a_program_that_draws_all_the_time_is_drawn_anew_after_a_resize(admin, fleet, test_output):
    open_terminal(admin, fleet)
    type_line(admin, "htop -d 2")
    wait_for(admin, "Load average")
    admin.set_viewport_size({"width": 1000, "height": 420})
    admin.reload()
    open_phase(admin)
    wait_for(admin, "Load average")
    (test_output / "terminal").mkdir(exist_ok=True)
    admin.screenshot(path=test_output / "terminal" / "htop.png")
    admin.keyboard.press("q")
    type_line(admin, "echo calm-$((1+1))")
    wait_for(admin, "calm-2")


@pytest.mark.long
def test_two_side_by_side_one_recorded_and_shared(admin, browser, fleet, test_output):
    folder = test_output / "terminal"
    folder.mkdir(exist_ok=True)
    open_terminal(admin, fleet)
    admin.get_by_test_id("terminal-options").click()
    admin.get_by_test_id("terminal-record").check()
    admin.keyboard.press("Escape")
    admin.get_by_test_id("terminal-split-columns").click()
    screens = admin.get_by_test_id("terminal-screen")
    expect(screens).to_have_count(2)
    open_phase(admin)
    expect(screens.first).to_be_visible()
    expect(screens.last).to_be_visible()
    expect(admin.get_by_test_id("terminal-recording")).to_have_count(1)
    admin.screenshot(path=folder / "split.png")
    admin.get_by_test_id("terminal-split-one").click()
    expect(screens.first).to_be_hidden()
    expect(admin.locator(".xterm-helper-textarea").last).to_be_focused()
    type_line(admin, "echo recorded-$((1+1))")
    wait_for(admin, "recorded-2")
    session = admin.evaluate("() => new URL(location.href).searchParams.get('open').split('~').at(-1)")
    admin.get_by_test_id("terminal-sessions").click()
    admin.get_by_test_id(f"terminal-session-{session}").get_by_test_id("terminal-share").click()
    admin.get_by_test_id("share-create").click()
    address = admin.get_by_test_id("share").locator("code").inner_text()
    admin.screenshot(path=folder / "share.png")
    look_as_guest(browser, fleet, address, lambda: admin.get_by_test_id("share-revoke").click(), folder)
    admin.get_by_test_id("panel-close").click()
    admin.locator(".xterm-helper-textarea").last.focus()
    type_line(admin, "exit")
    expect(admin.get_by_test_id("terminal-end").last).to_be_visible()
    play_recording(admin, folder)


def look_as_guest(browser, fleet: Fleet, address: str, revoke, folder) -> None:
    """A person who may only see looks by the link, types in vain, and is let go when it is taken back."""
    fleet.master_command("user", "create", "vic", "--role", "viewer", "--password-stdin", stdin=PASSWORD)
    context = browser.new_context(locale="zh-CN", color_scheme="dark")
    context.add_init_script(READ_ROWS)
    context.add_init_script("localStorage.setItem('ops.terminal-reader', 'true')")
    guest = context.new_page()
    sign_in(guest, fleet, "vic")
    expect(guest.get_by_test_id("nav-nodes")).to_be_visible(timeout=READY_MS)
    expect(guest.get_by_test_id("nav-terminal")).to_have_count(0)
    guest.goto(address)
    open_phase(guest)
    wait_for(guest, "recorded-2")
    expect(guest.get_by_test_id("terminal-read-only")).to_be_visible()
    guest.keyboard.type("echo never-$((1+1))\n")
    guest.screenshot(path=folder / "shared.png")
    revoke()
    expect(guest.get_by_test_id("terminal-screen")).to_have_attribute("data-phase", "broken", timeout=READY_MS)
    assert "never" not in rows(guest)
    context.close()


def play_recording(page, folder) -> None:
    """Find the recording in the list, jump to its end, see what was said; begin anew and play."""
    page.get_by_test_id("terminal-options").click()
    page.get_by_test_id("terminal-recordings").click()
    page.screenshot(path=folder / "recordings.png")
    page.locator("[data-test^='recording-rec_']").first.click()
    expect(page.get_by_test_id("recording-play")).to_be_visible(timeout=READY_MS)
    slider = page.get_by_test_id("recording-seek")
    slider.evaluate("node => { node.value = node.max; node.dispatchEvent(new Event('input')) }")
    read = "() => document.querySelector('[data-test=recording-screen]').textContent.includes('recorded-2')"
    page.wait_for_function(read, timeout=READY_MS)
    slider.evaluate("node => { node.value = 0; node.dispatchEvent(new Event('input')) }")
    page.get_by_label("Speed").select_option("8")
    page.get_by_test_id("recording-play").click()
    expect(page.get_by_test_id("recording-play")).to_have_text("▶", timeout=READY_MS)
    page.wait_for_function(read, timeout=READY_MS)
    page.screenshot(path=folder / "player.png")
