"""The lines of a node's timeline and their words. Pure; `service` and `links` note, `timeline` keeps."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ops_system.master.nodes.rules import NodeRecord
from ops_system.master.web.route import ListQuery
from ops_system.model.ids import NodeId
from ops_system.model.nodes import NodeStatus
from ops_system.model.reasons import Reason

MAX_WORDS = 300  # of what a worker or its link says about an end


class NoteKind(StrEnum):
    """What a line is about."""

    STATUS = "status"  # heard, or not
    LINK = "link"  # opened, lost
    DUTY = "duty"  # paused, draining
    IDENTITY = "identity"  # planned, joined, renamed, labelled, revoked, copied
    UPDATE = "update"  # of the worker itself


class NodeNoted(msgspec.Struct, frozen=True):
    """Something happened to a node that belongs into its timeline. Published on the bus."""

    node_id: NodeId
    at: datetime
    kind: NoteKind
    status: NodeStatus | None = None  # with kind `status`
    reason: Reason | None = None
    actor: str = ""  # empty: nobody, it happened


class NodeEvent(msgspec.Struct, frozen=True):
    """One line of a node's timeline; `id` rises."""

    id: int
    at: datetime
    kind: NoteKind
    status: NodeStatus | None
    reason: Reason | None
    actor: str


class NodeEventQuery(ListQuery, frozen=True):
    """`?kind=status,link` keeps the lines of these kinds; `q` looks into the reason and the actor."""

    kind: str = ""


def line_of(event_id: int, note: NodeNoted) -> NodeEvent:
    """Return the line that shows a note."""
    return NodeEvent(event_id, note.at, note.kind, note.status, note.reason, note.actor)


def status_reason(status: NodeStatus, silent_s: float | None) -> Reason | None:
    """Return why a node has this status now; `silent_s`: until this frame, or until now."""
    if silent_s is None:
        return None
    span = round(silent_s, 1)
    match status:
        case NodeStatus.ONLINE:
            return Reason("node_back", f"heard again after {span:g} s", {"silent_s": span})
        case NodeStatus.SUSPECT | NodeStatus.OFFLINE:
            return Reason("node_not_heard", f"not heard for {span:g} s", {"silent_s": span})
        case NodeStatus.PLANNED | NodeStatus.QUARANTINED:
            return None


Params = dict[str, str | int | float]


def joined(address: str, token_id: str) -> Reason:
    """A worker was taken in."""
    params: Params = {"address": address or "–", "token": token_id}
    return Reason("node_joined", f"joined from {params['address']} with join token {token_id}", params)


def linked(address: str, version: str) -> Reason:
    """A link was opened."""
    params: Params = {"address": address or "–", "version": version or "–"}
    return Reason("node_linked", f"linked from {params['address']}, worker {params['version']}", params)


def link_over(code: str, message: str) -> Reason:
    """A link has ended."""
    return Reason(f"link_{code}", _short(message) or code, {"message": _short(message)})


def copied(clone: str, address: str) -> Reason:
    """A second machine showed the node's identity."""
    params: Params = {"clone": clone, "address": address or "–"}
    return Reason("node_copied", f"a copy at {params['address']} is quarantined as {clone}", params)


def update_ended(version: str, problem: Reason | None) -> Reason:
    """An update of the worker has ended."""
    if problem is None:
        return Reason("worker_updated", f"worker updated to {version}", {"version": version})
    params: Params = {"version": version, "message": _short(problem.message)}
    return Reason("worker_update_failed", f"update to {version} failed: {params['message']}", params)


def changes(before: NodeRecord, after: NodeRecord) -> list[tuple[NoteKind, Reason]]:
    """Return what a person changed about a node, a line each."""
    lines: list[tuple[NoteKind, Reason]] = []
    for name, kind, when_set, when_not in _SWITCHES:
        value = getattr(after, name)
        if value is not getattr(before, name):
            code, words = when_set if value else when_not
            lines.append((kind, Reason(code, words)))
    if after.name != before.name:
        params: dict[str, Any] = {"before": before.name, "after": after.name}
        words = f"renamed from {before.name} to {after.name}"
        lines.append((NoteKind.IDENTITY, Reason("node_renamed", words, params)))
    if after.labels != before.labels:
        shown = _spell(after.labels)
        lines.append((NoteKind.IDENTITY, Reason("node_labelled", f"labels: {shown}", {"labels": shown})))
    return lines


_SWITCHES = (
    ("is_paused", NoteKind.DUTY, ("node_paused", "paused"), ("node_resumed", "resumed")),
    ("is_draining", NoteKind.DUTY, ("node_draining", "drain asked for"), ("node_undrained", "drain ended")),
    ("is_revoked", NoteKind.IDENTITY, ("node_revoked", "key revoked"), ("node_trusted", "key trusted again")),
)

PLANNED = Reason("node_planned", "planned")
LEFT = Reason("node_left", "left by its own wish; its key is revoked")


def _spell(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "–"


def _short(text: str) -> str:
    return text if len(text) <= MAX_WORDS else f"{text[: MAX_WORDS - 1]}…"
