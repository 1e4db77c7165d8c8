"""The one place where tasks are made: named tasks, ticks, mailboxes, and the life of a role from start to signal.

Every role's `app.py` builds its parts and hands them to `serve`; parts start their own helpers by `spawn` in a
`TaskGroup` they own. `CancelledError` always travels on.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

STOP_WITHIN_S = 8.0
CLOSE_WITHIN_S = 1.5  # after the parts ended: time for the executor's threads; both together stay below 10 s

Part = Callable[[], Coroutine[Any, Any, None]]
HardExit = Callable[[int], None]


def spawn(group: asyncio.TaskGroup, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start `coro` as a named task of `group`; its failure ends the group, as everywhere in structured concurrency."""
    return group.create_task(coro, name=name)


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and return when it has ended. Its own failure is logged; being cancelled oneself travels on."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed while it was stopped", task.get_name(), exc_info=error)


@contextlib.asynccontextmanager
async def running(coro: Coroutine[Any, Any, T], name: str) -> AsyncIterator[asyncio.Task[T]]:
    """Run `coro` beside the body of the `with` block and stop it at the end. For tests and short-lived helpers."""
    task = asyncio.create_task(coro, name=name)  # noqa: TID251 - this module is the rule's one exception
    try:
        yield task
    finally:
        await cancel_and_wait(task)


async def for_each(items: Iterable[T], act: Callable[[T], Awaitable[None]], at_once: int, name: str) -> None:
    """Call `act` on every item, `at_once` at a time. The first failure ends the others and is raised as it is."""
    left = iter(items)

    async def lane() -> None:
        for item in left:
            await act(item)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(at_once):
                spawn(group, lane(), f"{name} {number}")
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def every(
    interval_s: float,
    fn: Callable[[], Awaitable[None]],
    name: str,
    jitter: float = 0.0,
    *,
    dice: Callable[[], float] = random.random,
) -> None:
    """Call `fn` now and then each `interval_s` (± `jitter` as a share of it) without drift, until cancelled.

    A call that takes longer than the interval skips the ticks it missed. A failure of `fn` ends the tick: expected
    trouble is handled inside `fn`. `name` stands in the log line of a skipped tick.
    """
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        await fn()
        due_s += interval_s
        late_s = loop.time() - due_s
        if late_s > 0:
            missed = int(late_s // interval_s) + 1
            _log.debug("%s: skipped %d ticks", name, missed)
            due_s += missed * interval_s
        shift_s = interval_s * jitter * (2 * dice() - 1)
        await asyncio.sleep(max(0.0, due_s + shift_s - loop.time()))


class Mailbox(Generic[T]):
    """A bounded queue with one consumer. A full box refuses: the sender knows, nothing is dropped in silence."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self._queue: asyncio.Queue[T] = asyncio.Queue(capacity)
        self._has_consumer = False

    def __len__(self) -> int:
        return self._queue.qsize()

    def post(self, item: T) -> bool:
        """Put `item` in without waiting. False: the box is full and the item was not taken."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            return False
        return True

    async def put(self, item: T) -> None:
        """Put `item` in, waiting for room."""
        await self._queue.put(item)

    async def run(self, handle: Callable[[T], Awaitable[None]]) -> None:
        """Hand each item to `handle`, in order, until cancelled. `RuntimeError` on a second consumer."""
        if self._has_consumer:
            raise RuntimeError(f"mailbox {self.name} already has a consumer")
        self._has_consumer = True
        try:
            while True:
                await handle(await self._queue.get())
        finally:
            self._has_consumer = False


class StopRequest:
    """How a role learns that it should end: by a signal, or by a part that asks. The second request ends at once."""

    def __init__(self, hard_exit: HardExit = os._exit) -> None:
        self.event = asyncio.Event()
        self.is_handover = False
        self._hard_exit = hard_exit

    def ask(self, why: str, *, is_handover: bool = False) -> None:
        """Ask for a stop; asking again exits the process immediately with code 1.

        `is_handover`: another program goes on in this very process, so that its service manager hears of no end.
        """
        if self.event.is_set():
            _log.warning("%s again: stopping at once", why)
            self._hard_exit(1)
            return
        _log.info("stopping: %s", why)
        self.is_handover = is_handover
        self.event.set()


def _stop_signals() -> tuple[signal.Signals, ...]:
    if sys.platform == "win32":
        return (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)  # SIGBREAK: Ctrl-Break, console closed, log-off
    return (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def _signals_to(stop: StopRequest) -> Iterator[None]:
    """Turn stop signals into `stop.ask` while the block runs. Outside the main thread signals cannot be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _stop_signals()}
    undo = _catch_windows(stop) if sys.platform == "win32" else _catch_posix(stop)
    try:
        yield
    finally:
        undo()
        for number, handler in before.items():
            signal.signal(number, handler)


def _catch_posix(stop: StopRequest) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    for number in _stop_signals():
        loop.add_signal_handler(number, stop.ask, number.name)

    def undo() -> None:
        for number in _stop_signals():
            loop.remove_signal_handler(number)

    return undo


def _catch_windows(stop: StopRequest) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def on_signal(number: int, _frame: object = None) -> None:
        loop.call_soon_threadsafe(stop.ask, signal.Signals(number).name)

    for number in _stop_signals():
        signal.signal(number, on_signal)
    return _keep_awake(loop)


def _keep_awake(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Wake a Windows loop twice a second: its wait is not interrupted by Python-level signal handlers."""
    handle: asyncio.TimerHandle

    def again() -> None:
        nonlocal handle
        handle = loop.call_later(0.5, again)

    def stop() -> None:
        handle.cancel()

    again()
    return stop


async def serve(
    parts: Mapping[str, Part],
    *,
    stop: StopRequest | None = None,
    stop_within_s: float = STOP_WITHIN_S,
    hard_exit: HardExit = os._exit,
) -> None:
    """Run the long-lived parts of a role in one TaskGroup until SIGTERM, SIGINT (Ctrl events on Windows) or `stop`.

    A stop cancels every part; when one has not ended `stop_within_s` later its name is logged and the process exits
    with code 1. A second signal exits at once. A part that fails stops the others and its error is raised (a lone
    one unwrapped, else the `ExceptionGroup`). Returns when all parts have ended.
    """
    request = stop or StopRequest(hard_exit)
    with _signals_to(request):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [spawn(group, part(), name) for name, part in parts.items()]
                stopper = spawn(group, _stop_parts(request, tasks, stop_within_s, hard_exit), "stop")
                _cancel_after_all(tasks, stopper)
        except BaseExceptionGroup as failed:
            if len(failed.exceptions) == 1:
                raise failed.exceptions[0] from None
            raise


def _cancel_after_all(tasks: list[asyncio.Task[None]], stopper: asyncio.Task[None]) -> None:
    left = set(tasks)

    def ended(task: asyncio.Task[None]) -> None:
        left.discard(task)
        if not left:
            stopper.cancel()

    for task in tasks:
        task.add_done_callback(ended)


async def _stop_parts(
    stop: StopRequest, tasks: list[asyncio.Task[None]], stop_within_s: float, hard_exit: HardExit
) -> None:
    await stop.event.wait()
    for task in tasks:
        task.cancel()
    _, stuck = await asyncio.wait(tasks, timeout=stop_within_s)
    if stuck:
        _log.error("did not stop within %.0f s: %s", stop_within_s, ", ".join(task.get_name() for task in stuck))
        hard_exit(1)


def run_role(
    main: Coroutine[Any, Any, T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    close_within_s: float = CLOSE_WITHIN_S,
    hard_exit: HardExit = os._exit,
) -> T:
    """Run a role's async main and return its answer. A worker thread that never ends cannot keep the process alive.

    `asyncio.run` would wait for such a thread for ever; here the process exits with code 1 after `close_within_s`.
    """
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        return runner.run(main)
    finally:
        watchdog = threading.Timer(close_within_s, hard_exit, args=(1,))
        watchdog.daemon = True
        watchdog.start()
        runner.close()
        watchdog.cancel()
