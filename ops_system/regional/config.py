"""The regional client's settings: one table of options and the struct it fills."""

import base64
from pathlib import Path
from typing import Literal

import msgspec

from ops_system.cli import Flag
from ops_system.model.errors import Invalid, UsageError
from ops_system.model.kinds import BOOL, LIST, PORT, SECRET, SIZE, TEXT, Secret, choice, duration
from ops_system.model.machines import check_idc
from ops_system.runtime.config import Option, Schema
from ops_system.runtime.logs import LOG_OPTIONS, LogConfig

DhcpMode = Literal["off", "proxy", "full"]


class RegionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose machines these are, and where they reach this client. Empty `api_url`: found from the interface."""

    idc: str
    listen: str
    api_port: int
    api_url: str
    data_dir: str
    lead_ttl_s: float


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the keys are: masters (with a token) or an etcd (with user and password, where it has them)."""

    urls: tuple[str, ...]
    token: Secret
    user: str
    password: Secret
    ca_file: str
    cert_file: str
    key_file: str


class MasterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where images come from. Empty: the store's first address, when a token says that it is a master."""

    url: str


class BootConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Network boot. `pool`: FIRST-LAST, what full DHCP gives out; `relayed`: the same for networks behind relays."""

    interface: str
    dhcp: DhcpMode
    tftp: bool
    root: str
    kernel_args: str
    pool: str
    gateway: str
    dns: tuple[str, ...]
    relayed: tuple[str, ...]
    router_answers: bool


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The images kept here."""

    size_bytes: int
    publisher_keys: tuple[str, ...]


class RegionalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a regional client is told at start."""

    region: RegionConfig
    store: StoreConfig
    master: MasterConfig
    boot: BootConfig
    cache: CacheConfig
    log: LogConfig

    def data_dir(self) -> Path:
        """Return the folder of journal, picture and images."""
        return Path(self.region.data_dir or f"./regional-{self.region.idc}")

    def master_url(self) -> str:
        """Return where images come from; empty where nothing says so."""
        if self.master.url or not self.store.token:
            return self.master.url
        return self.store.urls[0] if self.store.urls else ""

    def store_token(self) -> str:
        """Return what the store is shown: nothing where another address is the master, then the store is an etcd."""
        is_etcd = bool(self.master.url) and self.master.url not in self.store.urls
        return "" if is_etcd else self.store.token.reveal()

    def check(self) -> None:
        """Raise UsageError for what cannot work together."""
        if not self.region.idc:
            raise UsageError("-idc: say which data centre this is, such as -idc dc1")
        try:
            check_idc(self.region.idc)
        except Invalid as error:
            raise UsageError("-{problem}", problem=error) from error
        if not self.store.urls:
            raise UsageError("-store: say where the keys are, such as -store https://master.example:8443 or an etcd")
        for key in self.cache.publisher_keys:
            if not _is_key(key):
                raise UsageError("cache.publisher_keys: {key!r} is no key; write its 32 bytes in base64", key=key)
        for url in self.store.urls:
            if not url.startswith(("http://", "https://")):
                raise UsageError("-store: {url!r} is no address; write http://HOST:PORT or https://HOST:PORT", url=url)
        if self.boot.dhcp != "off" and not self.boot.interface:
            raise UsageError("-dhcp: DHCP answers on one interface only; name it with -interface")
        if self.boot.dhcp == "full" and not self.boot.pool:
            raise UsageError("-dhcp full: say which addresses to give: -pool FIRST-LAST")


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32  # noqa: PLR2004 - of Ed25519
    except ValueError:
        return False


OPTIONS = (
    Option("region.idc", TEXT, "", "name of the data centre", "idc"),
    Option("region.listen", TEXT, "0.0.0.0", "address of the HTTP listener", "listen"),  # noqa: S104 - machines boot from it
    Option("region.api_port", PORT, "8081", "port of the HTTP listener", "api-port"),
    Option("region.api_url", TEXT, "", "where machines reach it; empty: found from -interface", "api-url"),
    Option("region.data_dir", TEXT, "", "folder of journal and images; empty: ./regional-IDC", "data_dir"),
    Option("region.lead_ttl", duration(1.0), "15s", "silence after which a standby takes over"),
    Option("store.urls", LIST, "http://127.0.0.1:8080", "masters, or members of an etcd", "store"),
    Option("store.token", SECRET, "", "API token of a master; @FILE or - hide it", "token", is_stdin_allowed=True),
    Option("store.user", TEXT, "", "user of an etcd with authentication", "store-user"),
    Option("store.password", SECRET, "", "password of that user; @FILE keeps it out of ps", "store-password"),
    Option("store.ca_file", TEXT, "", "PEM file of the authority to trust for https", "ca-file"),
    Option("store.cert_file", TEXT, "", "PEM file of the certificate to show to an etcd", "cert-file"),
    Option("store.key_file", TEXT, "", "PEM file of its key", "key-file"),
    Option("master.url", TEXT, "", "where images come from beside an etcd; empty: the store, a master", "master"),
    Option("boot.interface", TEXT, "", "network card of the machines", "interface"),
    Option("boot.dhcp", choice("off", "proxy", "full"), "off", "answer DHCP: beside another server, or alone", "dhcp"),
    Option("boot.tftp", BOOL, "0", "on: serve boot loaders by TFTP", "tftp"),
    Option("boot.root", TEXT, "./build/boot", "folder of kernel, agent and boot loaders", "boot-root"),
    Option("boot.kernel_args", TEXT, "console=tty0 console=ttyS0,115200", "further words for the agent's kernel"),
    Option("boot.pool", TEXT, "", "addresses of full DHCP: FIRST-LAST", "pool"),
    Option("boot.gateway", TEXT, "", "router of full DHCP", "gateway"),
    Option("boot.dns", LIST, "", "resolvers of full DHCP", "dns"),
    Option("boot.relayed", LIST, "", "networks behind relays: NETWORK/BITS:FIRST-LAST[:GATEWAY]", "relayed"),
    Option("boot.router_answers", BOOL, "1", "answer IPv6 router solicitations, so that iPXE need not wait"),
    Option("cache.size", SIZE, "50GB", "how much of the disk images may take"),
    Option("cache.publisher_keys", LIST, "", "use only images that one of these keys (base64) signed"),
    *LOG_OPTIONS,
)

SCHEMA = Schema(struct=RegionalConfig, env_prefix="OPS_REGIONAL_", default_file="regional.yaml", options=OPTIONS)

RUN_FLAGS: tuple[Flag, ...] = SCHEMA.flags()
"""What `regional-client` takes."""
