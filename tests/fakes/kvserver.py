"""The store's gateway behind a bare aiohttp server, without the master in front: tokens are names of accesses."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from ops_system.kv.access import EVERYTHING, NOTHING, Access
from ops_system.kv.embedded import Embedded
from ops_system.kv.gateway import Gateway

NO_TOKENS: Mapping[str, Access] = {}


@contextlib.asynccontextmanager
async def serve_store(
    store: Embedded, tokens: Mapping[str, Access] = NO_TOKENS, progress_s: float = 60.0
) -> AsyncIterator[str]:
    """Serve `store` and give its address. Without tokens everybody may do everything."""
    gateway = Gateway(store, progress_s)

    def access_of(request: web.Request) -> Access:
        if not tokens:
            return EVERYTHING
        return tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "), NOTHING)

    async def call(request: web.Request) -> web.Response:
        status, body = await gateway.answer(request.match_info["call"], await request.read(), access_of(request))
        return web.Response(status=status, body=body, content_type="application/json")

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})

        async def send(line: bytes) -> None:
            if not response.prepared:
                await response.prepare(request)
            await response.write(line)

        await gateway.watch(request.content.iter_any(), send, access_of(request))
        return response

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/v3/watch", watch)
    app.router.add_post("/v3/{call:.+}", call)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
