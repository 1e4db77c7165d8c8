"""Keeps the history files and answers from them; every blocking call in a thread. Used by `service`.

A disk that is full or broken stops history and nothing else: what was not written stays in memory for an hour and is
tried again each minute.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ops_system.master.metrics.layout import Answer, Asked, Files, Memory, answer
from ops_system.master.metrics.segments import Block
from ops_system.master.metrics.store import Segment, SegmentStore, is_storable
from ops_system.master.metrics.tiers import COARSE, FINE, WIDE, Batch, Tier
from ops_system.model.errors import StorageFull

_log = logging.getLogger(__name__)

ROLL_UP_SHARE = 15  # so many minutes it takes until the minutes of all subjects are written


class History:
    """The files of all nodes and instances within a budget of bytes."""

    def __init__(self, root: Path, *, budget_bytes: int) -> None:
        self._root = root
        self._store = SegmentStore(root)
        self._budget_bytes = budget_bytes
        self._mutex = threading.Lock()  # a cancelled call goes on in its thread
        self._doomed: set[str] = set()
        self.problem = ""
        self.used_bytes = 0

    @property
    def damaged_files(self) -> int:
        """How many files were set aside since the start."""
        return self._store.set_aside

    async def check(self) -> None:
        """Raise `StorageFull` while history cannot be written."""
        if self.problem:
            raise StorageFull(f"metric history is not written: {self.problem}; free space in {self._root}")

    # --- write ----------------------------------------------------------------------------------------------------
    async def save(self, cuts: Sequence[tuple[str, Sequence[Batch]]]) -> bool:
        """Write the rows of some subjects; False when not all of it could be."""
        return await asyncio.to_thread(self.save_now, cuts, 1 + len(cuts) // ROLL_UP_SHARE)

    def save_now(self, cuts: Sequence[tuple[str, Sequence[Batch]]], roll_ups: int = 0) -> bool:
        """Do the same, blocking. At the end of the process nothing is rolled up: the next start does that."""
        try:
            with self._mutex:
                for subject, batches in cuts:
                    for batch in batches if is_storable(subject) else ():
                        self._store.append(subject, batch)
                self._store.roll_up(roll_ups)
                self._store.mend_suspects()
        except OSError as problem:
            self._note(problem.strerror or str(problem))
            return False
        self._note("")
        return True

    def _note(self, problem: str) -> None:
        if problem and not self.problem:
            _log.error("metric history is not written any more: %s; what is live goes on", problem)
        if self.problem and not problem:
            _log.info("metric history is written again")
        self.problem = problem

    def forget(self, subject: str) -> None:
        """Delete everything of a subject, soon."""
        self._doomed.add(subject)

    async def sweep(self) -> None:
        """Delete what was forgotten."""
        if self._doomed:
            doomed, self._doomed = self._doomed, set()
            await asyncio.to_thread(self._remove, doomed)

    def _remove(self, subjects: set[str]) -> None:
        with self._mutex:
            for subject in subjects:
                self._store.remove(subject)

    async def trim(self, is_known: Callable[[str], bool]) -> None:
        """Delete what belongs to nobody, and the oldest files beyond the budget."""
        try:
            self.used_bytes = await asyncio.to_thread(self._trim, is_known)
        except OSError as problem:
            _log.warning("cannot tidy metric history up: %s", problem)

    def _trim(self, is_known: Callable[[str], bool]) -> int:
        with self._mutex:
            return self._store.trim(self._budget_bytes, is_known)

    # --- read -----------------------------------------------------------------------------------------------------
    async def answer(self, subject: str, asked: Asked, memory: Mapping[str, Memory]) -> Answer:
        """Return the points of all tiers. Raises `Invalid`."""
        return await asyncio.to_thread(self._answer, subject, asked, memory)

    def _answer(self, subject: str, asked: Asked, memory: Mapping[str, Memory]) -> Answer:
        fine = self._touched(subject, FINE, asked)
        if asked.span.step_s >= COARSE.step_s:
            without_minutes = {one.start_s for one in fine if not one.is_rolled}
            fine = [one for one in fine if one.start_s in without_minutes]
        tier = WIDE if asked.span.step_s % WIDE.step_s == 0 else COARSE
        coarse = self._touched(subject, tier, asked)
        return answer(asked, memory, self._read(fine, FINE), self._read(coarse, tier), tier)

    def _read(self, segments: Sequence[Segment], tier: Tier) -> Files:
        blocks: dict[int, list[Block]] = {}
        for segment in segments:
            blocks.setdefault(segment.start_s, []).extend(self._store.read(segment, tier))
        return list(blocks.items())

    def _touched(self, subject: str, tier: Tier, asked: Asked) -> list[Segment]:
        first_s, last_s = asked.span.first_s, asked.span.last_s
        found = self._store.segments(subject, tier)
        return [one for one in found if one.start_s <= last_s and one.start_s + tier.segment_s > first_s]
