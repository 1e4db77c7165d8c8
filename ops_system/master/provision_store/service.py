"""Who reaches which keys of the embedded store over HTTP, and whose streams end when a token is revoked."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

from ops_system.kv.access import EVERYTHING, NOTHING, Access, access_of_idc
from ops_system.kv.embedded import Embedded
from ops_system.kv.gateway import Gateway, Send
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import NotAllowed


class StoreDoor:
    """The gateway for API tokens. `engine` None: this master keeps installations in an etcd."""

    def __init__(self, engine: Embedded | None) -> None:
        self._gateway = Gateway(engine) if engine is not None else None
        self._streams: dict[asyncio.Task[Any], str] = {}

    async def answer(self, call: str, raw: bytes, principal: Principal) -> tuple[int, bytes]:
        """Answer one call: HTTP status and JSON. Raises NotAllowed where there is no embedded store."""
        return await self._open().answer(call, raw, access_of(principal))

    async def watch(self, incoming: AsyncIterator[bytes], send: Send, principal: Principal) -> None:
        """Serve a stream of watches until the peer goes or its token is revoked."""
        gateway, task = self._open(), asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        self._streams[task] = principal.id
        try:
            await gateway.watch(incoming, send, access_of(principal))
        finally:
            del self._streams[task]

    def check_here(self) -> None:
        """Raise NotAllowed where there is no embedded store."""
        self._open()

    def revoke(self, credential_ids: Collection[str]) -> None:
        """End the streams of tokens that are void now (trust S7)."""
        for task, token_id in self._streams.items():
            if token_id in credential_ids:
                task.cancel()

    def _open(self) -> Gateway:
        if self._gateway is None:
            raise NotAllowed("this master keeps installations in an etcd (provision.etcd): ask that one directly")
        return self._gateway


def access_of(principal: Principal) -> Access:
    """Return what a caller reaches: an administrator's token all, a regional token its data centre, others nothing."""
    if principal.kind != "token" or principal.scope:
        return NOTHING
    if Permission.ADMIN in principal.permissions:
        return EVERYTHING
    return access_of_idc(principal.idc) if principal.idc else NOTHING
