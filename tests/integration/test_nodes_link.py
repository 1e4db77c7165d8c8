"""Workers' links over the real web floor: proof, frames, requests, rivals, clones, goodbye."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.nodes import api
from ops_system.master.nodes.events import NodeLinked, NodeUnlinked
from ops_system.master.nodes.links import Links
from ops_system.master.web.route import Permission
from ops_system.model.errors import NodeOffline, NotFound, StorageFull
from ops_system.model.ids import InstanceId
from ops_system.model.nodes import NodeStatus
from ops_system.protocol.frames import LEAVING, EventsAck, Forget, Goodbye, Ping, Pong, Proof, Sample, Snapshot
from ops_system.protocol.requests import ListProcesses, Processes, ProcessInfo
from ops_system.runtime.tasks import running
from tests.bench.sim import Refused, SimWorker, make_fingerprint, make_sample
from tests.fakes.nodes import Rig, nodes_rig
from tests.fakes.web import Site, serve_table

WITHIN_S = 20.0
ADMIN = {"Authorization": "Bearer admin"}


@dataclass
class Stage:
    """A served nodes feature, and what ends with the test."""

    rig: Rig
    site: Site
    client: aiohttp.ClientSession
    stack: contextlib.AsyncExitStack

    async def join(self, name: str = "web") -> SimWorker:
        worker = SimWorker(self.site.url, name)
        await worker.enrol(self.client, *await self.rig.join_token())
        return worker

    async def up(self, worker: SimWorker) -> "asyncio.Task[object]":
        link = await worker.dial(self.client)
        run = await self.stack.enter_async_context(running(worker.carry(link), f"sim {worker.name}"))
        await until(lambda: self.rig.links.is_linked(worker.node_id))
        return run


async def until(condition, within_s: float = WITHIN_S):
    """Wait for a condition that other tasks of this loop make true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition belongs to the code under test, which has no event for it
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def staged(folder: Path, rival_ping_s: float = 3.0):
    async with nodes_rig(folder / "nodes") as rig:
        rig.links = Links(
            rig.nodes,
            rig.audit,
            rig.bus,
            rig.clock,
            is_own_certificate=rig.certificates.__contains__,
            rival_ping_s=rival_ping_s,
        )
        table = api.worker_routes(rig.nodes, rig.links, lambda: None) + api.routes(rig.nodes, rig.links)
        async with (
            serve_table(table, folder / "web") as site,
            aiohttp.ClientSession() as client,
            contextlib.AsyncExitStack() as stack,
        ):
            yield Stage(rig, site, client, stack)


@pytest.fixture
async def stage(tmp_path):
    async with staged(tmp_path) as stage:
        yield stage


async def test_a_worker_proves_its_key_and_is_online(stage):
    worker = await stage.join()
    assert stage.rig.nodes.status(worker.node_id) is NodeStatus.OFFLINE
    await stage.up(worker)
    node = stage.rig.nodes.get(worker.node_id)
    assert (node.status, node.linked, node.worker_version) == ("online", True, "0.1.0-sim")
    assert worker.welcome.node_name == "web"
    assert worker.welcome.labels == {"sim": "1"}
    assert worker.welcome.connection_epoch == 1
    assert NodeLinked(worker.node_id, 1) in stage.rig.events


async def test_the_ca_is_open_and_enrolment_answers_in_words(stage):
    async with stage.client.get(f"{stage.site.url}/api/v1/worker/ca") as answer:
        assert await answer.json() == {"ca_pem": "CA PEM", "voucher": None}
    with pytest.raises(AssertionError, match=r"401 .*not known here"):
        await SimWorker(stage.site.url, "web").enrol(stage.client, "join_x", "wrong")


@pytest.mark.parametrize("field", ["signature", "certificate", "node", "protocol"])
async def test_a_false_proof_opens_nothing(stage, field, monkeypatch):
    worker = await stage.join()
    good = worker.prove

    def prove(challenge) -> Proof:
        match field:
            case "signature":
                worker.key = Ed25519PrivateKey.generate()
                return good(challenge)
            case "certificate":
                worker.certificate_sha256 = b"c" * 32  # signed, but not what the master serves: a relay
                return good(challenge)
            case "node":
                return msgspec.structs.replace(good(challenge), node_id="node_unknown")
            case _:
                return msgspec.structs.replace(good(challenge), protocol=99)

    monkeypatch.setattr(worker, "prove", prove)
    with pytest.raises(Refused) as refused:
        await worker.dial(stage.client)
    assert refused.value.goodbye.code in {"unauthenticated", "forbidden", "not_allowed"}
    assert not stage.rig.links.linked()
    denied = [row.outcome for row in (await stage.rig.audit.list_page(AuditQuery())).items if row.action == "node.link"]
    assert denied == ([] if field == "node" else ["denied"])


async def test_an_old_nonce_is_worth_nothing(stage, monkeypatch):
    worker = await stage.join()
    proofs = []
    good = worker.prove

    def keep(challenge):
        proofs.append(good(challenge))
        return proofs[0]  # what somebody recorded

    monkeypatch.setattr(worker, "prove", keep)
    run = await stage.up(worker)
    worker.link.close()
    await run
    with pytest.raises(Refused):
        await worker.dial(stage.client)


async def test_frames_go_both_ways_by_handler(stage):
    got = []

    async def on_snapshot(node_id, frame):
        got.append((node_id, frame))

    stage.rig.links.on(Snapshot, on_snapshot)
    stage.rig.links.on_quick(Sample, lambda node_id, frame: got.append((node_id, frame)))
    worker = await stage.join()
    await stage.up(worker)
    sample = make_sample(1_700_000_000.0)
    worker.link.send(sample)
    assert stage.rig.links.send(worker.node_id, Forget(InstanceId("i")))
    await until(lambda: len(got) == 2 and worker.heard)
    assert (worker.node_id, Snapshot((), 0)) in got
    assert (worker.node_id, sample) in got
    assert worker.heard == [Forget(InstanceId("i"))]


async def test_samples_of_a_linked_node_wake_no_task(stage):
    tasks = []
    stage.rig.links.on_quick(Sample, lambda _node_id, _frame: tasks.append(asyncio.current_task()))
    worker = await stage.join()
    await stage.up(worker)
    for at_s in (1.0, 2.0, 3.0):
        worker.link.send(make_sample(at_s))
        await until(lambda at_s=at_s: len(tasks) == at_s)
    assert tasks[-1] is None


async def test_ping_is_answered_and_tells_the_clocks_apart(stage):
    worker = await stage.join()
    await stage.up(worker)
    worker.link.send(Ping(5, stage.rig.clock.now() + timedelta(seconds=90)))
    await until(lambda: worker.heard)
    assert worker.heard == [Pong(5, stage.rig.clock.now())]
    assert stage.rig.nodes.get(worker.node_id).clock_skew_s == 90.0


async def test_processes_are_asked_of_the_worker(stage):
    worker = await stage.join()
    one = ProcessInfo(1, 0, "init", ("/sbin/init",), "root", 0.0, 1024, None)

    async def answer(_body: ListProcesses) -> Processes:
        return Processes((one,))

    url = f"{stage.site.url}/api/v1/nodes/{worker.node_id}/processes"
    async with stage.client.get(url, headers=ADMIN) as reply:
        assert (reply.status, (await reply.json())["code"]) == (409, "node_offline")
    worker.handlers.on_request("processes.list", ListProcesses, answer)
    await stage.up(worker)
    async with stage.client.get(url, headers=ADMIN) as reply:
        assert (reply.status, (await reply.json())["items"][0]["name"]) == (200, "init")


async def test_a_node_that_is_away_cannot_be_asked(stage):
    worker = await stage.join()
    assert not stage.rig.links.send(worker.node_id, EventsAck(1))
    with pytest.raises(NodeOffline, match="web"):
        await stage.rig.links.request(worker.node_id, "x", ListProcesses(), Processes)
    with pytest.raises(NotFound):
        await stage.rig.links.request("node_none", "x", ListProcesses(), Processes)


async def test_the_session_token_lives_as_long_as_the_link(stage):
    worker = await stage.join()
    run = await stage.up(worker)
    principal = stage.rig.links.session_principal(worker.welcome.session_token)
    assert (principal.kind, principal.id, principal.permissions) == ("node", worker.node_id, {Permission.NODE})
    assert stage.rig.links.session_principal("opsn_guess") is None
    worker.link.close()
    await run
    await until(lambda: not stage.rig.links.is_linked(worker.node_id))
    assert stage.rig.links.session_principal(worker.welcome.session_token) is None
    assert NodeUnlinked(worker.node_id) in stage.rig.events


async def test_a_reconnect_wins_when_the_old_link_is_dead(tmp_path):
    async with staged(tmp_path, rival_ping_s=0.05) as stage:
        worker = await stage.join()
        dead = await worker.dial(stage.client)  # never run: it answers nothing, as after a pulled cable
        await until(lambda: stage.rig.links.is_linked(worker.node_id))
        worker.run_id = "another"
        await stage.up(worker)
        assert worker.welcome.connection_epoch == 2
        assert stage.rig.links.send(worker.node_id, EventsAck(1))
        await until(lambda: worker.heard == [EventsAck(1)])
        await dead._socket.close()


async def test_a_clone_is_quarantined_and_the_first_goes_on(stage):
    worker = await stage.join()
    await stage.up(worker)
    clone = SimWorker(stage.site.url, "web", key=worker.key, node_id=worker.node_id)
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await clone.dial(stage.client)
        assert refused.value.goodbye.code == "quarantined"
    assert stage.rig.nodes.get(worker.node_id).status is NodeStatus.ONLINE
    assert stage.rig.links.send(worker.node_id, EventsAck(1))
    quarantined = [node for node in stage.rig.nodes.list_all() if node.status == "quarantined"]
    assert [(node.name, node.clone_of) for node in quarantined] == [("web-clone", worker.node_id)]
    # the first one goes away: the clone is still known as one
    worker.link.close()
    await until(lambda: not stage.rig.links.is_linked(worker.node_id))
    with pytest.raises(Refused):
        await clone.dial(stage.client)
    # an administrator decides
    url = f"{stage.site.url}/api/v1/nodes/{quarantined[0].id}"
    async with stage.client.delete(url, headers=ADMIN) as reply:
        assert reply.status == 200
    await stage.up(clone)


async def test_the_same_process_twice_is_no_clone(stage):
    worker = await stage.join()
    await stage.up(worker)
    twin = SimWorker(stage.site.url, "web", key=worker.key, node_id=worker.node_id, run_id=worker.run_id)
    with pytest.raises(Refused) as refused:
        await twin.dial(stage.client)
    assert refused.value.goodbye.code == "conflict"
    assert len(stage.rig.nodes.list_all()) == 1


async def test_removing_a_node_closes_its_link_for_good(stage):
    worker = await stage.join()
    run = await stage.up(worker)
    async with stage.client.delete(f"{stage.site.url}/api/v1/nodes/{worker.node_id}", headers=ADMIN) as reply:
        assert reply.status == 200
    end = await run
    assert (end.code, end.goodbye.retry_after_s) == ("forbidden", -1.0)
    with pytest.raises(Refused):
        await worker.dial(stage.client)


async def test_revoking_a_node_closes_its_link_and_can_be_taken_back(stage):
    worker = await stage.join()
    run = await stage.up(worker)
    url = f"{stage.site.url}/api/v1/nodes/{worker.node_id}"
    async with stage.client.patch(url, json={"revoked": True}, headers=ADMIN) as reply:
        assert (await reply.json())["revoked"] is True
    assert (await run).code == "forbidden"
    with pytest.raises(Refused, match="revoked"):
        await worker.dial(stage.client)
    async with stage.client.patch(url, json={"revoked": False}, headers=ADMIN) as reply:
        assert reply.status == 200
    await stage.up(worker)


@pytest.mark.parametrize(("code", "is_revoked"), [(LEAVING, True), ("update", False)])
async def test_a_node_that_leaves_by_its_own_wish_is_revoked(stage, code, is_revoked):
    worker = await stage.join()
    link = await worker.dial(stage.client)
    link.say_goodbye(Goodbye(code, "bye", -1))
    async with running(worker.carry(link), "leaving worker"):
        await until(lambda: not stage.rig.links.is_linked(worker.node_id))
        await until(lambda: stage.rig.nodes.get(worker.node_id).revoked is is_revoked)
    rows = (await stage.rig.audit.list_page(AuditQuery())).items
    left = [row for row in rows if row.action == "node.leave"]
    assert [(row.actor_kind, row.actor_id) for row in left] == [("node", worker.node_id)] * is_revoked


async def test_a_hundred_reconnects_leave_nothing_behind(stage):
    worker = await stage.join()

    async def once():
        link = await worker.dial(stage.client)
        async with running(worker.carry(link), "sim") as run:
            await until(lambda: stage.rig.links.is_linked(worker.node_id))
            link.close()
            await run
        await until(lambda: not stage.rig.links.is_linked(worker.node_id))

    async def count():
        await until(lambda: len(asyncio.all_tasks()) <= before[0] + 2)
        return len(list(Path("/proc/self/fd").iterdir())), len(stage.rig.links._by_token)

    before = [len(asyncio.all_tasks())]
    for _ in range(5):
        await once()
    first = await count()
    for _ in range(100):
        await once()
    files, tokens = await count()
    assert (files - first[0], tokens) == (0, 0)
    assert stage.rig.nodes.find(worker.node_id).connection_epoch == 105


async def test_a_full_disk_keeps_no_worker_out(stage, monkeypatch):
    worker = await stage.join()

    @contextlib.asynccontextmanager
    async def full():
        raise StorageFull("no room")
        yield

    monkeypatch.setattr(stage.rig.nodes._database, "transaction", full)
    await stage.up(worker)
    assert stage.rig.nodes.status(worker.node_id) is NodeStatus.ONLINE
    await stage.rig.nodes.save_last_seen()


async def test_false_proofs_do_not_fill_the_audit_log(stage):
    worker = await stage.join()
    worker.key = Ed25519PrivateKey.generate()
    for _ in range(5):
        with pytest.raises(Refused):
            await worker.dial(stage.client)
    rows = (await stage.rig.audit.list_page(AuditQuery())).items
    assert [row.action for row in rows].count("node.link") == 1


async def test_late_frames_of_an_old_connection_are_dropped(tmp_path):
    got = []
    async with staged(tmp_path, rival_ping_s=0.05) as stage:
        stage.rig.links.on_quick(Sample, lambda node_id, frame: got.append(frame.at_s))
        worker = await stage.join()
        old = await worker.dial(stage.client)
        await until(lambda: stage.rig.links.is_linked(worker.node_id))
        await old.send_now(make_sample(1.0))
        await until(lambda: got)
        old_live = stage.rig.links._live[worker.node_id]
        await stage.up(worker)
        assert stage.rig.links._on_heard(old_live, make_sample(1.5))  # one that was read before the socket closed
        with contextlib.suppress(ConnectionError):
            await old.send_now(make_sample(2.0))
        worker.link.send(make_sample(3.0))
        await until(lambda: 3.0 in got)
        assert got == [1.0, 3.0]
        await old._socket.close()


async def test_a_full_disk_holds_frames_back_and_loses_none(stage):
    got, fail = [], [True, True]

    async def on_snapshot(_node_id, frame):
        if fail:
            fail.pop()
            raise StorageFull("no room")
        got.append(frame)

    stage.rig.links.retry_write_s = 0.01
    stage.rig.links.on(Snapshot, on_snapshot)
    worker = await stage.join()
    await stage.up(worker)
    worker.link.send(Ping(1, stage.rig.clock.now()))
    await until(lambda: got and worker.heard)
    assert stage.rig.links.is_linked(worker.node_id)


async def test_a_bug_in_a_handler_costs_one_link(stage):
    async def broken(node_id, _frame):
        if node_id == worker.node_id:
            raise ZeroDivisionError

    worker, other = await stage.join("a"), await stage.join("b")
    await stage.up(other)
    stage.rig.links.on(Snapshot, broken)
    run = await stage.up(worker)
    assert (await run).code == "lost"
    assert stage.rig.links.is_linked(other.node_id)


async def test_a_socket_that_says_nothing_or_nonsense_is_dropped(stage):
    url = f"{stage.site.url}/api/v1/worker/link"
    async with stage.client.ws_connect(url) as socket:
        await socket.receive()  # the challenge
        await socket.send_bytes(b"\xc1nonsense")
        assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY  # goodbye
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    async with stage.client.get(url) as answer:
        assert answer.status == 422  # no WebSocket


async def test_the_api_lists_plans_changes_and_refuses(stage):
    base = f"{stage.site.url}/api/v1/nodes"
    async with stage.client.post(base, json={"name": "planned-1", "labels": {"zone": "a"}}, headers=ADMIN) as reply:
        planned = await reply.json()
        assert (reply.status, planned["status"]) == (201, "planned")
    worker = await stage.join("web")
    await stage.up(worker)
    async with stage.client.get(f"{base}?sort=-name&status=online", headers=ADMIN) as reply:
        page = await reply.json()
        assert (page["total"], page["items"][0]["id"]) == (1, worker.node_id)
        assert page["items"][0]["fingerprint"]["cpu_cores"] == make_fingerprint("x").cpu_cores
    async with stage.client.get(f"{base}?sort=nonsense", headers=ADMIN) as reply:
        assert (reply.status, (await reply.json())["code"]) == (422, "invalid")
    async with stage.client.patch(f"{base}/{planned['id']}", json={"nam": "x"}, headers=ADMIN) as reply:
        assert reply.status == 422
    async with stage.client.get(base) as reply:
        assert reply.status == 401
    async with stage.client.get(f"{base}/node_none", headers=ADMIN) as reply:
        assert reply.status == 404
