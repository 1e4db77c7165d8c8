"""The master's settings: one table of options and the struct it fills. `config.yaml` at the top shows the defaults."""

from pathlib import Path
from typing import Literal

import msgspec

from ops_system.cli import Flag
from ops_system.model.kinds import (
    BOOL,
    LIST,
    NETWORKS,
    PORT,
    SECRET,
    SIZE,
    TEXT,
    URL,
    Secret,
    choice,
    duration,
    integer,
)
from ops_system.runtime.config import Option, Schema
from ops_system.runtime.logs import LOG_OPTIONS, LogConfig
from ops_system.storage.folder import DataFolder


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the master listens and keeps its data."""

    port: int
    listen: str
    tls_port: int
    tls_cert: str
    tls_key: str
    public_url: str
    trusted_proxies: tuple[str, ...]
    data_dir: str
    db_path: str


class MinioConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an S3 server is reached when `storage.type` is `minio`."""

    endpoint: str
    ak: str
    sk: Secret
    bucket: str
    region: str
    use_ssl: bool


class StorageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where packages are kept."""

    type: Literal["local", "minio"]
    upload_dir: str
    require_publisher: bool
    downloads: Literal["master", "direct"]
    minio: MinioConfig


class LogicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pace of the control plane."""

    heartbeat_interval_s: float
    monitor_interval_s: float
    node_offline_threshold_s: float
    batch_concurrency: int
    metrics_memory_bytes: int
    metrics_disk_bytes: int


class ProvisionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the state of bare-metal installations lives."""

    store: Literal["embedded", "etcd"]
    etcd: tuple[str, ...]
    etcd_user: str
    etcd_password: Secret
    etcd_ca_file: str
    etcd_cert_file: str
    etcd_key_file: str
    shared_key: Secret


class OutboundConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the master may call on behalf of people: channels and the like."""

    allow: tuple[str, ...]
    ca_file: str


class BackupConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where backups may lie."""

    folder: str
    bucket: str


class MasterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a master is told at start."""

    server: ServerConfig
    storage: StorageConfig
    logic: LogicConfig
    provision: ProvisionConfig
    outbound: OutboundConfig
    backup: BackupConfig
    log: LogConfig

    def data_dir(self) -> Path:
        """Return the data folder."""
        return Path(self.server.data_dir)

    def database_file(self) -> Path:
        """Return `db_path`, or `ops.db` in the data folder."""
        return Path(self.server.db_path) if self.server.db_path else self.data_dir() / "ops.db"

    def folder(self) -> DataFolder:
        """Return the names of everything that is kept."""
        return DataFolder(self.data_dir().absolute(), self.database_file().absolute(), self.upload_dir().absolute())

    def backup_dir(self) -> Path:
        """Return `backup.folder`, or its place in the data folder."""
        return Path(self.backup.folder).absolute() if self.backup.folder else self.folder().archives

    def upload_dir(self) -> Path:
        """Return `upload_dir`, or `uploads` in the data folder."""
        return Path(self.storage.upload_dir) if self.storage.upload_dir else self.data_dir() / "uploads"


OPTIONS = (
    Option("server.port", PORT, "8080", "port of the plain listener on 127.0.0.1", "port"),
    Option("server.listen", TEXT, "0.0.0.0", "address of the TLS listener", "listen"),  # noqa: S104 - contract; opens only once an administrator exists
    Option("server.tls_port", PORT, "8443", "port of the TLS listener", "tls_port"),
    Option("server.tls_cert", TEXT, "", "an own certificate for the TLS listener (PEM); empty: issued by the master"),
    Option("server.tls_key", TEXT, "", "the private key of server.tls_cert (PEM)"),
    Option("server.public_url", URL, "", "the address people and workers use, when a proxy stands in front"),
    Option("server.trusted_proxies", NETWORKS, "", "proxies whose X-Forwarded-For and -Proto are believed"),
    Option("server.data_dir", TEXT, "./data", "the data folder, made 0700", "data_dir"),
    Option("server.db_path", TEXT, "", "the database file; empty: ops.db in the data folder", "db_path"),
    Option("storage.type", choice("local", "minio"), "local", "where packages are kept", "store_type"),
    Option("storage.upload_dir", TEXT, "", "folder of local packages; empty: in the data folder", "upload_dir"),
    Option("storage.require_publisher", BOOL, "0", "take only packages signed by a trusted publisher"),
    Option(
        "storage.downloads",
        choice("master", "direct"),
        "master",
        "direct: workers and browsers fetch from the S3 server by URLs that are good for minutes",
    ),
    Option("storage.minio.endpoint", TEXT, "", "HOST:PORT of the S3 server", "minio_endpoint"),
    Option("storage.minio.ak", TEXT, "", "access key", "minio_ak"),
    Option("storage.minio.sk", SECRET, "", "secret key, better as @FILE", "minio_sk"),
    Option("storage.minio.bucket", TEXT, "ops-system", "bucket", "minio_bucket"),
    Option("storage.minio.region", TEXT, "us-east-1", "region of the bucket"),
    Option("storage.minio.use_ssl", BOOL, "0", "reach the S3 server by https", "minio_use_ssl"),
    Option("logic.heartbeat_interval", duration(0.1), "5s", "how often a worker says that it is alive"),
    Option("logic.monitor_interval", duration(0.1), "1s", "how often a worker samples its metrics"),
    Option("logic.node_offline_threshold", duration(1), "25s", "silence after which a node is offline"),
    Option("logic.batch_concurrency", integer(1, 10_000), "50", "targets of one operation worked on at once"),
    Option("logic.metrics_memory", SIZE, "512MB", "memory for metric history"),
    Option("logic.metrics_disk", SIZE, "4GB", "disk for metric history in the data folder"),
    Option("provision.store", choice("embedded", "etcd"), "embedded", "where installations are kept"),
    Option("provision.etcd", LIST, "", "addresses of the etcd cluster; sets provision.store to etcd", "etcd"),
    Option("provision.etcd_user", TEXT, "", "user of etcd, when it asks for one"),
    Option("provision.etcd_password", SECRET, "", "its password, better as @FILE"),
    Option("provision.etcd_ca_file", TEXT, "", "authority (PEM) of etcd's certificate; empty: the system's"),
    Option("provision.etcd_cert_file", TEXT, "", "certificate (PEM) to show to etcd, when it asks for one"),
    Option("provision.etcd_key_file", TEXT, "", "the private key of provision.etcd_cert_file (PEM)"),
    Option(
        "provision.shared_key",
        SECRET,
        "",
        "32 bytes in base64, the same for all masters on one etcd; empty: this master's own key",
    ),
    Option(
        "outbound.allow",
        LIST,
        "",
        "hosts, addresses and networks that may be called although they are this machine or its link",
    ),
    Option(
        "outbound.ca_file", TEXT, "", "certificate authorities (PEM) trusted for outbound calls beside the system's"
    ),
    Option("backup.folder", TEXT, "", "folder of backups on this machine; empty: backups/archives in the data folder"),
    Option("backup.bucket", TEXT, "ops-system-backups", "bucket of backups on the S3 server of storage.minio"),
    *LOG_OPTIONS,
)

SCHEMA = Schema(
    struct=MasterConfig,
    env_prefix="OPS_MASTER_",
    default_file="config.yaml",
    options=OPTIONS,
    implies=(("provision.etcd", "provision.store", "etcd"),),
)

DATA_FLAGS = SCHEMA.flags("server.data_dir", "server.db_path")
"""What every subcommand that works on the data folder takes: -config -data_dir -db_path."""

STORE_FLAGS = SCHEMA.flags(
    "storage.type",
    "storage.upload_dir",
    *(f"storage.minio.{key}" for key in ("endpoint", "ak", "sk", "bucket", "region", "use_ssl")),
)
"""What names the stores of packages."""

RUN_FLAGS = (
    *SCHEMA.flags(),
    Flag("open_browser", BOOL, "open the console in a browser; not given: only on a desktop"),
    Flag("autostart", BOOL, "1 installs the boot service and exits, 0 removes it"),
)
"""What `master` itself takes."""
