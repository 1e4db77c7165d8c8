"""What happened to a node, on a real database: who noted it, what survives, what a scope hides."""

from types import SimpleNamespace

import pytest

from ops_system.master.bus import Changed
from ops_system.master.nodes import store
from ops_system.master.nodes.notes import NodeEventQuery, NodeNoted, NoteKind, link_over
from ops_system.master.nodes.rules import NodeChange, PlannedNode
from ops_system.master.nodes.timeline import NodeTimeline
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.model.errors import Invalid, NotFound, StorageFull
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import Proof
from ops_system.runtime.tasks import running
from tests.bench.sim import make_fingerprint
from tests.fakes.nodes import ADMIN, nodes_rig
from tests.fakes.worker import eventually

ELSEWHERE = Principal("token", "tok_b", "bob", frozenset({Permission.VIEW}), Role.VIEWER, scope={"zone": "b"})
NEWEST_FIRST, OLDEST_FIRST = NodeEventQuery(), NodeEventQuery(sort="at")


def proof_of(node_id):
    return Proof(node_id, b"", b"", "boot-1", "run-1", "1.1", make_fingerprint("web", "boot-1"))


@pytest.fixture
async def stage(tmp_path):
    async with nodes_rig(tmp_path / "data") as rig:
        timeline = NodeTimeline(database=rig.database, bus=rig.bus, nodes=rig.nodes, retry_write_s=0.001)
        node = await rig.nodes.plan(PlannedNode("web", {"zone": "a"}), ADMIN)
        yield SimpleNamespace(rig=rig, nodes=rig.nodes, timeline=timeline, node_id=node.id)


async def lines(stage, query=OLDEST_FIRST):
    await stage.timeline.write_waiting()
    return (await stage.timeline.list_page(stage.node_id, query, ADMIN)).items


async def join(stage):
    """Give the planned node a key, as enrolment does."""
    record = stage.nodes.record(stage.node_id)
    known = type(record)(**{f: getattr(record, f) for f in record.__struct_fields__} | {"public_key": b"k" * 32})
    async with stage.rig.database.transaction() as tx:
        await store.save(tx, known)
    await stage.nodes.load()


async def test_planning_changing_and_leaving_are_told_with_who_did_it(stage):
    await stage.nodes.change(stage.node_id, NodeChange(paused=True, labels={"zone": "c"}), ADMIN)
    await stage.nodes.change(stage.node_id, NodeChange(paused=False, draining=True, name="web2"), ADMIN)
    await join(stage)
    await stage.nodes.retire(stage.node_id)
    told = await lines(stage)
    assert [(line.kind, line.reason.code, line.actor) for line in told] == [
        (NoteKind.IDENTITY, "node_planned", "ada"),
        (NoteKind.DUTY, "node_paused", "ada"),
        (NoteKind.IDENTITY, "node_labelled", "ada"),
        (NoteKind.DUTY, "node_resumed", "ada"),
        (NoteKind.DUTY, "node_draining", "ada"),
        (NoteKind.IDENTITY, "node_renamed", "ada"),
        (NoteKind.IDENTITY, "node_left", ""),
    ]
    assert told[2].reason.params == {"labels": "zone=c"}


async def test_silence_and_return_are_told_with_their_length(stage):
    await join(stage)
    await stage.nodes.link_up(stage.node_id, proof_of(stage.node_id), "192.0.2.9")
    for _ in range(3):
        stage.rig.clock.advance(10)
        stage.nodes.check_statuses()
    stage.nodes.hear(stage.node_id)
    told = [line for line in await lines(stage) if line.kind is NoteKind.STATUS]
    assert [(line.status, line.reason and line.reason.params["silent_s"]) for line in told] == [
        (NodeStatus.ONLINE, None),
        (NodeStatus.SUSPECT, 20),
        (NodeStatus.OFFLINE, 30),
        (NodeStatus.ONLINE, 30),
    ]
    link = next(line for line in await lines(stage) if line.kind is NoteKind.LINK)
    assert link.reason.params == {"address": "192.0.2.9", "version": "1.1"}


async def test_a_copy_is_told_on_both_timelines(stage):
    await join(stage)
    clone = await stage.nodes.quarantine(stage.nodes.record(stage.node_id), proof_of(stage.node_id), "192.0.2.66")
    assert (await lines(stage, NEWEST_FIRST))[0].reason.params == {"clone": clone.name, "address": "192.0.2.66"}
    page = await stage.timeline.list_page(clone.id, NEWEST_FIRST, ADMIN)
    assert [line.status for line in page.items] == [NodeStatus.QUARANTINED]


async def test_viewers_are_told_what_was_written(stage):
    async with running(stage.timeline.run(), "timeline"):
        topic = f"events:node:{stage.node_id}"
        await eventually(lambda: [event for event in stage.rig.events if getattr(event, "topic", "") == topic])
    told = next(event for event in stage.rig.events if isinstance(event, Changed) and event.topic == topic)
    assert (told.data.reason.code, told.key) == ("node_planned", str(told.data.id))


async def test_a_full_disk_delays_and_loses_nothing(stage, monkeypatch):
    real, tries = store.add_events, []

    async def add_events(tx, notes):
        tries.append(len(notes))
        if len(tries) == 1:
            raise StorageFull("no room")
        return await real(tx, notes)

    monkeypatch.setattr(store, "add_events", add_events)
    stage.nodes.note(stage.node_id, NoteKind.UPDATE, Reason("worker_updated", "updated", {"version": "2"}))
    async with running(stage.timeline.run(), "timeline"):
        topic = f"events:node:{stage.node_id}"
        await eventually(lambda: len([one for one in stage.rig.events if getattr(one, "topic", "") == topic]) == 2)
    told = await lines(stage)
    assert [line.reason.code for line in told] == ["node_planned", "worker_updated"]
    assert tries == [2, 2]


async def test_a_timeline_is_bounded_and_what_waits_too(stage, monkeypatch):
    monkeypatch.setattr(store, "KEPT_EVENTS", 5)
    monkeypatch.setattr("ops_system.master.nodes.timeline.MAX_WAITING", 8)
    for number in range(20):
        stage.nodes.note(stage.node_id, NoteKind.LINK, Reason("linked", str(number)))
    assert stage.timeline.dropped == 13  # the planning was one more
    assert [line.reason.message for line in await lines(stage)] == ["15", "16", "17", "18", "19"]


async def test_pages_filters_and_faults(stage):
    for number in range(3):
        stage.nodes.note(stage.node_id, NoteKind.LINK, Reason("linked", f"link {number}"))
    await stage.timeline.write_waiting()
    page = await stage.timeline.list_page(stage.node_id, NodeEventQuery(kind="link, status", limit=1, offset=1), ADMIN)
    assert ([line.reason.message for line in page.items], page.total) == (["link 1"], 3)
    found = await stage.timeline.list_page(stage.node_id, NodeEventQuery(q="link 2"), ADMIN)
    assert found.total == 1
    with pytest.raises(Invalid, match="kind"):
        await stage.timeline.list_page(stage.node_id, NodeEventQuery(kind="nonsense"), ADMIN)
    with pytest.raises(Invalid, match="sort"):
        await stage.timeline.list_page(stage.node_id, NodeEventQuery(sort="actor"), ADMIN)
    with pytest.raises(NotFound):
        await stage.timeline.list_page(stage.node_id, NEWEST_FIRST, ELSEWHERE)


async def test_a_removed_node_takes_its_lines_along(stage):
    await stage.timeline.write_waiting()
    await stage.nodes.remove(stage.node_id, ADMIN, is_forced=True)
    stage.rig.bus.publish(NodeNoted(stage.node_id, stage.rig.clock.now(), NoteKind.LINK))
    await stage.timeline.write_waiting()
    row = await stage.rig.database.fetch_one("SELECT count(*) AS n FROM node_events")
    assert row["n"] == 0


def test_long_words_of_a_peer_are_cut():
    reason = link_over("invalid", "x" * 5000)
    assert len(reason.message) == len(reason.params["message"]) == 300
    assert link_over("lost", "").message == "lost"
