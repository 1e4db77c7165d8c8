"""When leases end: deadlines by a clock that is handed in. Pure; the keys of a lease are the state's business.

A lease never ends for time in which nobody could renew it: `hold` moves all deadlines when the process stood still,
and after a restart a lease has what was left of it, and at least `GRACE_S` (or its whole TTL) to be renewed in.
"""

import heapq

import msgspec

from ops_system.kv.errors import LeaseTooLong

MIN_TTL_S, MAX_TTL_S = 2, 9_000_000_000
GRACE_S = 10.0


def granted(ttl_s: int) -> int:
    """Return the TTL a lease gets when `ttl_s` is asked for. Raises LeaseTooLong."""
    if ttl_s > MAX_TTL_S:
        raise LeaseTooLong
    return max(ttl_s, MIN_TTL_S)


class Term(msgspec.Struct, gc=False):
    """How long one lease lives: what it was granted, when it ends, and what of it the disk knows."""

    ttl_s: int
    deadline_s: float
    kept_s: float
    owner: str = ""


class Deadlines:
    """Every lease's term. `now_s` is any clock that never goes back."""

    def __init__(self) -> None:
        self.terms: dict[int, Term] = {}
        self._heap: list[tuple[float, int]] = []
        self._held_s = 0.0

    def grant(self, lease_id: int, ttl_s: int, now_s: float, owner: str = "") -> None:
        """Begin a term of `ttl_s`."""
        self.terms[lease_id] = Term(ttl_s, 0.0, float(ttl_s), owner)
        self._set(lease_id, ttl_s, now_s)

    def restore(self, lease_id: int, ttl_s: int, left_s: float, now_s: float, owner: str = "") -> None:
        """Go on after a restart with what was left."""
        self.terms[lease_id] = Term(ttl_s, 0.0, left_s, owner)
        self._set(lease_id, max(left_s, min(ttl_s, GRACE_S)), now_s)

    def renew(self, lease_id: int, now_s: float) -> Term | None:
        """Begin the term again; None when there is no such lease."""
        if (term := self.terms.get(lease_id)) is not None:
            term.deadline_s = now_s - self._held_s + term.ttl_s  # the heap learns it when the old deadline comes up
        return term

    def drop(self, lease_id: int) -> None:
        """Forget a lease."""
        self.terms.pop(lease_id, None)

    def left_s(self, lease_id: int, now_s: float) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.terms[lease_id].deadline_s - (now_s - self._held_s))

    def hold(self, seconds: float) -> None:
        """Move every deadline: for so long nobody could be heard."""
        self._held_s += seconds

    def due(self, now_s: float) -> list[int]:
        """Return the leases that are over."""
        over: dict[int, None] = {}
        now_s -= self._held_s
        while self._heap and self._heap[0][0] <= now_s:
            _, lease_id = heapq.heappop(self._heap)
            term = self.terms.get(lease_id)
            if term is None:
                continue
            if term.deadline_s <= now_s:
                over[lease_id] = None
            else:
                heapq.heappush(self._heap, (term.deadline_s, lease_id))
        return list(over)

    def to_keep(self, now_s: float, step_s: float) -> list[tuple[int, float]]:
        """Return the leases, with what is left of each, whose time on the disk is off by `step_s` or more."""
        found = []
        for lease_id, term in self.terms.items():
            left_s = self.left_s(lease_id, now_s)
            if abs(left_s - term.kept_s) >= step_s:
                term.kept_s = left_s
                found.append((lease_id, left_s))
        return found

    def _set(self, lease_id: int, seconds: float, now_s: float) -> None:
        deadline_s = now_s - self._held_s + seconds
        self.terms[lease_id].deadline_s = deadline_s
        heapq.heappush(self._heap, (deadline_s, lease_id))
