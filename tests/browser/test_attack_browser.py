"""A browser of an administrator meets what attackers left in the data, and pages of attackers next door."""

import contextlib
import http.server
import json
import threading
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.fakes.attacker_node import PLAIN, MarkupWorker
from tests.fakes.fleet import PASSWORD, ApiError, Fleet, until
from tests.fakes.packages import SLEEPER, make_zip, service_json

STRANGE = "() => document.querySelectorAll('img[src=\"x\"], svg[onload], body script:not([src])').length"
EVIL_PAGE = """<!doctype html><title>evil</title><iframe src="{url}/nodes"></iframe><script>
const told = {{socket: [], fetches: []}};
const body = JSON.stringify({{name: 'stolen'}});
const tries = [
  ['POST', {{'Content-Type': 'text/plain'}}, 'no-cors'], ['POST', {{'Content-Type': 'application/json'}}, 'cors'],
  ['POST', {{}}, 'no-cors'],
];
Promise.all(tries.map(async ([method, headers, mode]) => {{
  try {{
    const answer = await fetch('{url}/api/v1/systems', {{method, headers, mode, body, credentials: 'include'}});
    told.fetches.push(answer.type === 'opaque' ? 'opaque' : answer.status);
  }} catch (error) {{ told.fetches.push('refused'); }}
}}).concat([(async () => {{
  try {{ told.read = await (await fetch('{url}/api/v1/me', {{credentials: 'include'}})).text(); }}
  catch (error) {{ told.read = 'refused'; }}
}})(), new Promise((done) => {{
  const socket = new WebSocket('{socket}/api/v1/live');
  socket.onopen = () => {{ told.socket.push('open'); socket.send('{{"subscribe": ["nodes"]}}'); }};
  socket.onmessage = (message) => told.socket.push(message.data);
  socket.onclose = () => {{ told.socket.push('closed'); done(); }};
}})])).then(() => {{ window.told = told; }});
</script>"""


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD + "\n")
        yield running


def log_in(page, fleet):
    page.goto(f"{fleet.url}/login")
    page.get_by_test_id("login-username").fill("admin")
    page.get_by_test_id("login-password").fill(PASSWORD)
    page.get_by_test_id("login-submit").click()
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=15_000)


def leave_markup(fleet) -> str:
    """Put markup wherever a person or a program may; return the id of an instance on the evil node."""
    plant_words(fleet)
    archive = make_zip({"run.sh": SLEEPER}, service_json(description=PLAIN, args=[PLAIN], env={"A": PLAIN}))
    fleet.call("POST", "/packages", archive, media="application/zip")
    node = until(lambda: next(iter(fleet.get("/nodes")["items"]), None), "the evil node")
    system = try_name(fleet, "/systems", {"description": PLAIN})
    wanted = {"package": "web", "version": "1.0.0", "args": [PLAIN], "env": {"B": PLAIN}}
    module = try_name(fleet, f"/systems/{system['id']}/modules", wanted)
    made = fleet.post("/instances", {"module_id": module["id"], "node_id": node["id"]})
    path = f"/instances/{made['instance']['id']}"
    until(lambda: fleet.get(path)["state"] == "running", "the instance reported by the evil node")
    return made["instance"]["id"]


def try_name(fleet, path, body):
    """Create with markup as the name; where names are letters only, with a plain one."""
    for name in (PLAIN[:40], "plain"):
        for more in (body, {key: value for key, value in body.items() if key != "description"}):
            with contextlib.suppress(ApiError):
                return fleet.post(path, {"name": name, **more})
    raise AssertionError(f"{path} takes no name")


def plant_words(fleet):
    """A failed login, a session and a token whose names are markup."""
    for body in ({"username": PLAIN, "password": PLAIN}, {"username": "admin", "password": PASSWORD}):
        request = urllib.request.Request(f"{fleet.url}/api/v1/login", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("User-Agent", PLAIN)
        try:
            urllib.request.urlopen(request, timeout=20).close()
        except urllib.error.HTTPError as refused:
            refused.close()


def test_stored_markup_stays_text(fleet, page):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    worker = MarkupWorker(fleet.url, "evil")
    worker.start(fleet.master_command("join-token", "create").strip())
    try:
        assert worker.linked.wait(20)
        instance_id = leave_markup(fleet)
        log_in(page, fleet)
        look_everywhere(page, fleet, instance_id)
    finally:
        fleet._destroy_instances()  # while somebody is there who says they are gone
        worker.close()
    assert dialogs == []


def look_everywhere(page, fleet, instance_id):
    node_id = fleet.get("/nodes")["items"][0]["id"]
    system_id = fleet.get("/systems")["items"][0]["id"]
    operation_id = fleet.get("/operations")["items"][0]["id"]
    node, instance = f"/nodes/{node_id}", f"/instances/{instance_id}"
    shown = {
        f"{node}?tab=hardware": ["hostname<img"],
        f"{node}?tab=processes": ["argv<img"],
        f"{node}?tab=metrics": ["onerror"],
        f"{node}?tab=instances": ["onerror"],
        instance: ["red <img"],
        f"/systems/{system_id}": ["onerror"],
    }
    paths = [
        "/",
        "/nodes",
        "/packages",
        "/packages/web/1.0.0",
        "/systems",
        "/operations",
        f"/operations/{operation_id}",
    ]
    paths += [*shown, "/audit", "/settings/sessions", "/settings/security", "/settings/profile"]
    for path in paths:
        page.goto(fleet.url + path)
        expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=15_000)
        for word in shown.get(path, []):  # the words are there, as words
            expect(page.locator("body")).to_contain_text(word, timeout=15_000)
        assert page.evaluate("() => window.__x") is None, path
        assert page.evaluate(STRANGE) == 0, path


@pytest.fixture
def evil_site(fleet):
    """A server of an attacker on this machine: for SameSite it is the same site, for Origin it is not."""

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = EVIL_PAGE.format(url=fleet.url, socket=fleet.url.replace("http", "ws", 1)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = threading.Thread(target=server.serve_forever, name="evil site")
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_next_door_can_do_nothing_with_the_cookie(fleet, page, evil_site, host):
    log_in(page, fleet)
    page.goto(f"http://{host}:{evil_site}/")
    page.wait_for_function("() => window.told", timeout=20_000)
    told = page.evaluate("() => window.told")
    assert told["socket"] == ["closed"]
    assert told["read"] == "refused"
    assert set(told["fetches"]) <= {"opaque", "refused"}
    assert fleet.get("/systems")["total"] == 0
    framed = next(frame for frame in page.frames if frame != page.main_frame)
    assert "nav-nodes" not in framed.content()  # frame-ancestors 'none'
    page.goto(f"{fleet.url}/nodes")
    expect(page.get_by_test_id("nav-nodes")).to_be_visible(timeout=15_000)  # it was a live session all the time
