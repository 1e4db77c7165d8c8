"""Opens the store that the settings name. Used by `app` and by `provision migrate`."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence

import msgspec

from ops_system.kv.base import RangeRequest, Store
from ops_system.kv.client import Client, Login, tls_context
from ops_system.kv.embedded import Embedded
from ops_system.master.config import MasterConfig, ProvisionConfig
from ops_system.model.errors import UsageError
from ops_system.runtime.clock import Clock
from ops_system.storage.folder import DataFolder

_LOOK = RangeRequest(b"/os/", count_only=True)


class Provision(msgspec.Struct, frozen=True):
    """The store of this master; `engine` is it, when it is the embedded one."""

    store: Store
    engine: Embedded | None = None

    async def check(self) -> None:
        """Return when the store answers. Raises Unavailable, StorageFull."""
        await self.store.range(_LOOK)

    def gauges(self) -> dict[str, float]:
        """Return the numbers of the embedded store; an etcd tells its own."""
        engine = self.engine
        if engine is None:
            return {}
        return {
            "ops_store_revision": float(engine.revision),
            "ops_store_bytes": float(engine.size_bytes),
            "ops_store_watches": float(engine.watchers),
        }


@contextlib.asynccontextmanager
async def open_provision(config: MasterConfig, folder: DataFolder, clock: Clock) -> AsyncIterator[Provision]:
    """Open the store. Raises UsageError for settings that cannot be, SafetyRefusal for a damaged file."""
    settings = config.provision
    if settings.store == "etcd":
        async with open_etcd(settings, settings.etcd) as client:
            yield Provision(client)
        return
    engine = await Embedded.open(folder.provision, clock)
    try:
        yield Provision(engine, engine)
    finally:
        await engine.close()


def check_settings(settings: ProvisionConfig) -> None:
    """Raise UsageError when an etcd is wanted and none is named."""
    if settings.store == "etcd" and not settings.etcd:
        raise UsageError("provision.store is etcd and provision.etcd is empty; write -etcd http://HOST:2379[,…]")
    for url in settings.etcd:
        if not url.startswith(("http://", "https://")):
            raise UsageError("provision.etcd: {url}: an address begins with http:// or https://", url=url)


def open_etcd(settings: ProvisionConfig, endpoints: Sequence[str]) -> Client:
    """Return a client of an etcd. Raises UsageError for certificates that cannot be used."""
    login = Login(user=settings.etcd_user, password=settings.etcd_password.reveal())
    return Client(endpoints, login, _tls(settings, endpoints))


def _tls(settings: ProvisionConfig, endpoints: Sequence[str]) -> ssl.SSLContext | None:
    if not any(url.startswith("https://") for url in endpoints):
        return None
    try:
        return tls_context(settings.etcd_ca_file, settings.etcd_cert_file, settings.etcd_key_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError("provision.etcd_ca_file, etcd_cert_file, etcd_key_file: {error}", error=error) from error
