"""The operator's own certificate on the TLS listener: browsers see it, workers join and stay, a relay still fails."""

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime

import pytest

from ops_system.model.errors import UsageError
from ops_system.worker.enrol import Applicant, enrol_once, parse_join_token
from ops_system.worker.fingerprint.base import local_probe, read_fingerprint
from ops_system.worker.identity import load_or_make_key
from tests.fakes.attacker import Forger, Relay
from tests.fakes.certificates import write_certificate
from tests.fakes.master import run_master
from tests.fakes.worker import running_worker, worker_config

WITHIN_S = 30.0


@pytest.fixture
def own(tmp_path):
    sha256 = write_certificate(tmp_path, datetime.now(UTC))
    return sha256, {"server__tls_cert": str(tmp_path / "own.pem"), "server__tls_key": str(tmp_path / "own.key")}


async def seen_by_a_browser(master):
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", master.master.doors.tls_port, ssl=blind)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return hashlib.sha256(certificate).hexdigest()


async def until_linked(api, *, is_linked=True):
    async with asyncio.timeout(WITHIN_S):
        while [node["linked"] for node in (await api.get("/nodes"))["items"]] != [is_linked]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)


async def test_a_worker_joins_and_comes_back_behind_a_new_certificate(tmp_path, own):
    sha256, settings = own
    async with run_master(tmp_path, **settings) as master, master.admin_client() as api:
        assert await seen_by_a_browser(master) == sha256
        config = worker_config(tmp_path / "w", master.tls_url, await master.create_join_token())
        async with running_worker(config):
            await until_linked(api)
            newer = write_certificate(tmp_path, datetime.now(UTC))
            await master.master.ground.trust.check()
            assert await seen_by_a_browser(master) == newer
            assert (await api.get("/nodes"))["items"][0]["linked"]  # the link of before goes on
        await until_linked(api, is_linked=False)
        async with running_worker(worker_config(tmp_path / "w", master.tls_url)):
            await until_linked(api)
        view = await api.get("/security")
        assert (view["certificate"]["sha256"], view["certificate"]["is_own"]) == (newer, True)
        assert view["ca_key_sha256"] == master.master.ground.trust.ca_key_sha256
        assert [one["tls"] for one in view["listeners"]] == [False, True]


async def test_a_worker_that_knew_the_masters_own_leaf_learns_of_the_certificate(tmp_path, own):
    _, settings = own
    async with run_master(tmp_path) as master, master.admin_client() as api:
        port = master.master.doors.tls_port
        config = worker_config(tmp_path / "w", master.tls_url, await master.create_join_token())
        async with running_worker(config):
            await until_linked(api)
    again = run_master(tmp_path, is_set_up=False, server__tls_port=str(port), **settings)
    async with again as master, master.admin_client() as api:
        await master.wait_for_tls()
        async with running_worker(worker_config(tmp_path / "w", master.tls_url)):
            await until_linked(api)


async def test_a_relay_gets_neither_the_join_secret_nor_the_link(tmp_path, own):
    _, settings = own
    async with run_master(tmp_path, **settings) as master, master.admin_client() as api:
        token = parse_join_token(await master.create_join_token())
        relay = Relay(master.master.doors.tls_port)
        async with relay.serve(Forger().server_context(tmp_path)):
            key = load_or_make_key(tmp_path)
            applicant = Applicant("n1", {}, key.public_text(), read_fingerprint(local_probe()))
            with pytest.raises(UsageError, match="certificate"):
                await enrol_once(relay.url, token, applicant)
        assert b"/api/v1/worker/ca" in relay.seen
        assert token.secret.encode() not in relay.seen
        assert (await api.get("/nodes"))["total"] == 0


@pytest.mark.parametrize("missing", ["own.pem", "own.key"])
async def test_a_master_without_its_certificate_does_not_start(tmp_path, own, missing):
    (tmp_path / missing).unlink()
    with pytest.raises(UsageError, match=missing):
        async with run_master(tmp_path, **own[1]):
            pass
    assert not (tmp_path / "data").exists()
