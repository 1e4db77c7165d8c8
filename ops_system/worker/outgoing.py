"""What goes up to the master, cut so that no frame grows past its limit. Used by `uplink`."""

from typing import TypeVar

import msgspec

from ops_system.model.instances import InstanceEvent, InstanceReport
from ops_system.protocol.frames import MAX_FRAME_BYTES, Snapshot

MAX_REASON_CHARS = 2000

T = TypeVar("T", InstanceReport, InstanceEvent)


def bounded(told: T, max_chars: int) -> T:
    """Return a report or event whose reason has at most so many characters, so that no frame grows past its limit."""
    reason = told.reason
    if reason is None or len(reason.message) <= max_chars:
        return told
    return msgspec.structs.replace(
        told, reason=msgspec.structs.replace(reason, message=reason.message[:max_chars] + "…")
    )


def snapshot_of(reports: tuple[InstanceReport, ...], last_event_seq: int) -> Snapshot:
    """Return the picture of everything; thousands of long reasons are cut until it fits one frame."""
    for max_chars in (MAX_REASON_CHARS, 100, 0):
        frame = Snapshot(tuple(bounded(report, max_chars) for report in reports), last_event_seq)
        if len(msgspec.msgpack.encode(frame)) <= MAX_FRAME_BYTES:
            break
    return frame
