"""A whole day's secrets, looked for afterwards in every place where somebody could read them."""

import json
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pyotp
import pytest

from tests.fakes.fleet import Fleet
from tests.fakes.packages import SLEEPER, make_zip, service_json

PASSWORD = "vzk-right-password-81"
WRONG_PASSWORD = "vzk-wrong-password-82"
ENV_SECRET = "vzk-env-secret-83"
SEALED = "vzk-sealed-env-85${x}"
HOOK = {"url": "http://127.0.0.1:9/vzk-hook-token-86", "secret": "vzk-hook-secret-87"}
MAIL = {"host": "127.0.0.1", "port": 9, "sender": "a@example.com", "recipients": ["b@example.com"], "username": "ops"}
MAIL_PASSWORD = "vzk-mail-password-88"
WRONG_TOKEN = "ops_vzk-wrong-token-84"
LISTS = [
    "users",
    "tokens",
    "join-tokens",
    "sessions",
    "publisher-keys",
    "nodes",
    "operations",
    "packages",
    "audit?limit=500",
    "audit/verify",
    "security",
    "systems",
    "instances",
    "channels",
]
DEBUG = {"OPS_MASTER_LOG_LEVEL": "debug", "OPS_WORKER_LOG_LEVEL": "debug"}


class Page:
    """A browser: cookie, exact Origin, CSRF token. It keeps what each answer said, to be searched as well."""

    def __init__(self, fleet):
        self.fleet, self.cookie, self.csrf = fleet, "", ""

    def ask(self, method, path, body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.fleet.url}/api/v1{path}", data=data, method=method)
        sent = {"Content-Type": "application/json", "Origin": self.fleet.url, **headers}
        if self.cookie:
            sent |= {"Cookie": f"ops_session={self.cookie}", "X-CSRF-Token": self.csrf}
        for name, value in sent.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read().decode()
                self._keep_session(answer, json.loads(text))
                return answer.status, json.loads(text)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def _keep_session(self, answer, told):
        cookie = answer.headers.get("Set-Cookie", "")
        if cookie.startswith("ops_session="):
            self.cookie = cookie.partition("=")[2].partition(";")[0]
        self.csrf = told.get("csrf_token", self.csrf)


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path, settings=DEBUG) as made:
        yield made


def live_through_a_day(fleet):
    """Use every kind of secret, rightly and wrongly; return them by name, and the answers in which none may stand."""
    fleet.start_master()
    page, secrets, answers = Page(fleet), {"password": PASSWORD, "wrong password": WRONG_PASSWORD}, []
    code = (fleet.data / "setup-code").read_text().strip()
    ada = {"username": "ada", "password": PASSWORD}
    answers.append(page.ask("POST", "/setup", {**ada, "code": "vzkxx-wrong", "password": WRONG_PASSWORD}))
    assert page.ask("POST", "/setup", {**ada, "code": code})[0] == 201
    answers.append(page.ask("POST", "/login", {"username": "ada", "password": WRONG_PASSWORD}))
    answers.append(page.ask("POST", "/login", {"username": WRONG_PASSWORD, "password": 7}))
    assert page.ask("POST", "/login", ada)[0] == 200
    secrets |= {"session": page.cookie, "csrf token": page.csrf}
    answers.append(page.ask("POST", "/users", {"username": "no such thing", "password": WRONG_PASSWORD, "x": 1}))
    answers.append(page.ask("POST", "/step-up", {"password": WRONG_PASSWORD}))
    assert page.ask("POST", "/step-up", {"password": PASSWORD})[0] == 200
    named = {"name": "robot", "role": "viewer"}
    for _ in range(2):  # the second answer is the kept one
        status, made = page.ask("POST", "/tokens", named, **{"Idempotency-Key": "once"})
        assert status == 201
    secrets["api token"] = made["token"]
    status, made = page.ask("POST", "/join-tokens", {})
    assert status == 201
    secrets["join token"] = made["token"].rpartition(".")[2]
    status, made = page.ask("POST", "/me/totp")
    assert status == 201
    secrets["totp secret"] = made["uri"].partition("secret=")[2].partition("&")[0]
    wrong_code = {"totp": "000000"}
    answers.append(page.ask("POST", "/me/totp/confirm", wrong_code))
    status, made = page.ask("POST", "/me/totp/confirm", {"totp": pyotp.TOTP(secrets["totp secret"]).now()})
    assert status == 200
    secrets |= {f"recovery code {number}": text for number, text in enumerate(made["recovery_codes"])}
    answers += call_out(page)
    secrets |= {"hook token": "vzk-hook-token-86", "hook secret": HOOK["secret"], "mail password": MAIL_PASSWORD}
    wrong = {"Authorization": f"Bearer {WRONG_TOKEN}"}
    answers.append(Page(fleet).ask("GET", "/nodes", **wrong))
    return secrets | {"command's token": fleet.token, "wrong token": WRONG_TOKEN}, answers


def call_out(page):
    """Make channels of both kinds and try them: nobody is there."""
    answers = []
    mail = {"name": "mail", "kind": "email", "email": MAIL | {"password": MAIL_PASSWORD}}
    for body in ({"name": "hook", "kind": "webhook", **HOOK}, mail):
        answers.append(page.ask("POST", "/channels", body))
        assert answers[-1][0] == 201
        path = f"/channels/{answers[-1][1]['id']}"
        answers += [page.ask("POST", f"{path}/test"), page.ask("PATCH", path, {"name": f"my {body['name']}"})]
        answers += [page.ask("GET", f"{path}/deliveries"), page.ask("POST", "/channels", body | {"name": ""})]
    return answers


def environment_of(fleet, instance_id):
    pid = fleet.get(f"/instances/{instance_id}")["pid"]
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def run_a_service(fleet):
    node_id = fleet.start_worker("w1")
    archive = fleet.folder / "web.zip"
    archive.write_bytes(make_zip({"run.sh": SLEEPER}, service_json()))
    package = fleet.upload(archive)
    env, hidden = {"DB_PASSWORD": ENV_SECRET}, {"API_KEY": SEALED}
    instance = fleet.deploy(package, node_id, env=env, env_secrets=hidden)
    assert {f"DB_PASSWORD={ENV_SECRET}", f"API_KEY={SEALED}"} <= set(environment_of(fleet, instance["id"]))
    kept = [
        path for path in (fleet.folder / "w1").rglob("*") if path.is_file() and b"sealed-env-85" in path.read_bytes()
    ]
    assert kept  # the worker must be able to start it with the master away
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    lines = (fleet.folder / "w1/node.key").read_text().splitlines()
    joined = (fleet.folder / "w1.token").read_text().rpartition(".")[2]
    return {"node key": lines[1], "used join token": joined, "sealed environment": "vzk-sealed-env-85"}


def found_in(text, secrets):
    return [name for name, secret in secrets.items() if secret in text]


def test_no_secret_stands_where_it_could_be_read(fleet):
    secrets, answers = live_through_a_day(fleet)
    secrets |= run_a_service(fleet)
    assert all(len(secret) > 8 for secret in secrets.values())
    places = {f"answer {number}": json.dumps(answer) for number, answer in enumerate(answers)}
    places |= {f"GET /{path}": json.dumps(fleet.get(f"/{path}")) for path in LISTS}
    with urllib.request.urlopen(f"{fleet.url}/health") as health:
        places["health"] = health.read().decode()
    fleet.stop("w1")
    places |= {name: fleet.log(name) for name in ("master", "w1")}
    found = {place: names for place, text in places.items() if (names := found_in(text, secrets))}
    at_rest = {
        name: secret for name, secret in secrets.items() if name != "csrf token"
    }  # worth nothing without a session
    for path in (*fleet.data.glob("ops.db*"), *fleet.data.glob("backups/*")):
        found |= {path.name: names} if (names := found_in(path.read_bytes().decode("latin-1"), at_rest)) else {}
    assert found == {}
    assert fleet.get("/audit?action=node.enrol")["total"] == 1  # the day is on record
    for place in ("master", "w1", "GET /audit?limit=500", "GET /operations"):
        assert ENV_SECRET not in places[place], place
    assert fleet.get("/audit/verify")["ok"]
    fleet.start_worker("w1")  # so that the service can be destroyed
