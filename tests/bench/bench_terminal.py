"""Terminals side by side: a flood to the socket, the echo of a key, Ctrl-C under a flood; ours over two hops, peers over one.

Peers are measured where they are installed: ttyd (on PATH), and terminado for the system's Python (Debian
`python3-terminado`). Rounds alternate; medians are told. A flood is read in a process of its own.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp

from tests.bench.measure import cpu_seconds, emit, family, median, memory_mb, percentile
from tests.fakes.fleet import Fleet, free_port, until

FLOOD_BYTES = 50_000_000
ROUNDS, KEYS = 5, 400
ACK_BYTES = 32 * 1024
SLOW_BYTES_PER_S = 4_000_000
WITHIN_S = 60.0
PLAIN_SHELL = "exec env -i PATH=$PATH TERM=xterm bash --norc --noprofile\n"
TERMINADO = """
import sys, tornado.ioloop, tornado.web, terminado
terms = terminado.UniqueTermManager(shell_command=['bash', '--norc', '--noprofile'])
route = (r'/ws', terminado.TermSocket, {'term_manager': terms})
tornado.web.Application([route]).listen(int(sys.argv[1]), '127.0.0.1')
tornado.ioloop.IOLoop.current().start()
"""


class Screen:
    """A viewer in our own protocol: takes bytes, acknowledges them, types."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._unacked = 0

    async def type(self, text: str) -> None:
        """Type."""
        await self.socket.send_bytes(text.encode())

    async def read(self) -> bytes:
        """Return the next bytes shown; empty for a control message."""
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return b""
        assert message.type is aiohttp.WSMsgType.BINARY, message
        self._unacked += len(message.data)
        if self._unacked >= ACK_BYTES:
            await self.socket.send_str(json.dumps({"type": "ack", "bytes": self._unacked}))
            self._unacked = 0
        return bytes(message.data)

    async def until(self, text: bytes) -> int:
        """Read until `text` ends what was shown; return how many bytes came."""
        count, last = 0, b""
        async with asyncio.timeout(WITHIN_S):
            while text not in last:
                data = await self.read()
                count += len(data)
                last = last[-len(text) :] + data
        return count

    async def settle(self, quiet_s: float = 0.3) -> None:
        """Read until nothing comes for a while."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(quiet_s):
                    await self.read()


class TtydScreen(Screen):
    """The same in ttyd's protocol: a byte in front tells what a message is."""

    async def type(self, text: str) -> None:
        """Type."""
        await self.socket.send_bytes(b"0" + text.encode())

    async def read(self) -> bytes:
        """Return the next bytes shown."""
        message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, message
        return bytes(message.data[1:]) if message.data[:1] == b"0" else b""


class TerminadoScreen(Screen):
    """The same in terminado's protocol: JSON lists."""

    async def type(self, text: str) -> None:
        """Type."""
        await self.socket.send_str(json.dumps(["stdin", text]))

    async def read(self) -> bytes:
        """Return the next bytes shown."""
        message = await self.socket.receive()
        kind, *rest = json.loads(message.data)
        return str(rest[0]).encode() if kind == "stdout" else b""


class Site:
    """Where a terminal is to be had: `pids` are the programs that carry it."""

    def __init__(self, name: str, url: str, kind: type[Screen], pids: list[int], token: str = "") -> None:
        self.name = name
        self.url = url
        self.kind = kind
        self.pids = pids
        self.token = token

    @contextlib.asynccontextmanager
    async def look(self) -> AsyncIterator[Screen]:
        """Open a terminal with a plain shell in it, its prompt `READY>`."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        protocols = ["tty"] if self.kind is TtydScreen else []
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(self.url, max_msg_size=0, protocols=protocols) as socket,
        ):
            if self.kind is TtydScreen:
                await socket.send_bytes(json.dumps({"AuthToken": "", "columns": 80, "rows": 24}).encode())
            screen = self.kind(socket)
            await screen.settle()
            await screen.type(PLAIN_SHELL)
            await screen.settle()
            await screen.type("stty -echo -onlcr; PS1='READY''>'; clear\n")
            await screen.until(b"READY>")
            await screen.settle()
            yield screen


async def flood_mb_per_s(site: Site, file: Path) -> tuple[float, float]:
    """Return the rate of one `cat` to the socket, and what it cost the programs in CPU seconds."""
    async with site.look() as screen:
        before, started = cpu_seconds(site.pids), time.perf_counter()
        await screen.type(f"cat {file}; echo EN''D\n")
        count = await screen.until(b"END\n")
        took_s = time.perf_counter() - started
        assert count >= FLOOD_BYTES
        return count / took_s / 1e6, cpu_seconds(site.pids) - before


async def echo_ms(site: Site) -> list[float]:
    """Return the times from a key to its echo."""
    async with site.look() as screen:
        await screen.type("stty echo; cat\n")
        await screen.settle()
        found = []
        for _ in range(KEYS):
            started = time.perf_counter()
            await screen.type("a")
            while not await screen.read():
                pass
            found.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.005)
        return found


@contextlib.contextmanager
def flooding(site: Site) -> Iterator[None]:
    """Let a process of its own read a flood in another session."""
    command = [sys.executable, "-m", "tests.bench.bench_terminal", site.name, site.url, site.token]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        try:
            yield
        finally:
            reader.kill()


async def read_flood(name: str, url: str, token: str) -> None:
    """The other process: read for ever."""
    kind = {"ttyd": TtydScreen, "terminado": TerminadoScreen}.get(name, Screen)
    async with Site(name, url, kind, [], token).look() as screen:
        await screen.type("yes 0123456789\n")
        await screen.until(b"0123456789\n")
        print("floods", flush=True)
        while True:
            await screen.read()


async def interrupt_ms(site: Site) -> tuple[float, float]:
    """Return how long a flood goes on after Ctrl-C for a viewer of 4 MB/s, and the memory it cost in MB."""
    async with site.look() as screen:
        before = memory_mb(site.pids)
        await screen.type("yes 0123456789\n")
        started, count = time.perf_counter(), 0
        while count < 3 * SLOW_BYTES_PER_S:
            count += len(await screen.read())
            await asyncio.sleep(max(0.0, started + count / SLOW_BYTES_PER_S - time.perf_counter()))
        grown = memory_mb(site.pids) - before
        pressed, last = time.perf_counter(), b""
        await screen.type("\x03")
        started, count = pressed, 0
        while b"READY>" not in last:
            data = await screen.read()
            count += len(data)
            last = last[-6:] + data
            await asyncio.sleep(max(0.0, started + count / SLOW_BYTES_PER_S - time.perf_counter()))
        return (time.perf_counter() - pressed) * 1000, grown


@contextlib.contextmanager
def sites() -> Iterator[list[Site]]:
    """Start ours and every peer that is installed."""
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet, contextlib.ExitStack() as stack:
        fleet.start_master()
        node = fleet.start_worker("w1")
        url = f"{fleet.url}/api/v1/nodes/{node}/terminal?cols=80&rows=24"
        ours = Site("ours", url, Screen, [one.pid for one in fleet.programs.values()], fleet.token)
        yield [ours, *(peer for peer in (start_ttyd(stack), start_terminado(stack)) if peer)]


def start_ttyd(stack: contextlib.ExitStack) -> Site | None:
    """Start ttyd where it is installed."""
    program = shutil.which("ttyd")
    if program is None:
        print("# no ttyd here: not measured", file=sys.stderr)
        return None
    port = free_port()
    command = [program, "-W", "-i", "lo", "-p", str(port), "bash", "--norc", "--noprofile"]
    return start_peer(stack, "ttyd", command, port, TtydScreen)


def start_terminado(stack: contextlib.ExitStack) -> Site | None:
    """Start terminado where the system's Python has it."""
    python = Path("/usr/bin/python3")
    if not python.exists() or subprocess.run([python, "-c", "import terminado"], stderr=subprocess.DEVNULL).returncode:
        print("# no python3-terminado here: not measured", file=sys.stderr)
        return None
    port = free_port()
    return start_peer(stack, "terminado", [str(python), "-c", TERMINADO, str(port)], port, TerminadoScreen)


def start_peer(stack: contextlib.ExitStack, name: str, command: list[str], port: int, kind: type[Screen]) -> Site:
    """Start a peer and wait until it listens."""
    peer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(peer.wait)
    stack.callback(peer.kill)
    until(lambda: is_listening(port), f"{name} listens")
    return Site(name, f"http://127.0.0.1:{port}/ws", kind, family(peer.pid))


def is_listening(port: int) -> bool:
    """Tell whether somebody listens."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in rows)


async def measure(found: list[Site], file: Path) -> None:
    """Measure all of them, in turns."""
    rates: dict[str, list[tuple[float, float]]] = {site.name: [] for site in found}
    ends: dict[str, list[tuple[float, float]]] = {site.name: [] for site in found}
    idle: dict[str, list[float]] = {site.name: [] for site in found}
    flooded: dict[str, list[float]] = {site.name: [] for site in found}
    for _ in range(ROUNDS):
        for site in found:
            rates[site.name].append(await flood_mb_per_s(site, file))
            idle[site.name] += await echo_ms(site)
            ends[site.name].append(await interrupt_ms(site))
            with flooding(site):
                flooded[site.name] += await echo_ms(site)
    for site in found:
        tell(site.name, rates[site.name], ends[site.name])
        for what, times in (("idle", idle), ("flooded", flooded)):
            emit(f"{site.name}: key echo {what}, median", median(times[site.name]), "ms")
            emit(f"{site.name}: key echo {what}, p99", percentile(times[site.name], 0.99), "ms")


def tell(name: str, rates: list[tuple[float, float]], ends: list[tuple[float, float]]) -> None:
    """Print the medians of one site."""
    emit(f"{name}: cat of 50 MB to the socket", median([rate for rate, _ in rates]), "MB/s", best=max(rates)[0])
    emit(f"{name}: CPU for it", median([cpu for _, cpu in rates]), "s")
    emit(f"{name}: Ctrl-C until the flood ends, viewer at 4 MB/s", median([end for end, _ in ends]), "ms")
    emit(f"{name}: memory for it", max(grown for _, grown in ends), "MB")


def main() -> None:
    """Measure, or be the process that reads a flood."""
    if len(sys.argv) > 1:
        asyncio.run(read_flood(*sys.argv[1:]))
        return
    with tempfile.NamedTemporaryFile() as file, sites() as found:
        file.write(b"x" * FLOOD_BYTES)
        file.flush()
        asyncio.run(measure(found, Path(file.name)))


if __name__ == "__main__":
    main()
