"""What an attacker has: certificates of his own, a relay between two ends, and a worker that says whatever he likes."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ops_system.master.trust.authority import _issue_ca, _issue_leaf, _make_key, _parse_key, _pem
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.tasks import running
from tests.bench.sim import SimWorker
from tests.fakes.master import RunningMaster

CHUNK_BYTES = 65536


class Forger:
    """A certificate authority: one of his own, or the real one whose key was stolen from `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            self._key = _parse_key(_make_key())
            self._ca = x509.load_pem_x509_certificate(_issue_ca(self._key, datetime.now(UTC)))
        else:
            self._key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
            self._ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """Return the TLS of a server that calls itself 127.0.0.1; its files are put into `folder`."""
        key = _make_key()
        leaf = _issue_leaf(_parse_key(key), ["127.0.0.1"], datetime.now(UTC), self._key, self._ca)
        (folder / "forged.key").write_bytes(key)
        (folder / "forged.pem").write_bytes(_pem(leaf) + _pem(self._ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "forged.pem", folder / "forged.key")
        return context


@dataclass
class Relay:
    """A server that decrypts what comes, notes it, and passes it on to the real master, encrypted anew."""

    target_port: int
    seen: bytearray = field(default_factory=bytearray)
    port: int = 0
    passed_on: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def serve(self, context: ssl.SSLContext) -> AsyncIterator["Relay"]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                with contextlib.suppress(AttributeError):  # Python 3.11.2: one that has ended already
                    writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port, ssl=blind)
        self._writers += [writer, far_writer]
        self.passed_on += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, far_writer, self.seen), name="relay up")
            group.create_task(_pump(far_reader, writer, bytearray()), name="relay down")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            seen += chunk
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def join(
    master: RunningMaster, session: aiohttp.ClientSession, name: str, handlers: Handlers | None = None
) -> SimWorker:
    """Enrol a worker on the plain port, as anybody with a token could; `handlers` answer the master's questions."""
    _, _, token_id, secret = (await master.create_join_token()).split(".", 3)
    worker = SimWorker(master.url, name, handlers=handlers or Handlers())
    await worker.enrol(session, token_id, secret)
    return worker


@contextlib.asynccontextmanager
async def linked(worker: SimWorker, session: aiohttp.ClientSession) -> AsyncIterator["asyncio.Task[Any]"]:
    """Link a worker for as long as the block lasts; give the task that carries its frames."""
    link = await worker.dial(session)
    async with running(worker.carry(link), f"attacker {worker.name}") as run:
        yield run


async def say(worker: SimWorker, data: bytes, kind: WSMsgType = WSMsgType.BINARY) -> None:
    """Send bytes on a worker's link that no codec has seen."""
    assert worker.link is not None
    await worker.link._socket.send_frame(data, kind)
