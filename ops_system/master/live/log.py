"""The newest object per key of one watched topic, in the order of change: what viewers are brought up to date from.

`seq` rises with each commit. A viewer that has `seq` n gets every key that changed after n, once, however slow it
reads; what two viewers in step need is encoded once.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from ops_system.master.live.rules import Item, Message, Topic, encode, encode_item

MAX_BYTES = 4 * 1024 * 1024
KEY_BYTES = 64


class Delta(msgspec.Struct, frozen=True):
    """What changed after a sequence number, up to `seq`."""

    seq: int
    items: list[Item]
    removed: list[str]


class TopicLog:
    """One topic while it is watched, and a little longer."""

    def __init__(self, name: str, topic: Topic) -> None:
        self.name = name
        self.topic = topic
        self.epoch = secrets.token_hex(8)
        self.seq = 0
        self.has_changes = False  # something is put that is not committed
        self.newest_bytes = 0  # of the last commit
        self._coming_bytes = 0
        self._floor_seq = 0
        self._latest: OrderedDict[str, tuple[int, msgspec.Raw | None, int]] = OrderedDict()
        self._held_bytes = 0
        self._made: tuple[int, int, bytes | None] | None = None

    def put(self, key: str, value: Any) -> None:
        """Take a changed object, None when it is gone; told by the next `commit`.

        Encoded now and not then, so that a thousand changes of one interval are no pause of the loop at its end.
        """
        self.has_changes = True
        raw, size_bytes = (None, KEY_BYTES) if value is None else measure_item(value)
        latest = self._latest
        old = latest.pop(key, None)
        latest[key] = (self.seq + 1, raw, size_bytes)
        self._held_bytes += size_bytes - (0 if old is None else old[2])
        self._coming_bytes += size_bytes
        while self._held_bytes > MAX_BYTES and len(latest) > 1:
            _, (self._floor_seq, _, gone_bytes) = latest.popitem(last=False)
            self._held_bytes -= gone_bytes

    def commit(self) -> None:
        """Let what was put be the next number of the sequence."""
        self.seq += 1
        self.has_changes = False
        self.newest_bytes, self._coming_bytes = self._coming_bytes, 0

    def can_resume(self, epoch: str, seq: int) -> bool:
        """Return whether everything after `seq` is still here."""
        return epoch == self.epoch and self._floor_seq <= seq <= self.seq

    def delta(self, after_seq: int) -> Delta:
        """Return what changed after `after_seq`, the newest of each key."""
        items: list[Item] = []
        removed: list[str] = []
        for key in reversed(self._latest):
            seq, raw, _ = self._latest[key]
            if seq > self.seq:
                continue
            if seq <= after_seq:
                break
            if raw is None:
                removed.append(key)
            else:
                items.append((key, raw))
        return Delta(self.seq, items[::-1], removed[::-1])

    def message(self, after_seq: int, now_s: float) -> bytes | None:
        """Return the change message that brings a viewer from `after_seq` to now; made once for all in step.

        None when all that changed has changed again and comes with the next commit.
        """
        if self._made is None or self._made[:2] != (after_seq, self.seq):
            delta = self.delta(after_seq)
            data = self._encode(delta, now_s) if delta.items or delta.removed else None
            self._made = (after_seq, self.seq, data)
        return self._made[2]

    def message_for(
        self, after_seq: int, now_s: float, shown: set[str], is_visible: Callable[[str], bool]
    ) -> bytes | None:
        """Return the change message for a viewer who sees only some keys; None when there is nothing for it.

        `shown` are the keys the viewer has; it is kept up. What is gone, or not visible any more, is told to those who
        had it and to nobody else: an id is something, too.
        """
        delta = self.delta(after_seq)
        items = [item for item in delta.items if is_visible(item[0])]
        visible = {key for key, _ in items}
        gone = [*delta.removed, *(key for key, _ in delta.items if key not in visible)]
        removed = [key for key in gone if key in shown]
        shown.difference_update(removed)
        shown |= visible
        if not items and not removed:
            return None
        return self._encode(Delta(delta.seq, items, removed), now_s)

    def _encode(self, delta: Delta, now_s: float) -> bytes:
        data = self.topic.shape("change", delta.items, delta.removed, now_s)
        return encode(Message(self.name, delta.seq, self.epoch, "change", 0, True, data))


def measure_item(value: Any) -> tuple[msgspec.Raw, int]:
    """Return an object as JSON, and what it takes with its key."""
    raw = encode_item(value)
    return raw, KEY_BYTES + memoryview(raw).nbytes
