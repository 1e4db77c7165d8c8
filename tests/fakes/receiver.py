"""An HTTP server that somebody else runs: it says what a test tells it to say, and remembers what it was sent."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Say = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One request."""

    path: str  # with the query
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and what is answered next."""

    port: int = 0
    say: Say | None = None
    got: list[Received] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self.news:
            self.got.append(Received(request.path_qs, dict(request.headers), body))
            self.news.notify_all()
        return await self.say(request) if self.say else web.Response(text="ok")

    async def wait_for(self, count: int, within_s: float = 10.0) -> list[Received]:
        """Return what came once there are so many requests."""
        async with asyncio.timeout(within_s), self.news:
            await self.news.wait_for(lambda: len(self.got) >= count)
        return self.got


@contextlib.asynccontextmanager
async def receiver(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port."""
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


class Names:
    """A name server of the test's: each lookup takes the next answer, the last one for ever."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        self.asked += 1
        address = self._answers[min(self.asked, len(self._answers)) - 1]
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 6, "flags": 0}
            for one in address.split()
        ]

    async def close(self) -> None:
        pass
