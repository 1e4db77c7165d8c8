"""How fast this node may fetch, over all its downloads: a bucket of bytes that refills by the clock. Pure.

A taker that overdraws waits until its debt is paid, so the mean never passes the rate, and nobody is starved.
"""

BURST_S = 0.25  # so much of the rate may come at once
LARGEST_PIECE_BYTES = 1024 * 1024
SMALLEST_PIECE_BYTES = 4 * 1024


class Throttle:
    """`bytes_per_s` 0: no limit."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_bytes = bytes_per_s * BURST_S
        self._at_s = 0.0

    @property
    def piece_bytes(self) -> int:
        """How much is best read in one go."""
        if not self._bytes_per_s:
            return LARGEST_PIECE_BYTES
        return max(SMALLEST_PIECE_BYTES, min(LARGEST_PIECE_BYTES, int(self._bytes_per_s * BURST_S)))

    def take(self, count: int, now_s: float) -> float:
        """Note that `count` bytes came at `now_s` (monotonic); return how long to wait before the next are read."""
        if not self._bytes_per_s:
            return 0.0
        refill_bytes = max(0.0, now_s - self._at_s) * self._bytes_per_s
        self._free_bytes = min(self._bytes_per_s * BURST_S, self._free_bytes + refill_bytes) - count
        self._at_s = max(self._at_s, now_s)
        return max(0.0, -self._free_bytes / self._bytes_per_s)
