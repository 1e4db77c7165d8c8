r"""The keeper: a POSIX shell of under 1 MB that starts an entrypoint, waits, and notes how it ended. Used by `posix`.

It leads the instance's session, outlives the worker, and is the entrypoint's parent, so the exit code is known even
when the worker died meanwhile. Only shell builtins run, so a start costs two forks and two execs in all.

    arguments after the script: ops-keeper RUN_DIR NUMBER DIR INSTANCE_ID NOFILE ARGV...
    RUN_DIR/exit  "NUMBER CODE\n"             written when it ended; 128 + signal, as shells do
    descriptor 3  "INSTANCE_ID NUMBER PID\n"  one atomic write to the worker, before the entrypoint is executed

A note counts when its line is complete and of the right start, so a torn or an old one is no note; renaming would cost
a process per exit.
The traps are handlers, not ignores: the shell survives a signal to the whole group while the entrypoint's own signals
are reset by exec.
"""

import signal
import sys
from pathlib import Path

from ops_system.processes.base import Exit

NAME = "ops-keeper"
PID_FD = 3

_OWN_PID = "read -r pid rest </proc/self/stat" if sys.platform == "linux" else "pid=$(exec sh -c 'echo $PPID')"

SCRIPT = f"""trap : HUP INT QUIT TERM USR1 USR2 ALRM
exec 4>&1 5>&2 >/dev/null 2>&1
(
exec >&4 2>&5 4>&- 5>&-
cd -- "$3" || exit 126
if [ -n "$5" ]; then ulimit -n "$5" || exit 126; fi
{_OWN_PID}
echo "$4 $2 $pid" >&3
exec 3>&-
shift 5
exec "$@"
)
code=$?
echo "$2 $code" >"$1/exit"
exit "$code"
"""


def parse_note(data: bytes, number: int) -> int | None:
    """Return the value that start `number` noted; None when it is another start's note or not complete."""
    if not data.endswith(b"\n"):
        return None
    words = data.split()
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[0]) != number:  # noqa: PLR2004
        return None
    return int(words[1])


def read_note(path: Path, number: int) -> int | None:
    """Like `parse_note` on a file; None when it is not there."""
    try:
        return parse_note(path.read_bytes(), number)
    except OSError:
        return None


def exit_of_code(code: int) -> Exit:
    """Read a shell's exit status: above 128 it means a signal (a program that exits with 143 by itself reads alike)."""
    number = code - 128
    if number > 0 and number in {item.value for item in signal.Signals}:
        return Exit(signal=signal.Signals(number).name)
    return Exit(code=code)


def exit_of_status(status: int) -> Exit:
    """Read a wait(2) status of a process that had no keeper."""
    import os

    if os.WIFSIGNALED(status):
        return Exit(signal=signal.Signals(os.WTERMSIG(status)).name)
    return Exit(code=os.WEXITSTATUS(status))


def parse_argv(argv: tuple[str, ...]) -> tuple[str, int] | None:
    """Return (run_dir, number) when this is a keeper's command line."""
    if len(argv) < 9 or argv[1] != "-c" or argv[3] != NAME or not argv[5].isdigit():  # noqa: PLR2004 - as in the docstring
        return None
    return argv[4], int(argv[5])
