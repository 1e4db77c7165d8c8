"""Talk between features that must not import each other: typed events, synchronous handlers, no queue.

A handler is quick and never raises for expected trouble; a bug in one is logged and does not stop the others.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

_log = logging.getLogger(__name__)

E = TypeVar("E")


class Changed(msgspec.Struct, frozen=True):
    """An object that browsers watch is different now. `topic` as in contract section 4; None `data`: it is gone."""

    topic: str
    key: str
    data: Any


class Bus:
    """One per master, made in `app.py`."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, event_type: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` for each event of exactly this type, in order of subscription."""
        self._handlers[event_type].append(handler)

    def publish(self, event: object) -> None:
        """Call every handler of the event's type, now."""
        for handler in self._handlers[type(event)]:
            try:
                handler(event)
            except Exception:  # noqa: BLE001 - one broken listener must not stop the others
                _log.exception("bus handler %r failed on %r", handler, type(event).__name__)
