"""The embedded store behind its gateway for regional clients; it can go away and come back on the same port."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from ops_system.kv.access import EVERYTHING
from ops_system.kv.embedded import Embedded
from ops_system.kv.gateway import Gateway
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running

LOOPBACK = "127.0.0.1"


class ServedStore:
    """One store at one address. `go_away` cuts every connection; the store itself and its leases go on."""

    def __init__(self, engine: Embedded) -> None:
        self.engine = engine
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.before: Callable[[str], None] = lambda _call: None  # told of each call; may raise

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://{LOOPBACK}:{self._port}"

    async def come(self) -> None:
        """Serve, on the port of the last time."""
        gateway = Gateway(self.engine, 60.0)

        async def call(request: web.Request) -> web.Response:
            self.before(request.match_info["call"])
            status, body = await gateway.answer(request.match_info["call"], await request.read(), EVERYTHING)
            return web.Response(status=status, body=body, content_type="application/json")

        async def watch(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})

            async def send(line: bytes) -> None:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(line)

            await gateway.watch(request.content.iter_any(), send, EVERYTHING)
            return response

        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/v3/watch", watch)
        app.router.add_post("/v3/{call:.+}", call)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port, reuse_address=True).start()
        self._port = int(self._runner.addresses[0][1])

    async def go_away(self) -> None:
        """Stop answering."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@contextlib.asynccontextmanager
async def run_store(path: Path) -> AsyncIterator[ServedStore]:
    """Run a store and serve it."""
    engine = await Embedded.open(path, SystemClock())
    async with running(engine.run(), "store"):
        store = ServedStore(engine)
        await store.come()
        try:
            yield store
        finally:
            await store.go_away()
    await engine.close()
