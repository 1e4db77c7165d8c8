"""The worker's settings: one table of options and the struct it fills. `worker.yaml` at the top shows the defaults."""

from pathlib import Path

import msgspec

from ops_system.cli import Flag
from ops_system.model.kinds import BOOL, LABELS, LIST, PORT, SECRET, SIZE, TEXT, URL, Secret, duration, integer
from ops_system.runtime.config import Option, Schema
from ops_system.runtime.logs import LOG_OPTIONS, LogConfig


class ConnectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the worker reaches and joins its master."""

    master_url: str
    token: Secret
    allow_plain_http: bool
    name: str
    labels: dict[str, str]


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The status port on loopback, and the folder that holds everything of this node."""

    port: int
    work_dir: str


class LogicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The worker's pace."""

    monitor_interval_s: float


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this node lets a master do. The worker itself refuses; the master can narrow, never widen."""

    exec: bool
    terminal: bool
    takeover: bool
    run_as_root: bool
    self_update: bool
    publisher_keys: tuple[str, ...]


class PackagesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How packages are fetched and kept. `bandwidth_bytes`: a second, over all downloads; 0: no limit."""

    at_once: int
    bandwidth_bytes: int
    cache_bytes: int


class LogRotateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rotation of the services' stdout and stderr."""

    max_size_bytes: int
    max_backups: int
    max_age_s: float
    compress: bool


class WorkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a worker is told at start."""

    connect: ConnectConfig
    server: ServerConfig
    logic: LogicConfig
    policy: PolicyConfig
    packages: PackagesConfig
    log_rotate: LogRotateConfig
    log: LogConfig

    def work_dir(self) -> Path:
        """Return the folder that holds identity, desired state, packages and instances."""
        return Path(self.server.work_dir)


OPTIONS = (
    Option("connect.master_url", URL, "http://127.0.0.1:8080", "address of the master", "master"),
    Option("connect.token", SECRET, "", "join token; @FILE or - keep it out of ps", "token", is_stdin_allowed=True),
    Option("connect.allow_plain_http", BOOL, "0", "allow http:// to another host", "allow_plain_http"),
    Option("connect.name", TEXT, "", "name of this node; empty: the host name", "name"),
    Option("connect.labels", LABELS, "", "labels of this node", "labels"),
    Option("server.port", PORT, "8082", "status port on 127.0.0.1: /health and /metrics", "port"),
    Option("server.work_dir", TEXT, "./work", "folder of this node's identity, packages and instances", "work_dir"),
    Option("logic.monitor_interval", duration(0.1), "1s", "how often metrics are sampled"),
    Option("policy.exec", BOOL, "1", "allow commands from the console"),
    Option("policy.terminal", BOOL, "1", "allow terminals"),
    Option("policy.takeover", BOOL, "1", "allow taking over processes that run already"),
    Option("policy.run_as_root", BOOL, "1", "allow services to run as root"),
    Option("policy.self_update", BOOL, "1", "allow updates of the worker by the master"),
    Option("policy.publisher_keys", LIST, "", "run only packages signed by one of these publisher keys (their ids)"),
    Option("packages.at_once", integer(1, 64), "4", "so many packages are fetched at once"),
    Option("packages.bandwidth", SIZE, "0", "bytes a second that all downloads together may take; 0: no limit"),
    Option("packages.cache", SIZE, "5GB", "size of the unpacked packages that are kept, what is in use included"),
    Option("log_rotate.max_size", SIZE, "50MB", "size at which a service's log is rotated"),
    Option("log_rotate.max_backups", integer(0, 1000), "5", "old files kept"),
    Option("log_rotate.max_age", duration(), "30d", "age at which old files go; 0s: never"),
    Option("log_rotate.compress", BOOL, "1", "gzip old files"),
    *LOG_OPTIONS,
)

SCHEMA = Schema(struct=WorkerConfig, env_prefix="OPS_WORKER_", default_file="worker.yaml", options=OPTIONS)

RUN_FLAGS = (*SCHEMA.flags(), Flag("autostart", BOOL, "1 installs the boot service and exits, 0 removes it"))
"""What `worker` itself takes."""

DATA_FLAGS = SCHEMA.flags("server.work_dir", "server.port")
"""What `worker status` takes: -config -work_dir -port."""

LEAVE_FLAGS = SCHEMA.flags("server.work_dir", "server.port", "connect.master_url", "connect.allow_plain_http")
"""What `worker leave` takes beside: where the master is now, should it have moved."""
