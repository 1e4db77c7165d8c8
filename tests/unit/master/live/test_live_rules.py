"""What goes over `/live`: messages, parts, permissions, and the log a viewer is brought up to date from."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.live import log as log_module
from ops_system.master.live.log import TopicLog
from ops_system.master.live.rules import (
    MAX_PART_BYTES,
    MAX_TOPICS,
    Message,
    ResumePoint,
    Topic,
    cut_parts,
    encode,
    encode_item,
    find_topic,
    read_client,
    shape_collection,
    shape_fleet,
    shape_series,
)
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Invalid, NotFound

VIEWER = Principal("token", "t", "vera", frozenset({Permission.VIEW}))


async def nothing(_name, _principal):
    return []


def write(log, changes):
    for key, value in changes.items():
        log.put(key, value)
    log.commit()


NODES = Topic("nodes", Permission.VIEW, nothing)
EVENTS = Topic("events:instance:", Permission.VIEW, nothing)
SECRETS = Topic("secrets", Permission.SECRETS, nothing)


def test_topics_are_found_by_name_or_prefix():
    topics = [NODES, EVENTS, SECRETS]
    assert find_topic(topics, "nodes", VIEWER) is NODES
    assert find_topic(topics, "events:instance:i1", VIEWER) is EVENTS
    for name in ("events:instance:", "nodesx", "", "node"):
        with pytest.raises(NotFound):
            find_topic(topics, name, VIEWER)
    with pytest.raises(Forbidden):
        find_topic(topics, "secrets", VIEWER)


def test_a_scoped_principal_needs_a_topic_that_can_filter():
    scoped = msgspec.structs.replace(VIEWER, scope={"zone": "a"})
    with pytest.raises(Forbidden):
        find_topic([NODES], "nodes", scoped)
    filtering = msgspec.structs.replace(NODES, is_visible=lambda _principal, _name, _key: True)
    assert find_topic([filtering], "nodes", scoped) is filtering


def test_a_browsers_message_is_read():
    text = '{"subscribe": ["nodes"], "resume": {"nodes": {"epoch": "e", "seq": 12}}, "ping": 3}'
    message = read_client(text)
    assert (message.subscribe, message.resume, message.ping) == (["nodes"], {"nodes": ResumePoint("e", 12)}, 3)
    assert read_client("{}").subscribe is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"subscribe": "nodes"}',
        '{"ping": "x"}',
        b"\xff\xfe",
        "[" * 5000,
        json.dumps({"subscribe": ["x"] * (MAX_TOPICS + 1)}),
        json.dumps({"subscribe": ["x" * 201]}),
    ],
)
def test_nonsense_is_invalid(text):
    with pytest.raises(Invalid):
        read_client(text)


@given(st.lists(st.integers(0, 150_000), max_size=12))
def test_parts_are_complete_in_order_and_small(sizes):
    items = [(str(n), "x" * size) for n, size in enumerate(sizes)]
    parts = list(cut_parts(items))
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert [key for part, _ in parts for key, _ in part] == [key for key, _ in items]
    for part, is_last in parts:
        data = shape_collection("snapshot", part, (), 0.0)
        message = encode(Message("nodes", 1, "e", "snapshot", 0, is_last, data))
        assert len(message) <= MAX_PART_BYTES or len(part) == 1


def test_the_shapes_are_those_of_the_contract():
    items = [("node:a", encode_item([1.0, None])), ("instance:b", encode_item([2.0]))]
    assert json.loads(msgspec.json.encode(shape_fleet("change", items, (), 12.7))) == {
        "at_s": 12,
        "nodes": {"a": [1.0, None]},
        "instances": {"b": [2.0]},
    }
    series = [("cpu_percent", encode_item([[1, 2.0, 3.0]]))]
    assert json.loads(msgspec.json.encode(shape_series("snapshot", series, (), 0.0))) == {
        "series": {"cpu_percent": [[1, 2.0, 3.0]]}
    }
    second = [("", encode_item({"at_s": 1, "values": {}}))]
    assert json.loads(msgspec.json.encode(shape_series("change", second, (), 0.0))) == {"at_s": 1, "values": {}}


CHANGES = st.lists(st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 9)), min_size=1))


@given(CHANGES, st.integers(0, 1000))
def test_a_viewer_at_any_sequence_is_brought_up_to_date(changes, after):
    log, states = TopicLog("nodes", NODES), [{}]
    for change in changes:
        write(log, change)
        states.append({key: value for key, value in {**states[-1], **change}.items() if value is not None})
    after %= len(changes) + 1
    assert log.can_resume(log.epoch, after)
    delta = log.delta(after)
    state = {key: value for key, value in states[after].items() if key not in delta.removed}
    state.update({key: json.loads(bytes(raw)) for key, raw in delta.items})
    assert state == states[-1]
    assert delta.seq == len(changes)


def test_a_change_is_encoded_once_for_all_in_step():
    log = TopicLog("nodes", NODES)
    write(log, {"a": {"id": "a"}})
    write(log, {"b": {"id": "b"}, "a": None})
    assert log.message(1, 0.0) is log.message(1, 5.0)
    message = json.loads(log.message(1, 0.0))
    assert message == {
        "topic": "nodes",
        "seq": 2,
        "epoch": log.epoch,
        "type": "change",
        "part": 0,
        "last": True,
        "data": {"items": [{"id": "b"}], "removed": ["a"]},
    }


def test_what_is_put_is_told_by_the_next_commit():
    log = TopicLog("nodes", NODES)
    write(log, {"a": 1, "b": 2})
    log.put("a", 3)
    assert json.loads(log.message(0, 0.0))["data"]["items"] == [2]
    assert log.newest_bytes == 2 * (log_module.KEY_BYTES + 1)
    log.put("b", 4)
    assert log.message(0, 0.0) is not None  # made before
    assert TopicLog("nodes", NODES).message(0, 0.0) is None
    log.commit()
    assert json.loads(log.message(1, 0.0))["data"]["items"] == [3, 4]
    assert log.seq == 2


def test_what_changed_again_before_it_was_told_is_told_once():
    log = TopicLog("nodes", NODES)
    write(log, {"a": 1})
    log.put("a", 2)
    assert log.message(0, 0.0) is None
    log.commit()
    assert json.loads(log.message(0, 0.0))["data"]["items"] == [2]


def test_what_is_out_of_scope_is_left_out():
    log = TopicLog("nodes", NODES)
    write(log, {"a": 1, "b": 2})
    shown = set()
    assert json.loads(log.message_for(0, 0.0, shown, lambda key: key == "a"))["data"]["items"] == [1]
    assert shown == {"a"}
    assert log.message_for(0, 0.0, set(), lambda _key: False) is None


def test_what_is_gone_is_told_to_those_who_had_it():
    log = TopicLog("nodes", NODES)
    write(log, {"a": None, "b": None, "c": 3, "d": 4})
    shown = {"a", "c"}
    told = json.loads(log.message_for(0, 0.0, shown, lambda key: key == "d"))["data"]
    assert told == {"items": [4], "removed": ["a", "c"]}  # c lies beyond now; b never was within
    assert shown == {"d"}
    assert log.message_for(0, 0.0, set(), lambda _key: False) is None


def test_the_log_is_bounded_and_knows_what_it_forgot(monkeypatch):
    monkeypatch.setattr(log_module, "MAX_BYTES", 10_000)
    log = TopicLog("nodes", NODES)
    for number in range(100):
        write(log, {str(number): "x" * 1000})
    assert log._held_bytes <= 10_000
    assert not log.can_resume(log.epoch, 50)
    assert log.can_resume(log.epoch, 99)
    assert not log.can_resume(log.epoch, 101)
    assert not log.can_resume("another", 99)
