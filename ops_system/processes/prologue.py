"""What must be set in the entrypoint's own process before it is executed: a shell does it and becomes the entrypoint.

Only starts that ask for something take this way; it costs one more exec. Used by `posix`.
"""

import os
import resource

from ops_system.model.errors import Invalid
from ops_system.processes.accounts import as_user
from ops_system.processes.base import Launch

_SCRIPT = """ulimit -n "$1" || exit 126
shift
exec "$@"
"""
_SHELL = "/bin/sh"
NAME = "ops-start"


def full_argv(launch: Launch) -> tuple[str, ...]:
    """Return what to execute. Raises Invalid when the user or a limit cannot be had here."""
    argv = (*as_user(launch.user), *launch.argv)
    nofile = launch.limits.nofile
    if nofile is None:
        return argv
    _check_nofile(nofile)
    return (_SHELL, "-c", _SCRIPT, NAME, str(nofile), *argv)


def _check_nofile(nofile: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() != 0 and hard != resource.RLIM_INFINITY and nofile > hard:
        raise Invalid(
            f"limits.nofile {nofile} is above this worker's hard limit {hard}; lower it or raise the worker's"
        )
