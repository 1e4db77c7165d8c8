"""Terminals side by side: a flood to the socket, the echo of a key, Ctrl-C under a flood; ours over two hops, peers over one.

terminado comes from PyPI into an environment of its own; ttyd is measured where it is installed (Debian 12 has none).
Rounds alternate; medians are told. A flood is read in a process of its own. Two floors are told beside: a key's echo by
the kernel's terminal alone, and one bare WebSocket hop. No round begins after `BUDGET_S`, no step takes more than
`STEP_S`: what has not ended then is told as such, so that a peer that drowns cannot keep the results back.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp

from ops_system.processes.pty_posix import PosixPty
from tests.bench.bench_start200 import cache_dir
from tests.bench.measure import cpu_seconds, emit, family, median, memory_mb, percentile
from tests.fakes.fleet import Fleet, free_port, until

FLOOD_BYTES = 50_000_000
ROUNDS, KEYS, END_KEYS = 3, 300, 200
BUDGET_S, STEP_S, INTERRUPT_S, INSTALL_S = 200.0, 30.0, 5.0, 120.0
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
HOP = """
import asyncio, sys
from aiohttp import web

async def echo(request):
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket

app = web.Application()
app.router.add_get('/ws', echo)
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]), print=None)
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
    """Return how long a flood goes on after Ctrl-C for a viewer of 4 MB/s, and the memory it cost in MB.

    The time is `INTERRUPT_S` where it had not ended by then.
    """
    async with site.look() as screen:
        before = memory_mb(site.pids)
        await screen.type("yes 0123456789\n")
        await read_slowly(screen, lambda count, _last: count >= 3 * SLOW_BYTES_PER_S)
        grown = memory_mb(site.pids) - before
        pressed = time.perf_counter()
        await screen.type("\x03")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INTERRUPT_S):
                await read_slowly(screen, lambda _count, last: b"READY>" in last)
        return (time.perf_counter() - pressed) * 1000, grown


async def read_slowly(screen: Screen, is_enough: Callable[[int, bytes], bool]) -> None:
    """Read at 4 MB/s until `is_enough` of the bytes so far and the last of them."""
    started, count, last = time.perf_counter(), 0, b""
    while not is_enough(count, last):
        data = await screen.read()
        count += len(data)
        last = last[-6:] + data
        await asyncio.sleep(max(0.0, started + count / SLOW_BYTES_PER_S - time.perf_counter()))


async def pty_echo_ms() -> list[float]:
    """Return the times from a key to its echo in a terminal of this very process."""
    said = asyncio.Event()
    pty = PosixPty(["/bin/cat"], {"PATH": os.environ["PATH"]}, "/", (80, 24), lambda _data: said.set())
    pty.resume()
    try:
        return [await timed(said, pty.write) for _ in range(END_KEYS)]
    finally:
        await pty.close()


async def timed(said: asyncio.Event, write: Callable[[bytes], bool]) -> float:
    """Return the milliseconds from a key to what is said to it."""
    said.clear()
    started = time.perf_counter()
    write(b"a")
    await said.wait()
    took_ms = (time.perf_counter() - started) * 1000
    await asyncio.sleep(0.005)
    return took_ms


async def hop_ms(port: int) -> list[float]:
    """Return the times of a byte to a bare WebSocket server and back."""
    found = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/ws") as socket:
        for _ in range(END_KEYS):
            started = time.perf_counter()
            await socket.send_bytes(b"a")
            await socket.receive()
            found.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.005)
    return found


def tell_floors() -> None:
    """Print what the kernel's terminal and one WebSocket hop take by themselves: ours is one and two of them."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", HOP, str(port)]) as server:
        try:
            until(lambda: is_listening(port), "the bare server listens")
            for what, times in (
                ("key echo of the terminal alone", asyncio.run(pty_echo_ms())),
                ("one bare WebSocket hop and back", asyncio.run(hop_ms(port))),
            ):
                emit(f"floor: {what}, median", median(times), "ms", p10=round(percentile(times, 0.1), 2))
        finally:
            server.kill()


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
    """Start terminado in an environment of its own, which is kept for the next run."""
    home = cache_dir() / "terminado"
    python = home / "bin" / "python"
    try:
        if not (home / "ready").exists():
            venv.create(home, with_pip=True)
            argv = [python, "-m", "pip", "install", "-q", "terminado==0.18.1"]
            subprocess.run(argv, check=True, timeout=INSTALL_S)
            (home / "ready").touch()
    except (subprocess.SubprocessError, OSError) as problem:
        print(f"# no terminado here ({problem}): not measured", file=sys.stderr)
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


class Results:
    """What was measured, by site and kind; a step that takes too long is told and left out."""

    def __init__(self) -> None:
        self.rates: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.ends: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.idle: dict[str, list[float]] = defaultdict(list)
        self.flooded: dict[str, list[float]] = defaultdict(list)

    async def round(self, site: Site, file: Path) -> None:
        """Measure one site once."""
        await self._step(site, "flood", lambda: _append(self.rates[site.name], flood_mb_per_s(site, file)))
        await self._step(site, "key echo", lambda: _extend(self.idle[site.name], echo_ms(site)))
        await self._step(site, "Ctrl-C", lambda: _append(self.ends[site.name], interrupt_ms(site)))
        with flooding(site):
            await self._step(site, "key echo while flooded", lambda: _extend(self.flooded[site.name], echo_ms(site)))

    async def _step(self, site: Site, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(STEP_S):
                await step()
        except TimeoutError:
            print(f"# {site.name}: {what} did not end within {STEP_S:.0f} s: left out", file=sys.stderr)

    def tell(self, name: str) -> None:
        """Print the medians of one site."""
        if rates := self.rates[name]:
            rate = median([rate for rate, _ in rates])
            emit(f"{name}: cat of 50 MB to the socket", rate, "MB/s", best=round(max(rates)[0], 1))
            emit(f"{name}: CPU for it", median([cpu for _, cpu in rates]), "s")
        for what, times in (("idle", self.idle[name]), ("flooded", self.flooded[name])):
            if times:
                emit(f"{name}: key echo {what}, median", median(times), "ms", p10=round(percentile(times, 0.1), 2))
                emit(f"{name}: key echo {what}, p99", percentile(times, 0.99), "ms")
        if ends := self.ends[name]:
            took_ms = median([end for end, _ in ends])
            is_cut = took_ms >= INTERRUPT_S * 1000
            emit(f"{name}: Ctrl-C until the flood ends, viewer at 4 MB/s", took_ms, "ms", at_least=is_cut)
            emit(f"{name}: memory for it", max(grown for _, grown in ends), "MB")


async def _append(into: list[tuple[float, float]], found: Awaitable[tuple[float, float]]) -> None:
    into.append(await found)


async def _extend(into: list[float], found: Awaitable[list[float]]) -> None:
    into += await found


async def measure(found: list[Site], file: Path) -> None:
    """Measure all of them, in turns, and say how they compare."""
    results, started = Results(), time.monotonic()
    for number in range(ROUNDS):
        if time.monotonic() - started > BUDGET_S:
            print(f"# {number} of {ROUNDS} rounds within {BUDGET_S:.0f} s", file=sys.stderr)
            break
        for site in found:
            await results.round(site, file)
    for site in found:
        results.tell(site.name)
    for peer in found[1:]:
        compare(results, peer.name)


def compare(results: Results, peer: str) -> None:
    """Print our ratios to one peer."""
    for what, kind in (("idle", results.idle), ("flooded", results.flooded)):
        if kind["ours"] and kind[peer]:
            emit(f"key echo {what}, ours to {peer}", median(kind["ours"]) / median(kind[peer]), "ratio")
    ours, theirs = ([rate for rate, _ in results.rates[name]] for name in ("ours", peer))
    if ours and theirs:
        emit(f"cat of 50 MB, ours to {peer}", median(ours) / median(theirs), "ratio")


def main() -> None:
    """Measure, or be the process that reads a flood."""
    if len(sys.argv) > 1:
        asyncio.run(read_flood(*sys.argv[1:]))
        return
    tell_floors()
    with tempfile.NamedTemporaryFile() as file, sites() as found:
        file.write(b"x" * FLOOD_BYTES)
        file.flush()
        asyncio.run(measure(found, Path(file.name)))


if __name__ == "__main__":
    main()
