"""A small reverse proxy as people put in front of a master: it adds `X-Forwarded-For` and carries WebSockets.

Its clients all come from loopback; `client_ip` is the address it says it saw.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

_HOP_HEADERS = {"connection", "upgrade", "keep-alive", "transfer-encoding", "content-length", "te"}


class ReverseProxy:
    """Serve it by `run_proxy`; `url` is where browsers go."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self.client_ip = "198.51.100.1"
        self.scheme = "https"
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward one request."""
        seen = request.headers.getall("X-Forwarded-For", [])
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        headers |= {"X-Forwarded-For": ", ".join([*seen, self.client_ip]), "X-Forwarded-Proto": self.scheme}
        url = self._upstream + request.raw_path
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._carry(request, url, headers)
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS]
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _carry(self, request: web.Request, url: str, headers: dict[str, str]) -> web.StreamResponse:
        own = {name: value for name, value in headers.items() if not name.lower().startswith("sec-websocket")}
        near = web.WebSocketResponse()
        async with self._session.ws_connect(url, headers=own) as far:
            await near.prepare(request)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(near, far))
                group.create_task(_pump(far, near))
        return near


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        await sink.send_str(message.data)
    await sink.close()


@contextlib.asynccontextmanager
async def run_proxy(upstream: str) -> AsyncIterator[ReverseProxy]:
    """Serve a proxy for `upstream` on a free port of the loopback."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session:
        proxy = ReverseProxy(upstream, session)
        runner = web.ServerRunner(web.Server(proxy.handle), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        proxy.url = f"http://{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
