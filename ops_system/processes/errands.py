"""What an instance has under way beside its mailbox: errands (one task a name) and clocks. Used by `care`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ops_system.processes.states import Timer, TimerFired


class Errands:
    """Named tasks of one instance; a new one takes the place of an older one of its name."""

    def __init__(self, group: asyncio.TaskGroup, owner: str) -> None:
        self._group = group
        self._owner = owner
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def start(self, name: str, errand: Coroutine[Any, Any, None]) -> None:
        """Run it beside."""
        self.cancel(name)
        try:
            self._tasks[name] = self._group.create_task(errand, name=f"{name} {self._owner}")
        except RuntimeError:  # the supervisor is going; the next one sees to it
            errand.close()

    def cancel(self, name: str) -> None:
        """Stop it; one that calls this itself goes on to its end."""
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def cancel_all(self) -> None:
        """Stop every one."""
        for name in tuple(self._tasks):
            self.cancel(name)

    def is_current(self, name: str) -> bool:
        """True in the task that still is the errand of this name."""
        return self._tasks.get(name) is asyncio.current_task()


class Clocks:
    """The timers of one instance; setting one again replaces it."""

    def __init__(self, on_fired: Callable[[TimerFired], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fired = on_fired
        self._timers: dict[Timer, asyncio.TimerHandle] = {}

    def set(self, timer: Timer, delay_s: float) -> None:
        """Wake after `delay_s`."""
        old = self._timers.pop(timer, None)
        if old is not None:
            old.cancel()
        self._timers[timer] = self._loop.call_later(delay_s, self._on_fired, TimerFired(timer))

    def cancel_all(self) -> None:
        """All off."""
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
