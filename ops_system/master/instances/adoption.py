"""What a person asks of a takeover, and what becomes of it: a wish for the worker, a manifest, a preview. Pure."""

import shlex
from typing import Literal

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.manifest import Health, Hooks, Manifest, Restart, Stop
from ops_system.model.manifest_rules import find_manifest_problems
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Problem, Takeover, find_command_problems, find_takeover_problems
from ops_system.protocol.requests import Matched, ProcessInfo

EXTERNAL_VERSION = "external"  # of what no package describes

Command = tuple[str, ...] | str
"""An argument list; a text is split as a shell splits words, and never given to one."""


class TakeoverWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which process, and the commands to steer it. Without `start_command` it is only watched."""

    pid_strategy: Literal["match", "pidfile", "pid"]
    pid: int | None = None
    pid_file: str = ""
    process_name: str = ""
    executable: str = ""
    uid: int | None = None
    external_work_dir: str = ""
    start_command: Command = ()
    stop_command: Command = ()
    restart_command: Command = ()
    reload_command: Command = ()


class NewAdoption(TakeoverWish, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A takeover. `name` is the module's in the system; log paths may be absolute."""

    node_id: str
    system_id: str
    name: str
    log_paths: dict[str, str] = {}
    ports: dict[str, int] = {}
    health: Health = Health()
    restart: Restart = Restart()
    stop: Stop = Stop()
    user: str = ""


class Preview(msgspec.Struct, frozen=True):
    """Whom a takeover would take, and what would happen to it. Exactly one of `leader` and `refusal` is set.

    `candidates`: those among which no choice is made. `on_exit`: `start_command` starts it again, `shown` only says so.
    """

    leader: ProcessInfo | None
    tree: tuple[ProcessInfo, ...]
    candidates: tuple[ProcessInfo, ...]
    refusal: Reason | None
    watched_only: bool
    on_exit: Literal["start_command", "shown"]
    stop_by: Literal["command", "signal"]
    restart_by: Literal["command", "stop_and_start", "none"]
    can_reload: bool


def read_takeover(wish: TakeoverWish) -> Takeover:
    """Return the wish as the worker takes it. Raises `Invalid` with every fault."""
    takeover, problems = _read(wish)
    problems += list(find_takeover_problems(takeover))
    _raise_if_any(problems)
    return takeover


def read_manifest(body: NewAdoption) -> Manifest:
    """Return what stands where a package's manifest would. Raises `Invalid` with every fault."""
    problems: list[Problem] = []
    manifest = Manifest(
        name=body.name,
        version=EXTERNAL_VERSION,
        is_external=True,
        external_work_dir=body.external_work_dir,
        pid_strategy=body.pid_strategy,
        process_name=body.process_name,
        pid_file=body.pid_file,
        log_paths=body.log_paths,
        ports=body.ports,
        health=body.health,
        restart=body.restart,
        stop=body.stop,
        user=body.user,
        hooks=Hooks(reload=_words("$.reload_command", body.reload_command, problems)),
    )
    known = {"$.process_name", "$.pid_file", "$.external_work_dir"}  # said by `read_takeover`
    problems += [problem for problem in find_manifest_problems(manifest) if problem[0] not in known]
    _raise_if_any(problems)
    return manifest


def preview_of(wish: TakeoverWish, takeover: Takeover, matched: Matched) -> Preview:
    """Return what is shown before anything is touched."""
    if takeover.restart_command:
        restart_by: Literal["command", "stop_and_start", "none"] = "command"
    else:
        restart_by = "none" if takeover.is_watched_only else "stop_and_start"
    return Preview(
        leader=matched.leader,
        tree=matched.tree,
        candidates=matched.candidates,
        refusal=matched.refusal,
        watched_only=takeover.is_watched_only,
        on_exit="shown" if takeover.is_watched_only else "start_command",
        stop_by="command" if takeover.stop_command else "signal",
        restart_by=restart_by,
        can_reload=bool(wish.reload_command),
    )


def _read(wish: TakeoverWish) -> tuple[Takeover, list[Problem]]:
    problems: list[Problem] = []
    takeover = Takeover(
        strategy=wish.pid_strategy,
        pid=wish.pid or 0,
        pid_file=wish.pid_file,
        process_name=wish.process_name,
        executable=wish.executable,
        uid=wish.uid,
        work_dir=wish.external_work_dir,
        start_command=_words("$.start_command", wish.start_command, problems),
        stop_command=_words("$.stop_command", wish.stop_command, problems),
        restart_command=_words("$.restart_command", wish.restart_command, problems),
    )
    reload_command = _words("$.reload_command", wish.reload_command, problems)
    problems += list(find_command_problems("$.reload_command", reload_command))
    return takeover, problems


def _words(path: str, command: Command, problems: list[Problem]) -> tuple[str, ...]:
    if not isinstance(command, str):
        return command
    try:
        return tuple(shlex.split(command))
    except ValueError as fault:
        problems.append((path, f"is no command line: {fault}; quote it as for a shell, or give a list"))
        return ()


def _raise_if_any(problems: list[Problem]) -> None:
    told = [f"{path}: {text}" for path, text in problems]
    if told:
        raise Invalid("; ".join(told), problems=told)
