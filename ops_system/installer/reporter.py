"""Tells the region how far the work is: a thread that sends the newest progress and the log lines, once a second.

What is told renews the lease along with it when that will be due soon: one call for both.

A region that is away is waited for; lines beyond `MAX_KEPT` are dropped, oldest first, and counted.
"""

import logging
import threading
import time
from collections import deque
from typing import Self

from msgspec.structs import replace

from ops_system.installer.guard import Guard
from ops_system.installer.region import Region
from ops_system.model.errors import OpsError, Unavailable
from ops_system.protocol.agent import MAX_LOG_LINES, ProgressAnswer, ProgressCall

_log = logging.getLogger(__name__)
MAX_KEPT = 5_000
INTERVAL_S = 1.0
ALIVE_S = 60.0  # a step that says nothing is said again so often: silence is taken for a hang
RENEW_AHEAD_S = 6.0  # before the lease would be asked for by itself
_LINE_CHARS = 2_000


class Reporter:
    """`with Reporter(…)` while an installation goes on; what is left is sent at its end."""

    def __init__(
        self, region: Region, guard: Guard, sn: str, task_id: str, fence: int, *, interval_s: float = INTERVAL_S
    ) -> None:
        self._region, self._guard, self._interval_s = region, guard, interval_s
        self._last = ProgressCall(sn, task_id, "begin", 0.0, fence=fence)
        self._is_new, self._said_at_s = False, time.monotonic()
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def progress(
        self, step: str, percent: float, message: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Tell how far a step is; only the newest is sent. The bytes of a step stay until others are told."""
        with self._lock:
            if done is None and step == self._last.step:
                done, total = self._last.bytes_done, self._last.bytes_total
            self._last = replace(
                self._last, step=step, percent=percent, message=message, bytes_done=done, bytes_total=total
            )
            self._is_new = True

    def line(self, text: str) -> None:
        """Add a line to the task's log."""
        _log.info("%s", text)
        with self._lock:
            self._lines.append(text[:_LINE_CHARS])
            if len(self._lines) > MAX_KEPT:
                self._lines.popleft()
                self._dropped += 1

    def flush(self) -> None:
        """Send what waits now, after what is on its way. A region that is away, or refuses, changes nothing here."""
        with self._sending:
            while (call := self._take()) is not None:
                try:
                    self._send(call)
                except Unavailable:
                    self._give_back(call)
                    return
                except OpsError as refusal:
                    _log.warning("progress was refused: %s", refusal.message)
                    return

    def _send(self, call: ProgressCall) -> None:
        asked_at_s, renews = self._guard.now_s(), self._guard.due_in_s() <= RENEW_AHEAD_S
        answer = self._region.call("/api/v1/progress", replace(call, renews=renews), ProgressAnswer)
        if (lease := answer.lease) is not None:
            self._guard.renew(asked_at_s, lease.ttl_s, lease.fence, is_cancel_asked=lease.is_cancel_asked)
            self._region.learn(lease.regions)

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            if time.monotonic() - self._said_at_s > ALIVE_S:
                self._is_new = True
            self.flush()
        self.flush()

    def _take(self) -> ProgressCall | None:
        with self._lock:
            if not self._is_new and not self._lines:
                return None
            lines = [self._lines.popleft() for _ in range(min(len(self._lines), MAX_LOG_LINES - 1))]
            if self._dropped:
                lines.insert(0, f"… {self._dropped} lines were not sent in time")
                self._dropped = 0
            self._is_new, self._said_at_s = False, time.monotonic()
            return replace(self._last, lines=tuple(lines))

    def _give_back(self, call: ProgressCall) -> None:
        with self._lock:
            self._lines.extendleft(reversed(call.lines))
            self._is_new = True
