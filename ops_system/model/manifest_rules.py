"""What a service.json must satisfy beyond its shape. The pack tool, the catalogue and modules' overrides call it.

Every fault is told at once, as `$.path: text`: first those of the shape, then those of the values.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from ops_system.model.archives import find_name_problem
from ops_system.model.errors import Invalid
from ops_system.model.manifest import Health, HealthOverride, Manifest, Restart, RestartOverride
from ops_system.model.packages import NAME
from ops_system.model.placeholders import find, find_problems
from ops_system.model.quantities import parse_duration_s, parse_size_bytes
from ops_system.model.shapes import check_shape, parse_json, printable

FILE_NAME = "service.json"
SCHEMA_VERSION = 1
ENV_KEY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
PORT_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
UMASK_PATTERN = r"^0?[0-7]{3}$"
USER_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\$?$"
SIGNALS = (
    "SIGTERM",
    "SIGINT",
    "SIGQUIT",
    "SIGHUP",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
    "SIGABRT",
    "SIGALRM",
    "SIGCONT",
    "SIGKILL",
)
RESERVED_ENV = "OPS_INSTANCE"
LEAST_NICE, MOST_NICE = -20, 19
MAX_PORT = 65535
MAX_EXIT_CODE = 2**32 - 1  # Windows codes have 32 bits
MAX_TEXT_CHARS = 4096
MAX_PROBLEMS = 100

_ENV_KEY, _PORT_NAME, _USER, _UMASK = (
    re.compile(pattern.removesuffix("$") + r"\Z")
    for pattern in (ENV_KEY_PATTERN, PORT_NAME_PATTERN, USER_PATTERN, UMASK_PATTERN)
)
_HOST_PORT = re.compile(
    r"[^\s:/]+:(?:[0-9]{1,5}|\$\{port\.[^{}]+\})\Z|\[[^\s\]]+\]:(?:[0-9]{1,5}|\$\{port\.[^{}]+\})\Z"
)
_TARGETS = {
    "http": "a URL such as http://127.0.0.1:${port.http}/health",
    "tcp": "HOST:PORT such as 127.0.0.1:${port.http}",
    "command": "a command line",
}

Problem = tuple[str, str]  # path, text


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest of a service.json. Raises Invalid; `details["problems"]` lists all faults."""
    document, faults = parse_json(data)
    if document is None and faults:
        raise _invalid(f"{FILE_NAME} cannot be read", faults)
    shape = check_shape(document, Manifest)
    manifest = msgspec.convert(shape.repaired, Manifest)
    found = [f"{path}: {text}" for path, text in find_manifest_problems(manifest) if not shape.is_faulty(path)]
    problems = [*faults, *shape.problems, *found]
    if problems:
        raise _invalid(f"{FILE_NAME} has {len(problems)} problem{'s' if len(problems) > 1 else ''}", problems)
    return manifest


def merge_overrides(
    manifest: Manifest,
    *,
    args: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    health: Health | HealthOverride | None = None,
    restart: Restart | RestartOverride | None = None,
) -> Manifest:
    """Return the manifest as a module runs it: `args` replace, the others are merged key by key. Raises Invalid."""
    merged = msgspec.structs.replace(
        manifest,
        args=manifest.args if args is None else tuple(args),
        env={**manifest.env, **(env or {})},
        ports={**manifest.ports, **(ports or {})},
        health=manifest.health if health is None else msgspec.structs.replace(manifest.health, **_set_fields(health)),
        restart=manifest.restart
        if restart is None
        else msgspec.structs.replace(manifest.restart, **_set_fields(restart)),
    )
    problems = [f"{path}: {text}" for path, text in find_manifest_problems(merged)]
    if problems:
        raise _invalid(f'the overrides do not fit package "{manifest.name}" {manifest.version}', problems)
    return merged


def is_env_name(name: str) -> bool:
    """Whether an environment variable may be called so: letters, digits, underscores; `OPS_INSTANCE` is ours."""
    return bool(_ENV_KEY.match(name)) and name != RESERVED_ENV


def find_manifest_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield every fault of a well-shaped manifest as (path, text)."""
    yield from _identity_problems(manifest)
    yield from _program_problems(manifest)
    yield from _surroundings_problems(manifest)
    yield from _health_problems(manifest.health)
    yield from _restart_problems(manifest.restart)
    yield from _stop_and_limit_problems(manifest)
    yield from _external_problems(manifest)


def find_warnings(manifest: Manifest) -> list[str]:
    """Return what is allowed and probably not meant, as `$.path: text`."""
    warnings = [
        f"$.{field}: ${{{name}}} is not among ports; a module has to add it" for field, name in _loose_ports(manifest)
    ]
    if manifest.health.type == "process" and manifest.health.target:
        warnings.append('$.health.target: a probe of type "process" looks at no target')
    if manifest.process_name and manifest.pid_strategy != "match":
        warnings.append('$.process_name: only pid_strategy "match" uses it')
    if manifest.pid_file and manifest.pid_strategy != "pidfile":
        warnings.append('$.pid_file: only pid_strategy "pidfile" uses it')
    if manifest.is_external and manifest.pid_strategy == "spawn" and not manifest.entrypoint:
        warnings.append('$.pid_strategy: "spawn" has no entrypoint to start; the process is only found by takeover')
    return warnings


def _invalid(what: str, problems: list[str]) -> Invalid:
    more = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    shown = [printable(problem) for problem in problems[:MAX_PROBLEMS]] + more
    return Invalid(f"{what}: {'; '.join(shown)}", problems=shown)


def _set_fields(override: msgspec.Struct) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(override).items() if value is not msgspec.UNSET}


def _loose_ports(manifest: Manifest) -> Iterator[tuple[str, str]]:
    texts = [("args", text) for text in manifest.args] + [("env", text) for text in manifest.env.values()]
    for field, text in [*texts, ("health.target", manifest.health.target)]:
        for name in find(text):
            if name.startswith("port.") and name.removeprefix("port.") not in manifest.ports:
                yield field, name


# --- groups of fields ------------------------------------------------------------------------------------------------
def _identity_problems(manifest: Manifest) -> Iterator[Problem]:
    if manifest.schema != SCHEMA_VERSION:
        yield "$.schema", f"must be {SCHEMA_VERSION}, the only schema there is"
    for path, text in (("$.name", manifest.name), ("$.version", manifest.version)):
        if not NAME.match(text):
            yield path, "must be 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit"
    if len(manifest.description) > MAX_TEXT_CHARS:
        yield "$.description", f"must have at most {MAX_TEXT_CHARS} characters"


def _program_problems(manifest: Manifest) -> Iterator[Problem]:
    if not manifest.entrypoint and not manifest.is_external:
        yield "$.entrypoint", 'required, but missing; name the file to start, such as "bin/app"'
    for path, text in (("$.entrypoint", manifest.entrypoint), ("$.stop_entrypoint", manifest.stop_entrypoint)):
        yield from _path_problems(path, text, may_be_absolute=manifest.is_external)
    if manifest.stop_args and not manifest.stop_entrypoint:
        yield "$.stop_args", "mean nothing without stop_entrypoint"
    yield from _text_list_problems("$.args", manifest.args)
    yield from _text_list_problems("$.stop_args", manifest.stop_args)
    for path, command in msgspec.structs.asdict(manifest.hooks).items():
        if command and not command[0]:
            yield f"$.hooks.{path}[0]", "is empty; name the command to run"


def _surroundings_problems(manifest: Manifest) -> Iterator[Problem]:
    for key, text in manifest.env.items():
        yield from _env_problems(key, text)
    for name, log_path in manifest.log_paths.items():
        yield from _log_problems(name, log_path, is_external=manifest.is_external)
    for name, port in manifest.ports.items():
        if not _PORT_NAME.match(name):
            yield f"$.ports.{name}", "the name must be 1 to 32 letters, digits, dashes or underscores"
        yield from _range_problems(f"$.ports.{name}", port, 1, MAX_PORT)
    if manifest.user and not _USER.match(manifest.user):
        yield "$.user", "is no user name"


def _env_problems(key: str, text: str) -> Iterator[Problem]:
    path = f"$.env.{key}"
    if not _ENV_KEY.match(key):
        yield path, "the name must be letters, digits and underscores, the first no digit"
    if key == RESERVED_ENV:
        yield path, "is set by the worker; use another name"
    yield from _placeholder_problems(path, text)
    if not find_problems(text) and any(name.startswith("env.") for name in find(text)):
        yield path, "an environment value cannot refer to another one"


def _log_problems(name: str, log_path: str, *, is_external: bool) -> Iterator[Problem]:
    path = f"$.log_paths.{name}"
    if not name.strip() or len(name) > 64 or "/" in name or not name.isprintable():  # noqa: PLR2004 - fits a menu
        yield path, "the name must be 1 to 64 printable characters without a slash"
    if name.lower() in {"stdout", "stderr"}:
        yield path, "this name belongs to the service's own output; use another one"
    if not log_path:
        yield path, "the path is empty"
    yield from _path_problems(path, log_path, may_be_absolute=is_external)


def _health_problems(health: Health) -> Iterator[Problem]:
    if health.type in _TARGETS and not health.target:
        yield "$.health.target", f'a probe of type "{health.type}" needs {_TARGETS[health.type]}'
    elif (health.type == "http" and not _is_http_url(health.target)) or (
        health.type == "tcp" and not _HOST_PORT.match(health.target)
    ):
        yield "$.health.target", f"must be {_TARGETS[health.type]}"
    elif health.type == "command":
        yield from _caught("$.health.target", _read_command, health.target)
    yield from _placeholder_problems("$.health.target", health.target)
    yield from _duration_problems("$.health.interval", health.interval, 0.1)
    yield from _duration_problems("$.health.timeout", health.timeout, 0.01)
    yield from _range_problems("$.health.failures", health.failures, 1, 1000)
    yield from _duration_problems("$.health.start_timeout", health.start_timeout, 0.1)


def _restart_problems(restart: Restart) -> Iterator[Problem]:
    faults = [
        *_duration_problems("$.restart.delay", restart.delay, 0.0),
        *_duration_problems("$.restart.max_delay", restart.max_delay, 0.0),
    ]
    yield from faults
    if not faults and parse_duration_s(restart.max_delay) < parse_duration_s(restart.delay):
        yield "$.restart.max_delay", "is shorter than restart.delay"
    yield from _range_problems("$.restart.max_restarts", restart.max_restarts, 0, 1_000_000)
    yield from _duration_problems("$.restart.window", restart.window, 1.0)
    for index, code in enumerate(restart.success_codes):
        yield from _range_problems(f"$.restart.success_codes[{index}]", code, 0, MAX_EXIT_CODE)


def _stop_and_limit_problems(manifest: Manifest) -> Iterator[Problem]:
    if manifest.stop.signal not in SIGNALS:
        yield "$.stop.signal", f"must be one of {', '.join(SIGNALS)}"
    yield from _duration_problems("$.stop.timeout", manifest.stop.timeout, 0.0)
    limits = manifest.limits
    if limits.memory is not None:
        yield from _caught("$.limits.memory", _read_memory, limits.memory)
    for name, value, largest in (
        ("cpu_percent", limits.cpu_percent, 100_000),
        ("pids", limits.pids, 4_194_304),
        ("nofile", limits.nofile, 2**30),
    ):
        if value is not None:
            yield from _range_problems(f"$.limits.{name}", value, 1, largest)
    if limits.nice is not None:
        yield from _range_problems("$.limits.nice", limits.nice, LEAST_NICE, MOST_NICE)
    if limits.umask is not None and not _UMASK.match(limits.umask):
        yield "$.limits.umask", f'"{limits.umask}" is no octal number such as 027'


def _external_problems(manifest: Manifest) -> Iterator[Problem]:
    strategy = manifest.pid_strategy
    if strategy == "match" and not manifest.process_name:
        yield "$.process_name", 'required by pid_strategy "match"'
    if strategy == "pidfile" and not manifest.pid_file:
        yield "$.pid_file", 'required by pid_strategy "pidfile"'
    if strategy == "pid" and not manifest.is_external:
        yield "$.pid_strategy", '"pid" is for a process that runs already; it needs is_external'
    if manifest.external_work_dir and not manifest.is_external:
        yield "$.external_work_dir", "needs is_external; a managed service runs in ${instance.dir}"
    elif manifest.external_work_dir and not _is_absolute(manifest.external_work_dir):
        yield "$.external_work_dir", "must be an absolute path"
    yield from _path_problems("$.pid_file", manifest.pid_file, may_be_absolute=manifest.is_external)


# --- single values ---------------------------------------------------------------------------------------------------
def _path_problems(path: str, text: str, *, may_be_absolute: bool) -> Iterator[Problem]:
    """A file of the package: relative, inside, slashes. An external service's files lie where they lie."""
    if not text or (may_be_absolute and _is_absolute(text)):
        return
    if "${" in text:
        yield path, "placeholders are not expanded here; write a path inside the package"
        return
    problem = find_name_problem(text.removeprefix("./"))
    if problem:
        yield path, f'"{text}" {problem}; write a path inside the package'


def _is_absolute(text: str) -> bool:
    return text.startswith("/") or re.match(r"[A-Za-z]:[\\/]", text) is not None


def _text_list_problems(path: str, texts: tuple[str, ...]) -> Iterator[Problem]:
    for index, text in enumerate(texts):
        yield from _placeholder_problems(f"{path}[{index}]", text)


def _placeholder_problems(path: str, text: str) -> Iterator[Problem]:
    for problem in find_problems(text):
        yield path, problem


def _duration_problems(path: str, text: str, least_s: float) -> Iterator[Problem]:
    faults = list(_caught(path, parse_duration_s, text))
    yield from faults
    if not faults and parse_duration_s(text) < least_s:
        yield path, f'"{text}" is too short; the least is {least_s:g}s'


def _read_memory(text: str) -> None:
    if parse_size_bytes(text) == 0:
        raise Invalid("must be more than 0; leave it out for no limit")


def _read_command(text: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Invalid(f"is no command line: {error}; quote it as for a shell") from error
    if not words:
        raise Invalid("is an empty command line")


def _range_problems(path: str, value: int, least: int, most: int) -> Iterator[Problem]:
    if not least <= value <= most:
        yield path, f"must be from {least} to {most}, not {value}"


def _caught(path: str, read: Callable[[str], object], text: str) -> Iterator[Problem]:
    try:
        read(text)
    except Invalid as error:
        yield path, error.message


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(re.sub(r"\$\{[^{}]*\}", "1", text))
        has_host = parts.hostname is not None and (parts.port is None or 1 <= parts.port <= MAX_PORT)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and has_host
