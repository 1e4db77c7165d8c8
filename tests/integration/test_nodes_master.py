"""Nodes, metrics and live in a whole master: TLS with the certificate bound into the proof, restart, what a browser sees."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime

import aiohttp
import pytest

from ops_system.protocol.frames import Ping
from ops_system.runtime.tasks import running
from tests.bench.sim import Refused, SimWorker, make_sample
from tests.fakes.master import ApiError, run_master

WITHIN_S = 20.0


def token_parts(text):
    return text.split(".", 3)[2:]


@contextlib.asynccontextmanager
async def linked(worker, session):
    link = await worker.dial(session)
    async with running(worker.carry(link), "sim"):
        yield link


async def test_over_tls_the_proof_is_bound_to_the_masters_certificate(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        connector = aiohttp.TCPConnector(ssl=master.tls_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            worker = SimWorker(master.tls_url, "tls-1")
            enrolled = await worker.enrol(session, *token_parts(await master.create_join_token()))
            assert enrolled.ca_pem == master.master.ground.trust.ca_pem
            relayed = SimWorker(
                master.tls_url, "tls-1", key=worker.key, node_id=worker.node_id, certificate_sha256=b"relay's".ljust(32)
            )
            with pytest.raises(Refused, match="in between"):
                await relayed.dial(session)
            async with linked(worker, session):
                node = await api.get(f"/nodes/{worker.node_id}")
                assert (node["status"], node["linked"]) == ("online", True)
        audit = await api.get("/audit?limit=200")
        assert [row["outcome"] for row in audit["items"] if row["action"] == "node.link"] == ["denied"]


async def test_a_restarted_master_knows_its_nodes_but_calls_none_online_unheard(tmp_path):
    async with aiohttp.ClientSession() as session:
        async with run_master(tmp_path) as master, master.admin_client() as api:
            worker = SimWorker(master.url, "web")
            await worker.enrol(session, *token_parts(await master.create_join_token()))
            async with linked(worker, session):
                assert (await api.get(f"/nodes/{worker.node_id}"))["status"] == "online"
        async with run_master(tmp_path, is_set_up=False) as master, master.admin_client() as api:
            assert (await api.get(f"/nodes/{worker.node_id}"))["status"] == "offline"
            worker.url = master.url
            async with linked(worker, session):
                assert worker.welcome.connection_epoch == 2
                assert (await api.get(f"/nodes/{worker.node_id}"))["status"] == "online"


async def test_a_browser_sees_a_node_come_and_its_numbers_move(tmp_path):
    async with (
        aiohttp.ClientSession() as session,
        run_master(tmp_path) as master,
        master.admin_client() as api,
        api.socket("/live") as socket,
    ):
        await socket.send_str(json.dumps({"subscribe": ["nodes", "metrics:fleet"]}))
        worker = SimWorker(master.url, "web")
        await worker.enrol(session, *token_parts(await master.create_join_token()))
        async with linked(worker, session) as link:
            link.send(Ping(1, datetime.now(UTC)))
            link.send(make_sample(datetime.now(UTC).timestamp()))
            statuses, numbers = [], []
            async with asyncio.timeout(WITHIN_S):
                while "online" not in statuses or not numbers:
                    message = json.loads(await socket.receive_str())
                    if message["topic"] == "nodes":
                        statuses += [item["status"] for item in message["data"]["items"]]
                    else:
                        numbers += message["data"]["nodes"].get(worker.node_id, [])
            assert len(numbers) == 8
            path = f"/nodes/{worker.node_id}/metrics?series=cpu_percent"
            points = (await api.get(path))["series"]["cpu_percent"]
            assert points[0][1] == pytest.approx(numbers[0])
            node = await api.get(f"/nodes/{worker.node_id}")
            assert node["metrics"]["cpu_percent"] == numbers[0]
            with pytest.raises(ApiError) as missing:
                await api.get("/nodes/node_none/metrics")
            assert missing.value.status == 404


async def test_a_session_token_downloads_and_does_nothing_else(tmp_path):
    async with aiohttp.ClientSession() as session, run_master(tmp_path) as master:
        worker = SimWorker(master.url, "web")
        await worker.enrol(session, *token_parts(await master.create_join_token()))
        async with linked(worker, session):
            headers = {"Authorization": f"Bearer {worker.welcome.session_token}"}
            async with session.get(f"{master.url}/api/v1/nodes", headers=headers) as answer:
                assert answer.status == 403
            async with session.get(f"{master.url}/api/v1/worker/packages/{'0' * 64}", headers=headers) as answer:
                assert answer.status == 404
        async with session.get(f"{master.url}/api/v1/worker/packages/{'0' * 64}") as answer:
            assert answer.status == 401
