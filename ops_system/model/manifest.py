"""service.json (contract, section 2) as it is written: quantities stay strings; `quantities` reads them.

Master, worker and pack tool share these structs. An override of a module is the same document with fewer keys.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

Os = Literal["linux", "windows", "darwin", "any"]
Arch = Literal["amd64", "arm64", "any"]
ProbeType = Literal["http", "tcp", "command", "process"]
RestartPolicy = Literal["on-failure", "always", "never"]
PidStrategy = Literal["spawn", "match", "pidfile", "pid"]


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A probe. `target` is a URL, a `host:port`, or a command line, by `type`."""

    type: ProbeType = "process"
    target: str = ""
    interval: str = "10s"
    timeout: str = "3s"
    failures: int = 3
    start_timeout: str = "60s"


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an ended process comes back: delay doubles up to `max_delay`, `max_restarts` within `window`."""

    policy: RestartPolicy = "on-failure"
    delay: str = "1s"
    max_delay: str = "60s"
    max_restarts: int = 5
    window: str = "10m"
    success_codes: tuple[int, ...] = (0,)


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The polite signal and how long to wait before the whole tree is killed."""

    signal: str = "SIGTERM"
    timeout: str = "10s"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Upper bounds, and what else is set before the start; None leaves it as it is.

    `memory` is a size string, `umask` an octal number. `no_new_privs` None: set where `user` is another one.
    """

    memory: str | None = None
    cpu_percent: int | None = None
    pids: int | None = None
    nofile: int | None = None
    nice: int | None = None
    umask: str | None = None
    no_new_privs: bool | None = None


class Hooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argv lists run in the instance's directory: before a start, after a stop, and to reload while it runs."""

    pre_start: tuple[str, ...] = ()
    post_stop: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service.json. Required: name, version, and entrypoint unless `is_external`."""

    name: str
    version: str
    schema: int = 1
    description: str = ""
    os: Os = "any"
    arch: Arch = "any"
    entrypoint: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    stop_entrypoint: str = ""
    stop_args: tuple[str, ...] = ()
    log_paths: dict[str, str] = {}
    ports: dict[str, int] = {}
    health: Health = Health()
    restart: Restart = Restart()
    stop: Stop = Stop()
    limits: Limits = Limits()
    user: str = ""
    hooks: Hooks = Hooks()
    is_external: bool = False
    external_work_dir: str = ""
    pid_strategy: PidStrategy = "spawn"
    process_name: str = ""
    pid_file: str = ""


class HealthOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a module changes of the package's probe; a key left out keeps the package's value."""

    type: ProbeType | UnsetType = UNSET
    target: str | UnsetType = UNSET
    interval: str | UnsetType = UNSET
    timeout: str | UnsetType = UNSET
    failures: int | UnsetType = UNSET
    start_timeout: str | UnsetType = UNSET


class RestartOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a module changes of the package's restart policy; a key left out keeps the package's value."""

    policy: RestartPolicy | UnsetType = UNSET
    delay: str | UnsetType = UNSET
    max_delay: str | UnsetType = UNSET
    max_restarts: int | UnsetType = UNSET
    window: str | UnsetType = UNSET
    success_codes: tuple[int, ...] | UnsetType = UNSET
