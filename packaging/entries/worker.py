"""Entry of the frozen `worker`, which is also its own keeper (on Windows: sender of Ctrl-Break) and matcher of logs."""

import contextlib
import sys

from ops_system.runtime.unpacked import hold


def start() -> int:
    """Be the small process where told so, else the worker."""
    from ops_system.processes import matcher

    if sys.argv[1:2] == [matcher.ARGUMENT]:
        return matcher.main()
    if sys.platform == "win32":
        from ops_system.processes import windows_break

        if sys.argv[1:2] == [windows_break.FLAG]:
            return windows_break.main()
    else:
        from ops_system.processes import keeper

        if sys.argv[1:2] == [keeper.ARGUMENT]:
            return keeper.main()
    from ops_system.worker.main import main

    return main()


with hold() or contextlib.nullcontext():
    code = start()
sys.exit(code)
