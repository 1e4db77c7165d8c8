"""List, then watch from the next revision; resume after a break, list again after a compaction. For every consumer."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

import msgspec

from ops_system.kv.base import Changes, Event, KeyValue, RangeRequest, Store, WatchRequest
from ops_system.kv.errors import Compacted
from ops_system.kv.ranges import prefix_end
from ops_system.model.errors import TimedOut, Unavailable

_log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
_PAGE = 1_000

Skip = Callable[[bytes], bytes | None]
"""A key → the prefix of all that is not wanted around it, or None."""


class Listed(msgspec.Struct, frozen=True):
    """Everything below the prefix as it stood at `revision`: what is not in it is gone."""

    revision: int
    kvs: tuple[KeyValue, ...]


class Changed(msgspec.Struct, frozen=True):
    """What happened since, in order."""

    revision: int
    events: tuple[Event, ...]


async def follow(
    store: Store, prefix: bytes, *, prev_kv: bool = False, pause_s: float = FIRST_PAUSE_S, skip: Skip | None = None
) -> AsyncGenerator[Listed | Changed, None]:
    """Tell what stands below a prefix and then every change, for ever. Only Denied and bugs end it.

    `Listed` comes first, and again whenever changes may have been missed. Close it (`aclosing`) when done.
    `skip` names, for a key that is not wanted, the prefix that is left out of the listing; its changes are told.
    """
    revision, wait_s = 0, pause_s
    while True:
        try:
            if not revision:
                listed = await list_all(store, prefix, skip=skip)
                revision = listed.revision
                yield listed
            request = WatchRequest(prefix, prefix_end(prefix), revision + 1, progress_notify=True, prev_kv=prev_kv)
            async with store.watch(request) as watch:
                wait_s = pause_s
                while True:
                    changes = await watch.next()
                    revision = _reached(revision, changes)
                    if changes.events:
                        yield Changed(revision, changes.events)
        except Compacted:
            _log.info("changes below %r are forgotten since revision %d: listing again", prefix, revision)
            revision = 0
        except (Unavailable, TimedOut, TimeoutError) as error:
            _log.info("watching %r broke (%s); again in %.1f s", prefix, error, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_PAUSE_S)


def _reached(before: int, changes: Changes) -> int:
    """Return up to which revision all is told: the last event's, for a header may run ahead of events to come."""
    return changes.events[-1].kv.mod_revision if changes.events else max(before, changes.revision)


async def list_all(store: Store, prefix: bytes, page: int = _PAGE, skip: Skip | None = None) -> Listed:
    """Return everything below a prefix as it stood at one revision, read page by page. Raises Compacted.

    What `skip` names for a key is left out, and not read further than the page in which it begins.
    """
    end, key, revision = prefix_end(prefix), prefix, 0
    found: list[KeyValue] = []
    while True:
        answer = await store.range(RangeRequest(key, end, limit=page, revision=revision))
        found += answer.kvs if skip is None else [kv for kv in answer.kvs if skip(kv.key) is None]
        revision = revision or answer.revision
        if not answer.more:
            return Listed(revision, tuple(found))
        last = answer.kvs[-1].key
        unwanted = skip(last) if skip is not None else None
        key = last + b"\0" if unwanted is None else prefix_end(unwanted)
