"""Credentials read lately, so that a page of twenty requests asks the database once.

Only what the database said is kept, for `KEEP_S`: limits of time are computed anew at each request. Whatever this
process changes empties the store at once; the commands on the data folder only add accounts and tokens, and what is
not here is always asked for.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

KEEP_S = 1.0
MOST = 10_000


class Recent(Generic[T]):
    """Rows by the hash of the secret that opens them. `monotonic_s` is the clock."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._rows: dict[bytes, tuple[float, T]] = {}
        self.generation = 0

    def get(self, key: bytes) -> T | None:
        """Return the row, if it was read within `KEEP_S`."""
        kept = self._rows.get(key)
        if kept is None or self._monotonic_s() - kept[0] >= KEEP_S:
            return None
        return kept[1]

    def put(self, key: bytes, row: T, generation: int) -> None:
        """Keep a row that was read while `generation` was true; one that may be older than a change is not kept."""
        if generation != self.generation:
            return
        if len(self._rows) >= MOST:
            self._rows.clear()
        self._rows[key] = (self._monotonic_s(), row)

    def forget(self) -> None:
        """Something changed: ask the database again."""
        self.generation += 1
        self._rows.clear()
