"""Commands from start to end: output while they run, their end told apart, nothing left of them."""

import asyncio
import os

import pytest

from ops_system.processes import procfs
from ops_system.processes.oneshot import OneShotEnd, run_oneshot

LONG_S = 20.0


class Ear:
    """Keeps what a command says, and tells when it has said something."""

    def __init__(self) -> None:
        self.said = {False: b"", True: b""}
        self.heard = asyncio.Event()

    async def __call__(self, is_error: bool, data: bytes) -> None:
        self.said[is_error] += data
        self.heard.set()


async def sh(script: str, ear: Ear, timeout_s: float = LONG_S) -> OneShotEnd:
    return await run_oneshot(
        ["/bin/sh", "-c", script], cwd="/", env={"PATH": os.environ["PATH"]}, timeout_s=timeout_s, on_output=ear
    )


async def test_output_and_code():
    ear = Ear()
    assert await sh("echo out; echo err >&2; pwd; exit 3", ear) == OneShotEnd(code=3)
    assert ear.said == {False: b"out\n/\n", True: b"err\n"}


async def test_a_signal_is_told_apart_from_a_code():
    assert await sh("kill -TERM $$", Ear()) == OneShotEnd(signal_name="SIGTERM")
    assert await sh("exit 143", Ear()) == OneShotEnd(code=143)


async def test_out_of_time_everything_it_started_is_killed():
    ear = Ear()
    end = await sh("sleep 1000 & echo $!; (trap '' TERM HUP; sleep 1000) & wait", ear, timeout_s=2)
    assert end == OneShotEnd(timed_out=True)
    assert_gone(int(ear.said[False]))


async def test_cancelled_everything_it_started_is_killed():
    ear = Ear()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(sh("sleep 1000 & echo $!; wait", ear))
        async with asyncio.timeout(LONG_S):
            await ear.heard.wait()
        running.cancel()
    assert_gone(int(ear.said[False]))


async def test_a_child_left_behind_does_not_keep_the_command_open():
    ear = Ear()
    assert await sh("sleep 1000 & echo $!", ear) == OneShotEnd(code=0)
    assert_gone(int(ear.said[False]))


async def test_what_is_no_program_is_an_error():
    with pytest.raises(FileNotFoundError):
        await run_oneshot(["/no/such"], cwd="/", env={}, timeout_s=LONG_S, on_output=Ear())


def assert_gone(pid: int) -> None:
    row = procfs.read_row(pid)
    assert row is None or row.is_dead
