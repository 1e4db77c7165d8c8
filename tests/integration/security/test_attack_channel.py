"""Somebody stands between worker and master, or holds a key that is not meant for the door he tries."""

import asyncio
import json

import aiohttp
import pytest

from ops_system.model.errors import UsageError
from ops_system.worker.enrol import Applicant, enrol_once, parse_join_token
from ops_system.worker.fingerprint.base import local_probe, read_fingerprint
from ops_system.worker.identity import load_or_make_key
from tests.bench.sim import Refused
from tests.fakes.attacker import Forger, Relay, join, linked
from tests.fakes.fleet import free_port
from tests.fakes.master import run_master
from tests.fakes.worker import running_worker, worker_config

WITHIN_S = 25.0


@pytest.fixture
async def master(tmp_path):
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as opened:
        yield opened


async def until(ask, within_s: float = WITHIN_S):
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.05)
    return answer


async def enrol_real_worker(master, folder):
    """Let a real worker join over TLS, then stop it; its identity stays in `folder`."""
    config = worker_config(folder, master.tls_url, await master.create_join_token())
    async with master.admin_client() as api, running_worker(config):
        await until(lambda: online(api))


async def online(api):
    return [node for node in (await api.get("/nodes"))["items"] if node["status"] == "online" and node["linked"]]


async def denied_links(api):
    rows = (await api.get("/audit?outcome=denied&limit=500"))["items"]
    return [row for row in rows if row["action"] == "node.link"]


async def health_of(url):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as answer:
        return await answer.json()


# --- a relay ------------------------------------------------------------------------------------------------------
async def test_a_relay_with_a_certificate_of_its_own_is_not_spoken_to(master, tmp_path):
    work_dir = tmp_path / "w"
    await enrol_real_worker(master, work_dir)
    relay = Relay(master.master.doors.tls_port)
    async with relay.serve(Forger().server_context(tmp_path)):
        port = free_port()
        config = worker_config(work_dir, relay.url, server__port=str(port))
        async with running_worker(config):
            told = await until(lambda: link_words(port, "away"))
    assert "certificate" in told.lower()
    assert relay.seen.startswith(b"GET /api/v1/worker/ca ")  # whether the pinned authority vouches for it: it does not
    assert b"/worker/link" not in relay.seen


async def link_words(port, state):
    try:
        link = (await health_of(f"http://127.0.0.1:{port}"))["link"]
    except (OSError, aiohttp.ClientError):
        return ""
    return link["message"] if link["state"] == state else ""


async def test_a_relay_that_even_holds_a_true_certificate_gets_no_link(master, tmp_path):
    """The worker trusts this one, since the CA was stolen; the certificate it saw is not the one the master serves."""
    work_dir = tmp_path / "w"
    await enrol_real_worker(master, work_dir)
    relay = Relay(master.master.doors.tls_port)
    forger = Forger(master.master.ground.folder.ca)
    async with (
        relay.serve(forger.server_context(tmp_path)),
        master.admin_client() as api,
        running_worker(worker_config(work_dir, relay.url)),
    ):
        denied = await until(lambda: denied_links(api))
        assert not await online(api)
    assert relay.passed_on > 0
    assert b"/api/v1/worker/link" in relay.seen
    assert "another certificate" in json.dumps(denied[0])


async def test_a_relay_does_not_get_the_secret_of_a_join_token(master, tmp_path):
    token = parse_join_token(await master.create_join_token())
    relay = Relay(master.master.doors.tls_port)
    async with relay.serve(Forger().server_context(tmp_path)):
        with pytest.raises(UsageError, match="certificate"):
            await enrol_once(relay.url, token, applicant(tmp_path))
    assert b"/api/v1/worker/ca" in relay.seen
    assert token.secret.encode() not in relay.seen
    assert b"enrol" not in relay.seen


async def test_a_token_with_another_ca_pin_is_not_used(master, tmp_path):
    made = await master.create_join_token()
    wrong = ".".join(["opsj1", "0" * 64, *made.split(".")[2:]])
    with pytest.raises(UsageError, match="not the master this token was made for"):
        await enrol_once(master.tls_url, parse_join_token(wrong), applicant(tmp_path))
    identity = await enrol_once(master.tls_url, parse_join_token(made), applicant(tmp_path))  # it was not used up
    assert identity.node_id


def applicant(work_dir):
    key = load_or_make_key(work_dir)
    return Applicant("n1", {}, key.public_text(), read_fingerprint(local_probe()))


async def test_a_used_token_and_a_made_up_one_say_so(master, tmp_path):
    made = await master.create_join_token()
    await enrol_once(master.tls_url, parse_join_token(made), applicant(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="used"):
        await enrol_once(master.tls_url, parse_join_token(made), applicant(tmp_path / "other"))
    head, pin, _id, _secret = made.split(".")
    with pytest.raises(UsageError, match="not known"):
        await enrol_once(master.tls_url, parse_join_token(f"{head}.{pin}.x.y"), applicant(tmp_path / "other"))


# --- a key at the wrong door ---------------------------------------------------------------------------------------
async def test_a_stolen_node_key_opens_nothing_on_the_user_api(master, session):
    worker = await join(master, session, "stolen")
    text = worker.key.private_bytes_raw()
    for bearer in (text.hex(), worker.node_id, f"ops_{text.hex()}", f"opsn_{text.hex()}"):
        for path in ("/me", "/nodes", "/users", f"/worker/packages/{'0' * 64}"):
            async with session.get(f"{master.url}/api/v1{path}", headers={"Authorization": f"Bearer {bearer}"}) as told:
                assert told.status == 401, (bearer[:5], path)


async def test_the_token_of_a_link_opens_package_downloads_and_nothing_else(master, session):
    worker = await join(master, session, "w")
    async with linked(worker, session):
        bearer = {"Authorization": f"Bearer {worker.welcome.session_token}"}
        async with session.get(f"{master.url}/api/v1/worker/packages/{'0' * 64}", headers=bearer) as told:
            assert told.status == 404
        assert await operations_open_to(master, session, bearer) == {"fetch_package"}
    async with master.admin_client() as api:
        await until(lambda: not_linked(api))
    async with session.get(f"{master.url}/api/v1/worker/packages/{'0' * 64}", headers=bearer) as told:
        assert told.status == 401  # the link is over, and so is its token


async def operations_open_to(master, session, headers):
    """Return the operations, none of them open to strangers, that do not answer 401 or 403."""
    async with session.get(f"{master.url}/api/v1/openapi.json") as answer:
        document = await answer.json()
    opened = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["x-permission"] in {"open", "loopback"}:
                continue
            url = master.url + path.replace("{", "").replace("}", "")
            async with session.request(method.upper(), url, headers=headers) as answer:
                if answer.status not in {401, 403}:
                    opened.add(operation["operationId"])
    return opened


# --- said again ----------------------------------------------------------------------------------------------------
async def test_a_recorded_proof_is_worth_nothing(master, session, monkeypatch):
    worker = await join(master, session, "w")
    prove, recorded = worker.prove, []
    monkeypatch.setattr(worker, "prove", lambda challenge: recorded.append(prove(challenge)) or recorded[0])
    async with linked(worker, session) as run:
        worker.link.close()
        await run
    async with master.admin_client() as api:
        await until(lambda: not_linked(api))
        with pytest.raises(Refused, match="signature"):
            await worker.dial(session)
        assert len(await denied_links(api)) == 1


async def not_linked(api):
    return not any(node["linked"] for node in (await api.get("/nodes"))["items"])


async def test_the_key_of_one_node_does_not_speak_for_another(master, session):
    mine, other = await join(master, session, "mine"), await join(master, session, "other")
    mine.node_id = other.node_id
    with pytest.raises(Refused, match="signature"):
        await mine.dial(session)
    async with master.admin_client() as api:
        (row,) = await denied_links(api)
        assert row["target"] == f"node:{other.node_id}"
