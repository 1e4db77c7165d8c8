"""WebSockets of the master: the same identity and the same trust as its HTTP."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from ops_system.client.connection import Master, Query, spell
from ops_system.client.shapes import Refused
from ops_system.client.trust import tls_context
from ops_system.model.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

_MAX_MESSAGE_BYTES = 4 << 20
_HANDSHAKE_WITHIN_S = 30.0


@contextlib.asynccontextmanager
async def open_socket(
    master: Master, path: str, query: Query | None = None
) -> "AsyncIterator[aiohttp.ClientWebSocketResponse]":
    """Open a WebSocket below /api/v1. Raises Refused, Unavailable; a broken one ends the reader's loop."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_HANDSHAKE_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(master.identity())) as session:
        try:
            socket = await _connect(session, master, path, query)
        except Refused as refused:
            if refused.answer_code != "step_up_required" or not master.prove():
                raise
            socket = await _connect(session, master, path, query)
        async with socket:
            yield socket


def _headers(identity: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in identity.items() if key != "X-CSRF-Token"}


async def _connect(
    session: "aiohttp.ClientSession", master: Master, path: str, query: Query | None
) -> "aiohttp.ClientWebSocketResponse":
    import aiohttp

    url = master.context.url + spell(path, query)
    ssl = tls_context(master.context.ca_pem) if url.startswith("https:") else True
    try:
        return await session.ws_connect(url, ssl=ssl, max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=20.0)
    except aiohttp.WSServerHandshakeError as error:  # its body does not reach us
        refused = master.why_refused(path, query)
        raise refused or Unavailable(f"{master.context.url} answers {error.status}; try again") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        problem = str(error) or type(error).__name__
        raise Unavailable(f"{master.context.url} does not answer ({problem})") from error
