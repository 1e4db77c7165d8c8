"""Says where this client is, and that it is there, for as long as it runs: active or standing by. Built by `app`.

`/os/region/{idc}/clients/{client_id}` is bound to a lease of its own. The client that serves tells agents all of them,
so that they find whoever leads after a take-over.
"""

import asyncio
import logging

import msgspec

from ops_system.kv.base import PutRequest, Store
from ops_system.kv.errors import LeaseNotFound
from ops_system.model.errors import OpsError
from ops_system.provision.regions import RegionClient, client_key

_log = logging.getLogger(__name__)

PRESENCE_TTL_S = 60
SAID_EVERY_S, AGAIN_S = 15.0, 3.0


class Presence:
    """One key of the store, kept there."""

    def __init__(self, store: Store, idc: str, client: RegionClient) -> None:
        self._store, self._key, self._value = store, client_key(idc, client.client_id), msgspec.json.encode(client)
        self._lease_id = 0

    async def run(self) -> None:
        """Keep it there for ever; a store that is away is asked again."""
        while True:
            try:
                await self._say()
            except (OpsError, TimeoutError) as error:
                _log.info("where this client is could not be said: %s", error)
                await asyncio.sleep(AGAIN_S)
            else:
                await asyncio.sleep(SAID_EVERY_S)

    async def leave(self) -> None:
        """Take it away."""
        try:
            if self._lease_id:
                await self._store.revoke(self._lease_id)
        except OpsError as error:
            _log.info("the address of this client goes with its lease: %s", error.message)

    async def _say(self) -> None:
        if self._lease_id and await self._store.keepalive(self._lease_id) > 0:
            return
        self._lease_id = (await self._store.grant(PRESENCE_TTL_S)).id
        try:
            await self._store.put(PutRequest(self._key, self._value, self._lease_id))
        except LeaseNotFound:
            self._lease_id = 0  # the next turn makes another
