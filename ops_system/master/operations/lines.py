"""What an operation's log says, and how fast a target moves: pure. Called by the service.

A line stands for each change of a target's state or step, and for each change of the operation's own state.
"""

from datetime import datetime

import msgspec

from ops_system.model.operations import Operation, OperationState, OperationTarget
from ops_system.model.reasons import Reason

LOG_LINES = 2000  # the newest of each operation are kept
SETTLE_S = 5.0  # a rate follows what it is now within about this time


class OperationLine(msgspec.Struct, frozen=True):
    """One line. Without a target it is about the operation; `step` is a code the console translates."""

    at: datetime
    target_id: str
    target_name: str
    state: OperationState
    step: str = ""
    reason: Reason | None = None


class Pace(msgspec.Struct, frozen=True):
    """How fast a target's bytes move inside one step."""

    step: str
    at_s: float
    bytes_done: int
    bytes_per_s: float = 0.0


def pace_after(pace: Pace | None, step: str, bytes_done: int, now_s: float) -> Pace:
    """Return the pace after news: a running mean that forgets within `SETTLE_S`; another step begins anew."""
    if pace is None or pace.step != step or bytes_done < pace.bytes_done:
        return Pace(step, now_s, bytes_done)
    elapsed_s = now_s - pace.at_s
    if elapsed_s <= 0.0 or bytes_done == pace.bytes_done:
        return pace
    fresh = (bytes_done - pace.bytes_done) / elapsed_s
    share = 1.0 if pace.bytes_per_s == 0.0 else min(1.0, elapsed_s / SETTLE_S)
    return Pace(step, now_s, bytes_done, pace.bytes_per_s + share * (fresh - pace.bytes_per_s))


def time_left_s(bytes_done: int, bytes_total: int, bytes_per_s: float) -> float | None:
    """Return how long the rest takes at this rate; None when nobody can tell."""
    if bytes_per_s <= 0.0 or bytes_total <= 0:
        return None
    return max(0, bytes_total - bytes_done) / bytes_per_s


def lines_between(before: Operation | None, after: Operation) -> list[OperationLine]:
    """Return what became different, targets first; all of it for a new operation but targets that wait."""
    at = after.updated_at
    known = {target.id: target for target in before.targets} if before is not None else {}
    lines = [line_of(target, at) for target in after.targets if _is_news(known.get(target.id), target)]
    was_paused = before is not None and before.is_paused
    if before is None or before.state is not after.state or was_paused is not after.is_paused:
        lines.append(OperationLine(at, "", "", after.state, reason=after.error))
    return lines


def line_of(target: OperationTarget, at: datetime, step: str = "") -> OperationLine:
    """Return the line that tells where a target is; `step`: a finer one than its own."""
    return OperationLine(at, target.id, target.name, target.state, step or target.step, target.reason)


def _is_news(before: OperationTarget | None, after: OperationTarget) -> bool:
    if before is None:
        return after.state is not OperationState.PENDING
    return (before.state, before.step) != (after.state, after.step)
