import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from ops_system.model.instances import State
from ops_system.processes.ports import find_taken
from ops_system.processes.probes import Failed, Passed, probe
from ops_system.processes.spec import ProbeRules
from tests.fakes.processes import ID, PYTHON, make_spec, running_rig, until_true


@contextlib.asynccontextmanager
async def server(answer):
    """Answer every connection with these bytes (None: nothing at all), then close."""
    requests = []
    release = asyncio.Event()

    async def serve(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], requests
        release.set()


async def ask(kind, target, timeout_s=5.0):
    return await probe(ProbeRules(kind, target, timeout_s=timeout_s), "/", {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
async def test_http_goes_by_the_status(status, is_well):
    async with server(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as (port, requests):
        found = await ask("http", f"http://127.0.0.1:{port}/health?a=1")
        assert found == (Passed() if is_well else Failed(f"HTTP status {status}"))
        assert requests[0].startswith(b"GET /health?a=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.parametrize("answer", [b"", b"hello\r\n", b"x" * 100_000, b"HTTP/1.1 abc\r\n"])
async def test_what_is_not_http_fails(answer):
    async with server(answer) as (port, _):
        assert isinstance(await ask("http", f"http://127.0.0.1:{port}/"), Failed)


async def test_silence_fails_in_time():
    async with server(None) as (port, _):
        found = await ask("http", f"http://127.0.0.1:{port}/", timeout_s=0.05)
        assert found == Failed("no answer within 0.05 s")


async def test_tcp_wants_a_listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert await ask("tcp", f"127.0.0.1:{port}") == Passed()
        assert find_taken({"any": 0, "http": port}) == ("http", port)
    assert isinstance(await ask("tcp", f"127.0.0.1:{port}"), Failed)
    assert isinstance(await ask("tcp", "nonsense"), Failed)


async def test_a_port_on_ipv6_alone_is_seen():
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        assert find_taken({"http": listener.getsockname()[1]}) is not None


async def test_a_command_goes_by_its_code_and_tells_its_last_line():
    assert await ask("command", "true") == Passed()
    assert await ask("command", "sh -c 'echo one; echo two; exit 3'") == Failed("command ended with 3: two")
    assert isinstance(await ask("command", "/no/such/command"), Failed)


async def test_a_command_out_of_time_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    found = await ask("command", f"sh -c 'sleep 1000 & echo $! $$ >{pids}; wait'", timeout_s=2)
    assert isinstance(found, Failed)
    for pid in pids.read_text().split():
        await until_true(
            lambda pid=pid: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
        )


async def test_the_counters_are_of_the_whole_tree_without_the_keeper(tmp_path):
    script = (
        "import os, time\n"
        "data = bytearray(20_000_000)\n"
        "os.fork()\n"
        "end = time.process_time() + 0.1\n"
        "while time.process_time() < end: pass\n"
        "open('busy%d' % os.getpid(), 'w').close()\n"
        "time.sleep(1000)\n"
    )
    async with running_rig(tmp_path) as rig:
        assert rig.supervisor.read_counters() == {}
        await rig.supervisor.apply(make_spec(argv=(PYTHON, "-Ic", script)))
        await rig.until_pid()
        home = tmp_path / f"instances/{ID}"
        await until_true(lambda: len(list(home.glob("busy*"))) == 2)
        found = rig.supervisor.read_counters()[ID]
        busy = {int(path.name.removeprefix("busy")) for path in home.glob("busy*")}
        assert {pid for pid, _ in found} == busy
        assert all(counters.cpu_s >= 0.09 for counters in found.values())
        assert all(counters.mem_bytes > 5_000_000 for counters in found.values())
        assert all(counters.file_descriptors >= 3 for counters in found.values())
        assert rig.latest[ID].state in {State.STARTING, State.RUNNING}
