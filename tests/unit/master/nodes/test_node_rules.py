"""Status, names, labels, selection: the decisions about nodes."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.nodes.rules import (
    Heard,
    NodeQuery,
    NodeRecord,
    Patience,
    address_of,
    check_labels,
    check_name,
    free_name,
    is_in_scope,
    needs_names_alone,
    patience_of,
    select,
    select_named,
    status_of,
    view_of,
)
from ops_system.model.errors import Invalid
from ops_system.model.ids import NodeId
from ops_system.model.nodes import NodeStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = patience_of(5.0, 25.0)
ENROLLED = NodeRecord(NodeId("n1"), "web-1", NOW, "ada", public_key=b"k" * 32, labels={"zone": "a"})


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [(0, "online"), (14.9, "online"), (15, "suspect"), (24.9, "suspect"), (25, "offline"), (1e6, "offline")],
)
def test_silence_decides(silent_s, status):
    assert status_of(ENROLLED, Heard(silent_s, None, True), PATIENCE) == status


def test_patience_follows_the_pace_of_heartbeats():
    assert patience_of(1.0, 10.0) == Patience(3.0, 10.0)
    assert patience_of(30.0, 25.0) == Patience(90.0, 90.0)


def test_a_node_not_heard_since_the_start_is_offline():
    assert status_of(ENROLLED, None, PATIENCE) is NodeStatus.OFFLINE


def test_planned_revoked_and_quarantined_outrank_silence():
    heard = Heard(0.0, None, True)
    assert status_of(msgspec.structs.replace(ENROLLED, public_key=None), heard, PATIENCE) is NodeStatus.PLANNED
    assert status_of(msgspec.structs.replace(ENROLLED, is_revoked=True), heard, PATIENCE) is NodeStatus.OFFLINE
    clone = msgspec.structs.replace(ENROLLED, public_key=None, clone_of="n0")
    assert status_of(clone, heard, PATIENCE) is NodeStatus.QUARANTINED


def make(name, status="online", labels=None, **metrics):
    record = NodeRecord(NodeId(f"node_{name}"), name, NOW, "ada", labels=labels or {})
    return view_of(record, None, NodeStatus(status), metrics)


FLEET = [
    make("b", "offline", {"zone": "a"}),
    make("A", "online", {"zone": "b", "rack": "7"}, cpu_percent=20.0),
    make("c", "online", {"zone": "a"}, cpu_percent=90.0),
]


def names(**query):
    items, total = select(FLEET, NodeQuery(**query))
    return [node.name for node in items], total


def test_nodes_are_selected_sorted_and_paged():
    assert names() == (["A", "b", "c"], 3)
    assert names(sort="-name")[0] == ["c", "b", "A"]
    assert names(limit=1, offset=1) == (["b"], 3)
    assert names(status="offline,suspect") == (["b"], 1)
    assert names(label="zone=a") == (["b", "c"], 2)
    assert names(label="zone=b,rack")[0] == ["A"]
    assert names(q="ZONE=A")[0] == ["b", "c"]
    assert names(q="node_c")[0] == ["c"]


def test_a_node_without_a_value_comes_last_either_way():
    assert names(sort="cpu_percent")[0] == ["A", "c", "b"]
    assert names(sort="-cpu_percent")[0] == ["c", "A", "b"]


@pytest.mark.parametrize("query", [{"sort": "public_key"}, {"sort": "-"}, {"status": "happy"}])
def test_unknown_words_are_refused_with_the_known_ones(query):
    with pytest.raises(Invalid, match=r"name|online"):
        names(**query)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "é", "a\n", "x" * 64, "<b>"])
def test_bad_names_are_refused(name):
    with pytest.raises(Invalid):
        check_name(name)


@given(st.text(max_size=80), st.lists(st.text(max_size=10), max_size=5))
def test_a_free_name_is_always_valid_and_free(wanted, taken):
    found = free_name(wanted, taken)
    assert check_name(found) == found
    assert found.casefold() not in {name.casefold() for name in taken}


def test_free_names_count_up():
    assert free_name("web", ["WEB", "web-2"]) == "web-3"
    assert free_name("my host!", []) == "my-host"


@pytest.mark.parametrize(
    "labels", [{"": "x"}, {"a b": "x"}, {"a": "x" * 129}, {"a": "x\x1b[0m"}, {f"k{n}": "" for n in range(65)}]
)
def test_bad_labels_are_refused(labels):
    with pytest.raises(Invalid):
        check_labels(labels)


def test_every_fault_of_labels_is_listed():
    with pytest.raises(Invalid) as caught:
        check_labels({"a b": "x", "c": "\n", "fine": "yes"})
    assert len(caught.value.details["problems"]) == 2


def test_a_scope_is_every_label():
    assert is_in_scope({"zone": "a", "x": "1"}, {"zone": "a"})
    assert is_in_scope({}, {})
    assert not is_in_scope({"zone": "b"}, {"zone": "a"})


def test_the_address_is_the_peers_unless_it_is_loopback():
    assert address_of("198.51.100.3", ["192.0.2.7"]) == "198.51.100.3"
    assert address_of("127.0.0.1", ["192.0.2.7"]) == "192.0.2.7"
    assert address_of("::1", []) == "::1"


NAMES = ("web-2", "Web-1", "a", "B", "web-10", "c", "ß", "b")


@pytest.mark.parametrize("sort", ["", "name", "-name"])
@pytest.mark.parametrize("label", ["", "zone=a", "zone"])
@pytest.mark.parametrize("offset", [0, 3, 50])
def test_a_page_found_by_names_alone_is_the_page_of_all_views(sort, label, offset):
    records = [
        msgspec.structs.replace(
            ENROLLED, id=NodeId(name), name=name, labels={"zone": "ab"[place % 2]} if place % 3 else {}
        )
        for place, name in enumerate(NAMES)
    ]
    query = NodeQuery(limit=3, offset=offset, sort=sort, label=label)
    assert needs_names_alone(query)
    found, total = select_named(records, query)
    views, all_of_them = select([view_of(record, None, NodeStatus.OFFLINE, {}) for record in records], query)
    assert ([record.id for record in found], total) == ([node.id for node in views], all_of_them)


@pytest.mark.parametrize("query", [NodeQuery(q="a"), NodeQuery(status="online"), NodeQuery(sort="cpu_cores")])
def test_other_pages_need_more_than_names(query):
    assert not needs_names_alone(query)
