"""Keeps Python's cycle collector from stopping a role: a full collection of all that was imported takes 10 to 50 ms."""

import gc

_RARELY = (20_000, 50, 1_000)  # new objects, then how many younger collections, before the next older one


def collect_rarely() -> None:
    """Have the collector run seldom: nearly everything a role makes is freed by its reference count."""
    gc.set_threshold(*_RARELY)


def calm_the_collector() -> None:
    """Leave what the start made out of every later collection."""
    gc.collect()
    gc.freeze()
