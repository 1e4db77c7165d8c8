"""What the keeper is asked for a start, and what a shell must set in the process before it becomes the entrypoint.

Only starts that ask for something take this way; it costs one more exec, setpriv and nice one more each. The shell puts
itself into its control groups before anything else, so nothing the entrypoint starts is ever outside. Used by `posix`.
"""

import os
import resource
import shlex
import shutil

from ops_system.model.errors import Invalid
from ops_system.processes.accounts import as_user, user_env
from ops_system.processes.base import MARKER, Launch
from ops_system.processes.keeper import pack
from ops_system.processes.spec import LimitRules

_SHELL = "/bin/sh"
NAME = "ops-start"


def make_request(launch: Launch, groups: tuple[str, ...], plain_group: str) -> bytes:
    """Return what the keeper is asked. Raises Invalid for what cannot be had here, ValueError for a NUL or too much.

    `groups` are files the process writes itself into before it is executed, `plain_group` one it is written into after.
    """
    argv = full_argv(launch, groups)
    env = {**launch.env, **user_env(launch.user), MARKER: launch.instance_id}
    join = pack("group", launch.instance_id, plain_group) if plain_group else b""
    return join + pack(
        "start",
        launch.instance_id,
        launch.number,
        launch.run_dir,
        launch.dir,
        launch.stdout_path,
        launch.stderr_path,
        len(argv),
        *argv,
        *(f"{name}={value}" for name, value in env.items()),
    )


def full_argv(launch: Launch, groups: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return what to execute; `groups` are files to write the process into. Raises Invalid for what cannot be had here.

    The steps are in the order that needs the rights: groups, limits, priority, then the user.
    """
    limits = launch.limits
    _check(limits)
    argv = (*_nice(limits), *_drop(launch), *launch.argv)
    steps = [f"echo 0 >{shlex.quote(path)} || exit 126" for path in groups]
    if limits.nofile is not None:
        steps.append(f"ulimit -n {limits.nofile} || exit 126")
    if limits.umask is not None:
        steps.append(f"umask {limits.umask:04o}")
    if not steps:
        return argv
    return (_SHELL, "-c", "\n".join([*steps, 'exec "$@"']), NAME, *argv)


def _nice(limits: LimitRules) -> tuple[str, ...]:
    """Return the command that sets the priority, which counts from the worker's own."""
    if limits.nice is None:
        return ()
    return (_find("nice", "limits.nice"), "-n", str(limits.nice - os.getpriority(os.PRIO_PROCESS, 0)))


def _drop(launch: Launch) -> tuple[str, ...]:
    """Return the command that becomes the user and gives up the way to more rights."""
    wanted = launch.limits.no_new_privs
    command = as_user(launch.user)
    if command:
        return tuple(word for word in command if wanted is not False or word != "--no-new-privs")
    return (_find("setpriv", "limits.no_new_privs"), "--no-new-privs", "--") if wanted else ()


def _find(command: str, limit: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise Invalid(f"{limit} needs {command}, which is not installed on this node; install it or leave it out")
    return found


def _check(limits: LimitRules) -> None:
    if os.geteuid() == 0:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limits.nofile is not None and hard != resource.RLIM_INFINITY and limits.nofile > hard:
        raise Invalid(
            f"limits.nofile {limits.nofile} is above this worker's hard limit {hard}; lower it or raise the worker's"
        )
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if limits.nice is not None and limits.nice < own:
        raise Invalid(f"limits.nice {limits.nice} is before this worker's own {own}; that needs a worker run as root")
