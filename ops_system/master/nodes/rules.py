"""What a node is on record and on the screen, and every decision about it that needs no I/O. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Invalid, NotAllowed
from ops_system.model.ids import NodeId
from ops_system.model.nodes import Disk, Fingerprint, NodeStatus, status_from_silence

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
MAX_LABELS = 64
MISSED_HEARTBEATS = 3
MAX_LABEL_VALUE = 128
CURRENT_SERIES = (
    "cpu_percent",
    "mem_percent",
    "disk_percent",
    "load1",
    "net_rx_bytes_per_s",
    "net_tx_bytes_per_s",
    "disk_read_bytes_per_s",
    "disk_write_bytes_per_s",
)

_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_LABEL = re.compile(LABEL_PATTERN.replace("$", r"\Z"))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class NodeRecord(msgspec.Struct, frozen=True):
    """A node as it is stored."""

    id: NodeId
    name: str
    created_at: datetime
    created_by: str
    public_key: bytes | None = None
    join_token_id: str = ""
    clone_of: str = ""
    is_paused: bool = False
    is_draining: bool = False
    is_revoked: bool = False
    labels: dict[str, str] = {}
    fingerprint: Fingerprint | None = None
    worker_version: str = ""
    address: str = ""
    connection_epoch: int = 0
    last_seen: datetime | None = None


class Node(msgspec.Struct, frozen=True):
    """A node as the API shows it. `metrics` has the newest values, only those known."""

    id: NodeId
    name: str
    status: NodeStatus
    paused: bool
    draining: bool
    revoked: bool
    linked: bool
    clone_of: NodeId | None
    hostname: str
    ip: str
    os: str
    arch: str
    platform: str
    kernel: str
    macs: tuple[str, ...]
    cpu_model: str
    cpu_cores: int
    mem_total_bytes: int
    disks: tuple[Disk, ...]
    fingerprint: Fingerprint | None
    labels: dict[str, str]
    worker_version: str
    last_seen: datetime | None
    clock_skew_s: float | None
    metrics: dict[str, float]
    created_at: datetime


class Heard(msgspec.Struct, frozen=True):
    """What is known of a node from its frames since the master started."""

    silent_s: float
    clock_skew_s: float | None
    is_linked: bool
    last_seen: datetime | None = None


class NodeQuery(msgspec.Struct, frozen=True):
    """`?status=online,suspect` and `?label=zone=a,rack` (has the label) beside the usual list parameters."""

    limit: int = 100
    offset: int = 0
    q: str = ""
    sort: str = "name"
    status: str = ""
    label: str = ""


class MasterFacts(msgspec.Struct, frozen=True):
    """What a new worker is given to trust this master by. `epoch` rises when data is restored from a backup."""

    ca_pem: str
    signing_public_key: str
    epoch: int


class Enrolment(msgspec.Struct, frozen=True):
    """Body of `POST /worker/enrol`. `public_key` is a raw Ed25519 key in base64."""

    token_id: str
    token_secret: str
    public_key: str
    name: str
    fingerprint: Fingerprint
    labels: dict[str, str] = {}
    worker_version: str = ""


class Enrolled(msgspec.Struct, frozen=True):
    """Answer of `POST /worker/enrol`."""

    node_id: NodeId
    node_name: str
    ca_pem: str
    signing_public_key: str
    epoch: int


class PlannedNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /nodes`: a place that the next worker of this name takes."""

    name: str
    labels: dict[str, str] = {}


class NodeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PATCH /nodes/{id}`; what is absent stays. Name, labels and `revoked` need an administrator."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    draining: bool | msgspec.UnsetType = msgspec.UNSET
    revoked: bool | msgspec.UnsetType = msgspec.UNSET


class Patience(msgspec.Struct, frozen=True):
    """How long a node may be silent before it is suspect, and before it is offline."""

    suspect_after_s: float
    offline_after_s: float


def patience_of(heartbeat_s: float, offline_after_s: float) -> Patience:
    """Return the patience for a pace of heartbeats: suspect after three missed ones, offline no sooner."""
    suspect_after_s = MISSED_HEARTBEATS * heartbeat_s
    return Patience(suspect_after_s, max(offline_after_s, suspect_after_s))


def status_of(record: NodeRecord, heard: Heard | None, patience: Patience) -> NodeStatus:
    """Return the status. A node that was not heard since the master started is offline."""
    if record.clone_of:
        return NodeStatus.QUARANTINED
    if record.public_key is None:
        return NodeStatus.PLANNED
    if heard is None or record.is_revoked:
        return NodeStatus.OFFLINE
    return status_from_silence(heard.silent_s, patience.offline_after_s, patience.suspect_after_s)


def view_of(record: NodeRecord, heard: Heard | None, status: NodeStatus, metrics: Mapping[str, float]) -> Node:
    """Return the node as the API shows it."""
    seen = record.fingerprint
    return Node(
        id=record.id,
        name=record.name,
        status=status,
        paused=record.is_paused,
        draining=record.is_draining,
        revoked=record.is_revoked,
        linked=heard is not None and heard.is_linked,
        clone_of=NodeId(record.clone_of) if record.clone_of else None,
        hostname=seen.hostname if seen else "",
        ip=address_of(record.address, seen.ips if seen else ()),
        os=seen.os if seen else "",
        arch=seen.arch if seen else "",
        platform=seen.platform if seen else "",
        kernel=seen.kernel if seen else "",
        macs=seen.macs if seen else (),
        cpu_model=seen.cpu_model if seen else "",
        cpu_cores=seen.cpu_cores if seen else 0,
        mem_total_bytes=seen.mem_total_bytes if seen else 0,
        disks=seen.disks if seen else (),
        fingerprint=seen,
        labels=record.labels,
        worker_version=record.worker_version,
        last_seen=record.last_seen if heard is None or heard.last_seen is None else heard.last_seen,
        clock_skew_s=heard.clock_skew_s if heard else None,
        metrics=dict(metrics),
        created_at=record.created_at,
    )


def principal_of(record: NodeRecord) -> Principal:
    """Return the node as one who acts."""
    return Principal(kind="node", id=record.id, name=record.name, permissions=frozenset({Permission.NODE}))


def address_of(peer: str, own: Iterable[str]) -> str:
    """Return the address to show: the one its link comes from, or its own first one where the link is local."""
    is_local = not peer or peer == "::1" or peer.startswith("127.")
    return next(iter(own), peer) if is_local else peer


def is_in_scope(labels: Mapping[str, str], scope: Mapping[str, str]) -> bool:
    """Return whether a principal limited to `scope` may see a node with these labels."""
    return all(labels.get(key) == value for key, value in scope.items())


def check_within(labels: Mapping[str, str], scope: Mapping[str, str]) -> None:
    """Raise Forbidden where a principal limited to `scope` would make a node beyond it."""
    missing = [f"{key}={value}" for key, value in scope.items() if labels.get(key) != value]
    if missing:
        raise Forbidden(f"labels: your scope wants {', '.join(missing)} on every node of yours", reason="scope")


def select(nodes: Iterable[Node], query: NodeQuery) -> tuple[list[Node], int]:
    """Return one page and how many match. Raises `Invalid` for an unknown status or field."""
    statuses, labels, text = _statuses(query.status), _labels(query.label), query.q.strip().casefold()
    matching = [
        node
        for node in nodes
        if (not statuses or node.status in statuses) and _has_labels(node.labels, labels) and _has_text(node, text)
    ]
    return _sorted(matching, query.sort)[query.offset : query.offset + query.limit], len(matching)


def needs_names_alone(query: NodeQuery) -> bool:
    """Return whether records are enough to find the page: the way most pages are asked for."""
    return not query.q.strip() and not query.status.strip() and query.sort in {"", "name", "-name"}


def select_named(records: Iterable[NodeRecord], query: NodeQuery) -> tuple[list[NodeRecord], int]:
    """Do as `select` where `needs_names_alone`, without a view of every node."""
    labels = _labels(query.label)
    matching = [record for record in records if _has_labels(record.labels, labels)]
    matching.sort(key=lambda record: record.name, reverse=query.sort.startswith("-"))
    return matching[query.offset : query.offset + query.limit], len(matching)


def sorts_by_metric(query: NodeQuery) -> bool:
    """Return whether the order needs the current metrics of every node."""
    return query.sort.removeprefix("-") in CURRENT_SERIES


def check_name(name: str) -> str:
    """Return the name. Raises `Invalid`."""
    if _NAME.match(name) is None:
        problem = f"name: {name[:80]!r} does not match {NAME_PATTERN}"
        raise Invalid(f"a node's name is letters, digits, '.', '_' and '-': {name[:80]!r} is none", problems=[problem])
    return name


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels. Raises `Invalid` with every fault."""
    problems = [f"labels.{key[:80]}: the key does not match {LABEL_PATTERN}" for key in labels if not _LABEL.match(key)]
    problems += [
        f"labels.{key[:80]}: the value is longer than {MAX_LABEL_VALUE} characters or has control characters"
        for key, value in labels.items()
        if len(value) > MAX_LABEL_VALUE or not value.isprintable()
    ]
    if len(labels) > MAX_LABELS:
        problems.append(f"labels: {len(labels)} are more than {MAX_LABELS}")
    if problems:
        raise Invalid(f"labels: {problems[0]}", problems=problems)
    return dict(labels)


def check_change(record: NodeRecord, wanted: Mapping[str, Any], *, is_admin: bool) -> None:
    """Raise `Forbidden`, `Invalid` or `NotAllowed` when these fields of a `NodeChange` may not be set."""
    needs_admin = sorted({"name", "labels", "revoked"} & wanted.keys())
    if needs_admin and not is_admin:
        raise Forbidden(f"changing {', '.join(needs_admin)} of a node needs an administrator", permission="admin")
    if "name" in wanted:
        check_name(wanted["name"])
    if "labels" in wanted:
        check_labels(wanted["labels"])
    if "revoked" in wanted and record.public_key is None:
        raise NotAllowed("this node has no key that could be revoked; delete it instead")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a valid name near `wanted` that nobody has: `web`, then `web-2`, `web-3` and so on."""
    base = _NOT_IN_NAMES.sub("-", wanted).strip("-._")[:56] or "node"
    used = {name.casefold() for name in taken}
    name, number = base, 1
    while name.casefold() in used:
        number += 1
        name = f"{base}-{number}"
    return name


def _statuses(text: str) -> set[NodeStatus]:
    try:
        return {NodeStatus(word.strip()) for word in text.split(",") if word.strip()}
    except ValueError as problem:
        message = f"status: {problem}; use {', '.join(NodeStatus)}"
        raise Invalid(message, problems=[message]) from problem


def _labels(text: str) -> list[tuple[str, str | None]]:
    pairs = (word.strip().partition("=") for word in text.split(",") if word.strip())
    return [(key, value if sign else None) for key, sign, value in pairs]


def _has_labels(labels: Mapping[str, str], wanted: list[tuple[str, str | None]]) -> bool:
    return all(key in labels and (value is None or labels[key] == value) for key, value in wanted)


def _has_text(node: Node, text: str) -> bool:
    if not text:
        return True
    words = (node.name, node.id, node.hostname, node.ip, node.os, node.platform, node.cpu_model, *node.macs)
    labels = (f"{key}={value}" for key, value in node.labels.items())
    return any(text in word.casefold() for word in (*words, *labels))


_SORTS = (
    "name",
    "status",
    "hostname",
    "ip",
    "os",
    "arch",
    "platform",
    "cpu_cores",
    "mem_total_bytes",
    "worker_version",
    "last_seen",
    "created_at",
)


def _sorted(nodes: list[Node], sort: str) -> list[Node]:
    """Sort by a field or a current metric; a node without a value comes last, either way."""
    field = (sort or "name").removeprefix("-")
    if field not in _SORTS and field not in CURRENT_SERIES:
        message = f"sort: there is no field {field!r} here; use one of {', '.join((*_SORTS, *CURRENT_SERIES))}"
        raise Invalid(message, problems=[message])
    nodes = sorted(nodes, key=lambda node: node.name.casefold())
    values: dict[NodeId, Any] = {
        node.id: node.metrics.get(field) if field in CURRENT_SERIES else getattr(node, field) for node in nodes
    }
    known = [node for node in nodes if values[node.id] is not None]
    known.sort(key=lambda node: values[node.id], reverse=sort.startswith("-"))
    return known + [node for node in nodes if values[node.id] is None]
