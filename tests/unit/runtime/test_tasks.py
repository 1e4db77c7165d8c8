import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from ops_system.runtime.tasks import (
    Mailbox,
    StopRequest,
    cancel_and_wait,
    every,
    for_each,
    run_role,
    running,
    serve,
    spawn,
)


async def test_a_spawned_task_carries_its_name():
    async with asyncio.TaskGroup() as group:
        task = spawn(group, asyncio.sleep(0), "nap")
    assert task.get_name() == "nap"


async def test_cancel_and_wait_returns_after_the_last_line_of_the_task():
    lines = []

    async def part():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            lines.append("closed")

    async with running(part(), "part") as task:
        await asyncio.sleep(0)
        await cancel_and_wait(task)
        assert lines == ["closed"]
        assert task.cancelled()


async def test_for_each_acts_on_all_but_only_on_so_many_at_once():
    at_work, most, done = 0, 0, []

    async def act(item):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        done.append(item)

    await for_each(range(10), act, 3, "items")
    assert (sorted(done), most) == (list(range(10)), 3)


async def test_the_first_failure_of_for_each_ends_the_others_and_is_raised_as_it_is():
    ended = []

    async def act(item):
        if item == 1:
            raise LookupError("one")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(LookupError, match="one"):
        await for_each(range(10), act, 2, "items")
    assert ended == [0]


async def test_being_cancelled_while_waiting_for_another_travels_on():
    release = asyncio.Event()

    async def stubborn():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with running(stubborn(), "stubborn") as victim:
        await asyncio.sleep(0)
        async with running(cancel_and_wait(victim), "waiter") as waiter:
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.wait([waiter])
            assert waiter.cancelled()
        release.set()


async def test_every_ticks_again_and_skips_what_it_missed(monkeypatch):
    ticks = []
    enough = asyncio.Event()

    async def tick():
        ticks.append(asyncio.get_running_loop().time())
        if len(ticks) == 1:
            await asyncio.sleep(0.025)
        if len(ticks) == 3:
            enough.set()

    async with running(every(0.01, tick, "test"), "every"), asyncio.timeout(30):
        await enough.wait()
    phase = (ticks[2] - ticks[0]) / 0.01
    assert phase >= 2.9


async def test_a_mailbox_keeps_order_and_refuses_when_full():
    box: Mailbox[int] = Mailbox("numbers", 2)
    assert box.post(1)
    assert box.post(2)
    assert not box.post(3)
    seen = []
    done = asyncio.Event()

    async def handle(item):
        seen.append(item)
        if item == 2:
            done.set()

    async with running(box.run(handle), "consumer"), asyncio.timeout(30):
        await done.wait()
        with pytest.raises(RuntimeError, match="numbers"):
            await box.run(handle)
    assert seen == [1, 2]


async def test_serve_stops_on_sigterm_and_restores_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    closed = []

    async def part():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            closed.append("part")

    async with asyncio.timeout(30):
        await serve({"part": part})
    assert closed == ["part"]
    assert signal.getsignal(signal.SIGTERM) is before


async def test_serve_returns_when_every_part_has_ended():
    async with asyncio.timeout(30):
        await serve({"a": lambda: asyncio.sleep(0), "b": lambda: asyncio.sleep(0)})


async def test_a_failing_part_stops_the_others_and_its_error_is_raised():
    closed = []

    async def broken():
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def healthy():
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("healthy")

    with pytest.raises(ValueError, match="broken"):
        await serve({"broken": broken, "healthy": healthy})
    assert closed == ["healthy"]


async def test_a_part_that_does_not_stop_ends_the_process():
    codes = []
    release = asyncio.Event()

    async def stuck():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    def hard_exit(code):
        codes.append(code)
        release.set()

    stop = StopRequest(hard_exit)
    stop.ask("test")
    await serve({"stuck": stuck}, stop=stop, stop_within_s=0.01, hard_exit=hard_exit)
    assert codes == [1]


async def test_the_second_request_exits_at_once():
    codes = []
    stop = StopRequest(codes.append)
    stop.ask("first")
    assert codes == []
    stop.ask("second")
    assert codes == [1]


def test_run_role_does_not_wait_for_a_thread_that_never_ends():
    release = threading.Event()
    codes = []

    def hard_exit(code):
        codes.append(code)
        release.set()

    async def main():
        asyncio.get_running_loop().run_in_executor(None, release.wait)
        return 7

    assert run_role(main(), close_within_s=0.05, hard_exit=hard_exit) == 7
    assert codes == [1]


def test_a_real_process_stops_on_sigint_with_code_0():
    program = (
        "import asyncio\nfrom ops_system.runtime.tasks import serve, run_role\n"
        "async def part():\n    print('up', flush=True)\n    await asyncio.Event().wait()\n"
        "run_role(serve({'part': part}))\nprint('down', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "up\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "down\n"
    assert child.returncode == 0
