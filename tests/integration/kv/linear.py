"""A checker of linearizability for histories of one key, after Wing and Gong, with what was seen before kept.

A register holds a value, or nothing (None). Operations: read, put, and swap (put on the condition of an old value). An
operation whose answer never came may have been done at any later time, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FOREVER = float("inf")


@dataclass(frozen=True)
class Op:
    """One call: when it began and ended, what it was, what came back."""

    kind: Literal["read", "put", "swap"]
    began: float
    ended: float  # FOREVER: no answer came
    value: bytes | None = None  # read: what was read; put, swap: what was written
    expected: bytes | None = None  # swap: the value it was conditioned on
    succeeded: bool = True  # swap: whether it won


def apply(op: Op, state: bytes | None) -> tuple[bool, bytes | None]:
    """Return whether `op` can have happened at `state`, and the state after it."""
    match op.kind:
        case "read":
            return op.value == state, state
        case "put":
            return True, op.value
        case _:
            holds = state == op.expected
            if op.ended == FOREVER:
                return True, op.value if holds else state
            return op.succeeded is holds, op.value if holds else state


def is_linearizable(history: Sequence[Op], initial: bytes | None = None) -> bool:
    """Whether some order explains every answer and respects who ended before whom began."""
    ops = sorted((op for op in history if op.ended != FOREVER or op.kind != "read"), key=lambda op: op.began)
    certain = sum(1 << index for index, op in enumerate(ops) if op.ended != FOREVER)
    seen: set[tuple[int, bytes | None]] = set()
    stack: list[tuple[int, bytes | None]] = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done & certain == certain:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [index for index in range(len(ops)) if not done >> index & 1]
        first_end = min(ops[index].ended for index in left)
        for index in left:
            if ops[index].began > first_end:
                break
            can_be, after = apply(ops[index], state)
            if can_be:
                stack.append((done | 1 << index, after))
    return False
