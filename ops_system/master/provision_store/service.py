"""Who reaches which keys of the embedded store over HTTP, and whose streams end when a token is revoked."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any

from ops_system.kv.access import EVERYTHING, NOTHING, Access, access_of_idc
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import HTTP_STATUS, PERMISSION_DENIED
from ops_system.kv.gateway import Gateway, Send
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, NotAllowed, OpsError, StorageFull, Unavailable

_log = logging.getLogger(__name__)

DeniedHook = Callable[[Principal, str, str, OpsError], Awaitable[None]]
"""Principal, action, target, error."""


class StoreDoor:
    """The gateway for API tokens. `engine` None: this master keeps installations in an etcd."""

    def __init__(self, engine: Embedded | None, on_denied: DeniedHook) -> None:
        self._gateway = Gateway(engine) if engine is not None else None
        self._on_denied = on_denied
        self._streams: dict[asyncio.Task[Any], str] = {}

    async def answer(self, call: str, raw: bytes, principal: Principal) -> tuple[int, bytes]:
        """Answer one call: HTTP status and JSON; a denied one is audited. Raises NotAllowed without embedded store."""
        status, body = await self._open().answer(call, raw, access_of(principal))
        if status == HTTP_STATUS[PERMISSION_DENIED]:
            await self._tell_denied(principal, call)
        return status, body

    async def watch(self, incoming: AsyncIterator[bytes], send: Send, principal: Principal) -> None:
        """Serve a stream of watches until the peer goes or its token is revoked; a denied one is audited."""
        gateway, task = self._open(), asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served by a task")
        self._streams[task] = principal.id
        try:
            await gateway.watch(incoming, send, access_of(principal), partial(self._tell_denied, principal, "watch"))
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

    async def _tell_denied(self, principal: Principal, call: str) -> None:
        try:
            await self._on_denied(principal, f"store_{call}", f"/v3/{call}", Forbidden("keys of others"))
        except (StorageFull, Unavailable) as trouble:  # the answer stays "no", whatever the disk says
            _log.warning("/v3/%s by %s was denied and could not be audited: %s", call, principal.name, trouble.message)

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
