"""Keeps Python's cycle collector from stopping a role: a full collection of all that was imported takes 10 to 50 ms."""

import gc
import itertools

from ops_system.runtime.tasks import every

FEW, MANY = 20_000, 200_000
_OLDER = (50, 1_000)  # so many younger collections before the next older one
LOOK_EVERY_S = 60.0
ALL_EVERY = 60  # looks


def collect_rarely(new_objects: int) -> None:
    """Have the collector run after so many new objects: nearly all that a role makes is freed by its reference count.

    One with thousands of peers keeps the last request of each: a look at these takes 0.2 to 0.4 s. `MANY` is for such
    a one, with `collect_in_time`; `FEW` for one that is small.
    """
    gc.set_threshold(new_objects, *_OLDER)


def calm_the_collector() -> None:
    """Leave what the start made out of every later collection."""
    gc.collect()
    gc.freeze()


async def collect_in_time() -> None:
    """Free the cycles of a quiet hour, too: `MANY` new objects may take a day to come.

    A look each minute at what is new since the last one, and each hour at all: a connection that lasted longer than a
    minute leaves its cycles among what is old.
    """
    looks = itertools.count(1)

    async def look() -> None:
        gc.collect(1 if next(looks) % ALL_EVERY else 2)

    await every(LOOK_EVERY_S, look, "collector")
