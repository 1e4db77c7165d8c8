"""What is to run, with every placeholder expanded and every quantity in seconds or bytes, and where it was prepared.

The worker resolves an `InstanceSpec` once and hands the `RunSpec` to the supervisor; nothing below reads strings again.
"""

import errno
import posixpath
import shlex
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId
from ops_system.model.instances import Desired, InstanceSpec, PrepareProgress
from ops_system.model.manifest import Health, Limits, ProbeType, Restart, RestartPolicy
from ops_system.model.placeholders import expand
from ops_system.model.quantities import parse_duration_s, parse_size_bytes
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Takeover


class ProbeRules(msgspec.Struct, frozen=True):
    """When a started process counts as proven, and when a running one as ill."""

    type: ProbeType = "process"
    target: str = ""
    interval_s: float = 10.0
    timeout_s: float = 3.0
    failures: int = 3
    start_timeout_s: float = 60.0


class RestartRules(msgspec.Struct, frozen=True):
    """When an ended process comes back."""

    policy: RestartPolicy = "on-failure"
    delay_s: float = 1.0
    max_delay_s: float = 60.0
    max_restarts: int = 5
    window_s: float = 600.0
    success_codes: tuple[int, ...] = (0,)


class StopRules(msgspec.Struct, frozen=True):
    """The polite signal's name and the grace before the tree is killed."""

    signal: str = "SIGTERM"
    timeout_s: float = 10.0


class LimitRules(msgspec.Struct, frozen=True):
    """Upper bounds, and what else is set before the start; None leaves it. See `model.manifest.Limits`."""

    memory_bytes: int | None = None
    cpu_percent: int | None = None
    pids: int | None = None
    nofile: int | None = None
    nice: int | None = None
    umask: int | None = None
    no_new_privs: bool | None = None


class RunSpec(msgspec.Struct, frozen=True):
    """One instance's wish, ready to be carried out. `source` is the wish as the master sent it."""

    source: InstanceSpec
    entrypoint: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    stop_entrypoint: str = ""
    stop_args: tuple[str, ...] = ()
    ports: dict[str, int] = {}
    probe: ProbeRules = ProbeRules()
    restart: RestartRules = RestartRules()
    stop: StopRules = StopRules()
    limits: LimitRules = LimitRules()
    user: str = ""
    pre_start: tuple[str, ...] = ()
    post_stop: tuple[str, ...] = ()
    takeover: Takeover | None = None  # others start it, or a command that does not stay

    def __repr__(self) -> str:  # env, and args made of it, may be secret
        return f"RunSpec({self.source!r})"

    @property
    def instance_id(self) -> InstanceId:
        """The instance's id."""
        return self.source.instance_id

    @property
    def generation(self) -> int:
        """The wish's generation."""
        return self.source.generation

    @property
    def is_watched_only(self) -> bool:
        """Others start it, and we cannot: it is shown, and never stopped for being ill."""
        return self.takeover is not None and self.takeover.is_watched_only

    @property
    def desired(self) -> Desired:
        """The wish itself."""
        return self.source.desired


class PreparedInstance(msgspec.Struct, frozen=True):
    """Where an instance's files are. `argv[0]` and `stop_argv[0]` are absolute; `log_dir` exists and is writable."""

    dir: str
    argv: tuple[str, ...]
    env: dict[str, str]
    log_dir: str
    stop_argv: tuple[str, ...] = ()
    version: str = ""

    def __repr__(self) -> str:  # env and argv may be secret
        return f"PreparedInstance({self.dir})"


class PrepareFailed(Exception):
    """Preparation did not succeed; `retry` when another try may (the master is away), else the instance is `failed`."""

    def __init__(self, reason: Reason, *, retry: bool = False) -> None:
        super().__init__(reason.message)
        self.reason = reason
        self.retry = retry


_PASSING = frozenset(
    getattr(errno, name)
    for name in ("EAGAIN", "EBUSY", "EDQUOT", "EIO", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSPC", "ESTALE")
    if hasattr(errno, name)  # Windows has not all of them
)


def may_pass(problem: Exception) -> bool:
    """Whether another try may succeed by itself: a full or failing disk, too many open files, no memory."""
    return isinstance(problem, OSError) and problem.errno in _PASSING


Progress = Callable[[PrepareProgress], None]


class Preparer(Protocol):
    """Puts an instance's files in place; the worker implements it."""

    async def prepare(self, spec: RunSpec, progress: Progress) -> PreparedInstance:
        """Make everything ready for a start. Idempotent; cheap when nothing changed. Raises PrepareFailed."""
        ...

    async def remove(self, spec: RunSpec) -> None:
        """Remove the instance's files. Idempotent. Raises OSError."""
        ...


def resolve(spec: InstanceSpec, values: Mapping[str, str]) -> RunSpec:
    """Expand placeholders and read quantities. `values` are the node's and the instance's; `env.KEY` is added here.

    Raises Invalid with every fault in `details["problems"]` as `path: text`.
    """
    reader = _Reader()
    service = spec.service
    env = {key: reader.expand(f"env.{key}", text, values) for key, text in service.env.items()}
    known = {**{f"env.{key}": text for key, text in env.items()}, **values}
    run = RunSpec(
        source=spec,
        entrypoint=service.entrypoint,
        args=reader.expand_all("args", service.args, known),
        env=env,
        stop_entrypoint=service.stop_entrypoint,
        stop_args=reader.expand_all("stop_args", service.stop_args, known),
        ports=service.ports,
        probe=reader.probe(service.health, known),
        restart=reader.restart(service.restart),
        stop=StopRules(service.stop.signal, reader.duration_s("stop.timeout", service.stop.timeout)),
        limits=reader.limits(service.limits),
        user=service.user,
        pre_start=service.hooks.pre_start,
        post_stop=service.hooks.post_stop,
        takeover=spec.takeover,
    )
    reader.raise_if_any(spec.name)
    return _with_takeover(run, values.get("instance.dir", ""))


def _with_takeover(run: RunSpec, home: str) -> RunSpec:
    """Add how a process is found that its package does not start, or starts and lets go of (a daemon that forks).

    What can only be watched is never started again.
    """
    service = run.source.service
    takeover = run.takeover
    if takeover is None and service.pid_strategy != "spawn":
        takeover = Takeover(
            strategy=service.pid_strategy,
            pid_file=posixpath.join(home, service.pid_file) if service.pid_strategy == "pidfile" else "",
            process_name=service.process_name if service.pid_strategy == "match" else "",
            work_dir=service.external_work_dir,
            start_command=(run.entrypoint, *run.args) if run.entrypoint else (),
            stop_command=(run.stop_entrypoint, *run.stop_args) if run.stop_entrypoint else (),
        )
    restart = RestartRules(policy="never") if takeover is not None and takeover.is_watched_only else run.restart
    return msgspec.structs.replace(run, takeover=takeover, restart=restart)


def needs_new_start(old: RunSpec, new: RunSpec) -> bool:
    """True when what runs by `old` must be prepared and started again to be what `new` asks for.

    Config files alone are no reason where there is a reload command: whoever changed them has it run.
    """
    is_reloadable = bool(new.source.service.hooks.reload)
    return _launch_part(old) != _launch_part(new) or (needs_new_files(old, new) and not is_reloadable)


def needs_new_files(old: RunSpec, new: RunSpec) -> bool:
    """True when the next start must be prepared anew, because config files differ."""
    return old.source.config_files != new.source.config_files


def _launch_part(spec: RunSpec) -> tuple[object, ...]:
    source = spec.source
    package = (source.package.name, source.package.version, source.package.sha256) if source.package else None
    return (
        package,
        spec.entrypoint,
        spec.args,
        spec.env,
        spec.ports,
        spec.limits,
        spec.user,
        spec.pre_start,
    )


class _Reader:
    """Reads field after field and collects the faults, so that all are told at once."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def raise_if_any(self, name: str) -> None:
        if self._problems:
            raise Invalid(f'"{name}" cannot run: {"; ".join(self._problems)}', problems=self._problems)

    def expand(self, path: str, text: str, values: Mapping[str, str]) -> str:
        try:
            return expand(text, values)
        except Invalid as error:
            self._problems.append(f"{path}: {error.message}")
            return text

    def expand_all(self, path: str, texts: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(self.expand(f"{path}[{index}]", text, values) for index, text in enumerate(texts))

    def duration_s(self, path: str, text: str) -> float:
        try:
            return parse_duration_s(text)
        except Invalid as error:
            self._problems.append(f"{path}: {error.message}")
            return 0.0

    def probe(self, health: Health, values: Mapping[str, str]) -> ProbeRules:
        target = self.expand("health.target", health.target, values)
        if health.type == "command":
            self._check_command(target)
        return ProbeRules(
            type=health.type,
            target=target,
            interval_s=self.duration_s("health.interval", health.interval),
            timeout_s=self.duration_s("health.timeout", health.timeout),
            failures=health.failures,
            start_timeout_s=self.duration_s("health.start_timeout", health.start_timeout),
        )

    def _check_command(self, target: str) -> None:
        try:
            shlex.split(target)
        except ValueError as error:
            self._problems.append(f"health.target: {error}; quote it as for a shell")

    def restart(self, restart: Restart) -> RestartRules:
        return RestartRules(
            policy=restart.policy,
            delay_s=self.duration_s("restart.delay", restart.delay),
            max_delay_s=self.duration_s("restart.max_delay", restart.max_delay),
            max_restarts=restart.max_restarts,
            window_s=self.duration_s("restart.window", restart.window),
            success_codes=restart.success_codes,
        )

    def limits(self, limits: Limits) -> LimitRules:
        memory_bytes: int | None = None
        if limits.memory is not None:
            try:
                memory_bytes = parse_size_bytes(limits.memory)
            except Invalid as error:
                self._problems.append(f"limits.memory: {error.message}")
        umask = None if limits.umask is None else int(limits.umask, 8)
        return LimitRules(
            memory_bytes, limits.cpu_percent, limits.pids, limits.nofile, limits.nice, umask, limits.no_new_privs
        )
