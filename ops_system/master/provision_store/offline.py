"""`ops-master provision migrate`: moves the state of installations between the embedded store and an etcd."""

import asyncio
from collections.abc import Callable

from ops_system.kv.base import Store
from ops_system.kv.copying import copy_live
from ops_system.kv.embedded import Embedded
from ops_system.master.config import MasterConfig
from ops_system.master.provision_store.stores import open_etcd
from ops_system.model.errors import UsageError
from ops_system.runtime.clock import SystemClock
from ops_system.storage.lock import acquire

EMBEDDED = "embedded"


def migrate(config: MasterConfig, to: str, say: Callable[[str], None]) -> None:
    """Copy what lives to `to`: the addresses of an etcd, or `embedded`, then from `provision.etcd`.

    Raises SafetyRefusal while a master runs on this folder, UsageError, Conflict, Unavailable.
    """
    endpoints = config.provision.etcd if to == EMBEDDED else tuple(url.strip() for url in to.split(","))
    if not endpoints:
        raise UsageError(
            "provision migrate --to embedded: from where? write -etcd http://HOST:2379, or set provision.etcd"
        )
    for url in endpoints:
        if not url.startswith(("http://", "https://")):
            raise UsageError("provision migrate --to {to}: write http://HOST:PORT of an etcd, or embedded", to=to)
    folder = config.folder()
    folder.create()
    lock = acquire(folder.lock)
    try:
        asyncio.run(_migrate(config, to, endpoints, say))
    finally:
        lock.release()


async def _migrate(config: MasterConfig, to: str, endpoints: tuple[str, ...], say: Callable[[str], None]) -> None:
    engine = await Embedded.open(config.folder().provision, SystemClock())
    try:
        async with open_etcd(config.provision, endpoints) as etcd:
            source, target = _order(engine, etcd, is_back=to == EMBEDDED)
            copied = await copy_live(source, target, say)
    finally:
        await engine.close()
    say(f"{copied.keys} keys and {copied.leases} leases are there and verified; {copied.written} were written now")
    setting = "provision.store: embedded" if to == EMBEDDED else f"provision.etcd: [{', '.join(endpoints)}]"
    say(f"now set {setting} and start the master again")


def _order(engine: Store, etcd: Store, *, is_back: bool) -> tuple[Store, Store]:
    return (etcd, engine) if is_back else (engine, etcd)
