"""Enrolment, changes, removal and status, on a real database."""

import asyncio
import base64
import secrets

import pytest

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.bus import Changed
from ops_system.master.nodes.events import NodeRemoved, NodeStatusChanged
from ops_system.master.nodes.rules import Enrolment, NodeChange, NodeQuery, PlannedNode
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound, Unauthenticated
from ops_system.model.nodes import NodeStatus
from ops_system.protocol.frames import Proof
from tests.bench.sim import make_fingerprint
from tests.fakes.nodes import ADMIN, OPERATOR, make_nodes, nodes_rig


@pytest.fixture
async def rig(tmp_path):
    async with nodes_rig(tmp_path / "data") as rig:
        yield rig


def body(token, name="web", key=None, labels=None):
    key = key or secrets.token_bytes(32)
    return Enrolment(*token, base64.b64encode(key).decode(), name, make_fingerprint(name), labels or {}, "1.0")


def proof_of(node_id, boot_id="boot-1"):
    return Proof(node_id, b"", b"", boot_id, "run-1", "1.1", make_fingerprint("web", boot_id))


async def actions(rig):
    return [row.action for row in (await rig.audit.list_page(AuditQuery())).items]


async def test_a_worker_joins_by_its_token(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token(labels={"zone": "a"}), labels={"own": "1"}), "192.0.2.9")
    assert (enrolled.node_name, enrolled.ca_pem, enrolled.epoch) == ("web", "CA PEM", 7)
    node = rig.nodes.get(enrolled.node_id)
    assert node.status is NodeStatus.OFFLINE
    assert node.labels == {"own": "1", "zone": "a"}
    assert (node.hostname, node.ip, node.cpu_cores) == ("web", "192.0.2.9", 8)
    assert "node.enrol" in await actions(rig)
    assert any(isinstance(event, Changed) and event.key == node.id for event in rig.events)


async def test_a_tokens_label_outranks_the_workers_own(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token(labels={"zone": "a"}), labels={"zone": "b"}), "")
    assert rig.nodes.get(enrolled.node_id).labels == {"zone": "a"}


async def test_a_used_a_wrong_and_an_unknown_token_are_refused_with_words(rig):
    token = await rig.join_token()
    await rig.nodes.enrol(body(token), "")
    with pytest.raises(Forbidden, match="used up"):
        await rig.nodes.enrol(body(token), "")
    with pytest.raises(Unauthenticated):
        await rig.nodes.enrol(body((token[0], "wrong")), "")
    with pytest.raises(Unauthenticated):
        await rig.nodes.enrol(body(("join_none", "wrong")), "")
    assert len(rig.nodes.list_all()) == 1


async def test_the_same_worker_may_ask_again_when_the_answer_was_lost(rig):
    again = body(await rig.join_token())
    first = await rig.nodes.enrol(again, "")
    assert await rig.nodes.enrol(again, "") == first
    assert len(rig.nodes.list_all()) == 1


async def test_a_known_key_with_a_new_token_keeps_its_node(rig):
    key = secrets.token_bytes(32)
    first = await rig.nodes.enrol(body(await rig.join_token(), key=key), "")
    second = await rig.nodes.enrol(body(await rig.join_token(), key=key), "")
    assert second.node_id == first.node_id


async def test_names_are_kept_apart_also_when_many_join_at_once(rig):
    token = await rig.join_token(uses=5)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(rig.nodes.enrol(body(token), ""))
    assert sorted(node.name for node in rig.nodes.list_all()) == ["web", "web-2", "web-3", "web-4", "web-5"]


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(b"short").decode()])
async def test_a_bad_key_uses_up_no_token(rig, key):
    token = await rig.join_token()
    with pytest.raises(Invalid, match="public_key"):
        await rig.nodes.enrol(Enrolment(*token, key, "web", make_fingerprint("web")), "")
    await rig.nodes.enrol(body(token), "")


async def test_a_worker_takes_the_place_of_the_planned_node_of_its_name(rig):
    planned = await rig.nodes.plan(PlannedNode("web", {"zone": "a"}), ADMIN)
    assert planned.status is NodeStatus.PLANNED
    with pytest.raises(Conflict):
        await rig.nodes.plan(PlannedNode("WEB"), ADMIN)
    enrolled = await rig.nodes.enrol(body(await rig.join_token(), "Web"), "")
    assert (enrolled.node_id, enrolled.node_name) == (planned.id, "web")
    assert rig.nodes.get(planned.id).labels == {"zone": "a"}


async def test_everything_survives_a_restart_of_the_master(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token(labels={"zone": "a"})), "192.0.2.9")
    await rig.nodes.change(enrolled.node_id, NodeChange(paused=True), OPERATOR)
    await rig.nodes.link_up(enrolled.node_id, proof_of(enrolled.node_id), "192.0.2.9")
    before = rig.nodes.get(enrolled.node_id)
    again = make_nodes(rig.database, rig.audit, rig.bus, rig.clock, rig.join_tokens)
    await again.load()
    after = again.get(enrolled.node_id)
    assert before.status is NodeStatus.ONLINE
    assert after.status is NodeStatus.OFFLINE  # not heard since the start
    assert (after.paused, after.labels, after.fingerprint, after.last_seen) == (
        True,
        before.labels,
        before.fingerprint,
        before.last_seen,
    )


async def test_status_follows_silence_and_tells_each_change_once(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")
    node_id = enrolled.node_id
    await rig.nodes.link_up(node_id, proof_of(node_id), "")
    for _ in range(40):
        rig.clock.advance(1.0)
        rig.nodes.check_statuses()
    rig.nodes.hear(node_id)
    changes = [event.status for event in rig.events if isinstance(event, NodeStatusChanged)]
    assert changes == ["online", "suspect", "offline", "online"]


async def test_a_moved_wall_clock_takes_no_node_offline(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")
    await rig.nodes.link_up(enrolled.node_id, proof_of(enrolled.node_id), "")
    for days in (3, -6):
        rig.clock.jump(days * 86_400)
        rig.nodes.check_statuses()
        assert rig.nodes.status(enrolled.node_id) is NodeStatus.ONLINE


async def test_the_connection_epoch_rises_with_each_link(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")
    epochs = [
        (await rig.nodes.link_up(enrolled.node_id, proof_of(enrolled.node_id), "")).connection_epoch for _ in "abc"
    ]
    assert epochs == [1, 2, 3]


async def test_changes_are_checked_written_and_audited(rig):
    planned = await rig.nodes.plan(PlannedNode("web"), ADMIN)
    other = await rig.nodes.plan(PlannedNode("db"), ADMIN)
    changed = await rig.nodes.change(planned.id, NodeChange(name="web-1", labels={"a": "b"}, draining=True), ADMIN)
    assert (changed.name, changed.labels, changed.draining, changed.paused) == ("web-1", {"a": "b"}, True, False)
    with pytest.raises(Conflict):
        await rig.nodes.change(other.id, NodeChange(name="WEB-1"), ADMIN)
    with pytest.raises(Invalid):
        await rig.nodes.change(other.id, NodeChange(name="a b"), ADMIN)
    with pytest.raises(Forbidden, match="administrator"):
        await rig.nodes.change(other.id, NodeChange(labels={}), OPERATOR)
    with pytest.raises(NotFound):
        await rig.nodes.change("node_none", NodeChange(paused=True), ADMIN)
    with pytest.raises(NotAllowed):
        await rig.nodes.change(other.id, NodeChange(revoked=True), ADMIN)
    assert (await actions(rig)).count("node.change") == 1


async def test_two_changes_at_once_lose_nothing(rig):
    planned = await rig.nodes.plan(PlannedNode("web"), ADMIN)
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.nodes.change(planned.id, NodeChange(paused=True), ADMIN))
        group.create_task(rig.nodes.change(planned.id, NodeChange(labels={"a": "b"}), ADMIN))
        group.create_task(rig.nodes.change(planned.id, NodeChange(draining=True), ADMIN))
    node = rig.nodes.get(planned.id)
    assert (node.paused, node.draining, node.labels) == (True, True, {"a": "b"})


async def test_a_node_with_instances_is_removed_only_by_force(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")

    async def in_use(_node_id):
        return ["shop/web"]

    rig.nodes.guard_removal(in_use)
    with pytest.raises(NotAllowed, match="shop/web"):
        await rig.nodes.remove(enrolled.node_id, ADMIN, is_forced=False)
    await rig.nodes.remove(enrolled.node_id, ADMIN, is_forced=True)
    with pytest.raises(NotFound):
        rig.nodes.get(enrolled.node_id)
    assert rig.nodes.list_page(NodeQuery(), ADMIN).total == 0
    assert NodeRemoved(enrolled.node_id) in rig.events
    again = make_nodes(rig.database, rig.audit, rig.bus, rig.clock, rig.join_tokens)
    await again.load()
    assert again.list_all() == []


async def test_a_scoped_principal_sees_only_its_nodes(rig):
    await rig.nodes.plan(PlannedNode("a", {"zone": "a"}), ADMIN)
    hidden = await rig.nodes.plan(PlannedNode("b", {"zone": "b"}), ADMIN)
    scoped = type(ADMIN)("token", "t", "sam", ADMIN.permissions, scope={"zone": "a"})
    assert [node.name for node in rig.nodes.list_page(NodeQuery(), scoped).items] == ["a"]
    with pytest.raises(NotFound):
        rig.nodes.get(hidden.id, scoped)
    with pytest.raises(NotFound):
        await rig.nodes.change(hidden.id, NodeChange(paused=True), scoped)


async def test_last_seen_is_written_for_those_who_are_linked(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")
    await rig.nodes.link_up(enrolled.node_id, proof_of(enrolled.node_id), "")
    rig.clock.advance(3)
    rig.nodes.hear(enrolled.node_id)
    await rig.nodes.save_last_seen()
    again = make_nodes(rig.database, rig.audit, rig.bus, rig.clock, rig.join_tokens)
    await again.load()
    assert again.get(enrolled.node_id).last_seen == rig.clock.now()


async def test_what_was_heard_last_is_shown_and_written_also_after_the_link_is_gone(rig):
    enrolled = await rig.nodes.enrol(body(await rig.join_token()), "")
    await rig.nodes.link_up(enrolled.node_id, proof_of(enrolled.node_id), "")
    rig.clock.advance(3)
    rig.nodes.hear(enrolled.node_id)
    heard_at = rig.clock.now()
    rig.nodes.link_down(enrolled.node_id)
    rig.clock.advance(7)
    assert rig.nodes.get(enrolled.node_id).last_seen == heard_at
    await rig.nodes.change(enrolled.node_id, NodeChange(paused=True), ADMIN)  # what it writes is older
    await rig.nodes.save_last_seen()
    again = make_nodes(rig.database, rig.audit, rig.bus, rig.clock, rig.join_tokens)
    await again.load()
    assert again.get(enrolled.node_id).last_seen == heard_at


async def test_only_the_page_that_is_shown_looks_up_numbers(rig):
    for name in ("a", "b", "c"):
        await rig.nodes.plan(PlannedNode(name), ADMIN)
    asked = []
    rig.nodes.show_metrics(lambda node_id: asked.append(node_id) or {"cpu_percent": float(len(asked))})
    page = rig.nodes.list_page(NodeQuery(limit=1), ADMIN)
    assert (page.total, len(asked), page.items[0].metrics) == (3, 1, {"cpu_percent": 1.0})
    assert len(rig.nodes.list_page(NodeQuery(limit=1, sort="-cpu_percent"), ADMIN).items) == 1
    assert len(asked) == 4
