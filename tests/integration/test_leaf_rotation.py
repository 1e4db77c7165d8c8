"""The leaf certificate changes under running connections: new handshakes see the new one, links of before go on."""

import asyncio
import hashlib
import ssl
from datetime import timedelta

import pytest

from ops_system.master import addresses
from ops_system.master.trust.authority import LEAF_LIFE
from ops_system.runtime.clock import SystemClock
from tests.fakes.master import run_master
from tests.fakes.worker import running_worker, worker_config

WITHIN_S = 30.0


class MovedClock(SystemClock):
    """The machine's clock, some time ahead or behind."""

    ahead = timedelta(0)

    def now(self):
        return super().now() + self.ahead


async def handshake(master, server_name="localhost"):
    """Return the SHA-256 of the certificate a client that trusts the CA is shown."""
    port, context = master.master.doors.tls_port, master.tls_context()
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(shown).digest()


async def the_node(api):
    async with asyncio.timeout(WITHIN_S):
        while not (linked := [one for one in (await api.get("/nodes"))["items"] if one["linked"]]):  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)
    return linked[0]


@pytest.mark.parametrize("why", ["names", "age"])
async def test_a_new_leaf_is_for_new_handshakes_and_old_links_go_on(tmp_path, monkeypatch, why):
    clock = MovedClock()
    if why == "age":
        clock.ahead = -LEAF_LIFE * 0.75  # the leaf is made that long ago, and is still good today
    async with run_master(tmp_path, clock=clock) as master, master.admin_client() as api:
        trust = master.master.ground.trust
        config = worker_config(tmp_path / "w", master.tls_url, await master.create_join_token())
        async with running_worker(config):
            node = await the_node(api)
            before = await handshake(master)
            assert before == trust.certificate_sha256()
            await trust.check()
            assert await handshake(master) == before  # nothing was due
            if why == "names":
                found = addresses.find_own_names()
                monkeypatch.setattr(addresses, "find_own_names", lambda _extra: (*found, "new.example"))
                with pytest.raises(ssl.SSLCertVerificationError):
                    await handshake(master, "new.example")
            else:
                clock.ahead = timedelta(0)
            await trust.check()
            after = await handshake(master, "new.example" if why == "names" else "localhost")
            assert after == trust.certificate_sha256() != before
            assert (await the_node(api))["id"] == node["id"]  # its link was made under the old leaf
            assert trust.is_own_certificate(before)
        async with running_worker(worker_config(tmp_path / "w", master.tls_url)):
            await the_node(api)
