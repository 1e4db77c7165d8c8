"""When the hub tells its viewers: all of them, one a turn of the loop."""

import asyncio

from ops_system.master.bus import Bus
from ops_system.master.live.hub import Hub
from ops_system.master.live.rules import Topic
from ops_system.master.web.route import Permission, Principal
from ops_system.runtime.clock import SystemClock

VERA = Principal("token", "t", "vera", frozenset({Permission.VIEW}))
WITHIN_S = 30.0


class Watcher:
    """Notes in which turn of the loop it was woken."""

    principal = VERA

    def __init__(self, turns):
        self._turns = turns
        self.woken = asyncio.Event()
        self.turn = None

    def wake(self, _log):
        self.turn = self._turns[0]
        self.woken.set()

    def end(self, _code, _message):
        raise AssertionError


async def test_viewers_are_woken_one_a_turn_so_that_workers_are_heard_between_them():
    hub, turns = Hub(Bus(), SystemClock()), [0]
    hub.register(Topic("things", Permission.VIEW, lambda _name, _who: None))
    watchers = [Watcher(turns) for _ in range(4)]
    for watcher in watchers:
        hub.watch("things", hub.find("things", VERA), watcher)
    hub.put("things", "a", {"x": 1})
    async with asyncio.timeout(WITHIN_S):
        while not all(watcher.woken.is_set() for watcher in watchers):
            turns[0] += 1
            await asyncio.sleep(0)
    assert len({watcher.turn for watcher in watchers}) == len(watchers)
