"""A progress bar on a terminal; nothing where stderr is a file or a pipe."""

import time
from typing import Self, TextIO

from ops_system.model.quantities import format_size

_WIDTH, _EVERY_S = 30, 0.1


class Bar:
    """Redraws one line at most ten times a second, and clears it when closed."""

    def __init__(self, label: str, total_bytes: int, stream: TextIO) -> None:
        self._label = label
        self._total_bytes = total_bytes
        self._stream = stream
        self._is_shown = stream.isatty()
        self._next_s = 0.0
        self._started_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def update(self, done_bytes: int) -> None:
        """Show how far it is."""
        now_s = time.monotonic()
        if not self._is_shown or (now_s < self._next_s and done_bytes < self._total_bytes):
            return
        self._next_s = now_s + _EVERY_S
        share = min(1.0, done_bytes / self._total_bytes) if self._total_bytes else 1.0
        filled = int(share * _WIDTH)
        per_s = done_bytes / max(now_s - self._started_s, 0.001)
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}]"
        sizes = f"{format_size(done_bytes)} / {format_size(self._total_bytes)}, {format_size(int(per_s))}/s"
        self._stream.write(f"\r\x1b[K{self._label} {bar} {share:4.0%}  {sizes}")
        self._stream.flush()
