import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_system.runtime.tasks import StopRequest, running
from ops_system.service.manager import Notifier

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux'")


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@ops-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address.replace("@", "\0", 1))
        ear.setblocking(False)
        yield ear, address


async def hear(ear: socket.socket) -> str:
    async with asyncio.timeout(30):
        return (await asyncio.get_running_loop().sock_recv(ear, 1024)).decode()


async def test_ready_alive_and_stopping_are_told(listener: tuple[socket.socket, str]) -> None:
    ear, address = listener
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.of(environ)
    assert environ == {"HOME": "/"}
    notifier.tell_ready()
    assert await hear(ear) == "READY=1"
    async with running(notifier.run(StopRequest()), "manager"):
        assert [await hear(ear) for _ in range(3)] == ["WATCHDOG=1"] * 3
    words = [await hear(ear)]
    while words[-1] == "WATCHDOG=1":
        words.append(await hear(ear))
    assert words[-1] == "STOPPING=1"


async def test_anothers_watchdog_is_not_fed(listener: tuple[socket.socket, str]) -> None:
    ear, address = listener
    notifier = Notifier.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    async with running(notifier.run(StopRequest()), "manager"):
        notifier.tell_ready()
        assert await hear(ear) == "READY=1"
        await asyncio.sleep(0)
    assert await hear(ear) == "STOPPING=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens"])
async def test_without_a_listener_nothing_happens(address: str) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "nonsense"})
    notifier.tell_ready()
    async with running(notifier.run(StopRequest()), "manager"):
        await asyncio.sleep(0)


async def test_a_handover_to_another_program_is_no_stop(listener: tuple[socket.socket, str]) -> None:
    """systemd would kill the process it was told is stopping, whatever runs in it by then."""
    ear, address = listener
    stop = StopRequest()
    notifier = Notifier.of({"NOTIFY_SOCKET": address})
    async with running(notifier.run(stop), "manager"):
        stop.ask("version 2 takes over", is_handover=True)
        await asyncio.sleep(0)
    notifier.tell_ready()
    assert await hear(ear) == "READY=1", "the next word is the new program's"
